"""The form of an encoder that Anserini's Java encoders load: one text at a time, in a slot of a model that Anserini knows by name.

Anserini 1.7 has no place for other models, but takes the files of a slot as it finds them: `SpladeV3` for SPLADE (it gives the
terms and weights of a text as two flat lists and rounds `weight / 5 * 256`), `CosDprDistil` for dense encoders (the only one that
neither adds an instruction nor changes the vector). It splits texts by BERT's uncased WordPiece with [CLS], [SEP] and [PAD] at
101, 102 and 0, which it leaves out of sparse vectors.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from gradir.data.atomic import new_text
from gradir.data.vectors import write_vocab
from gradir.errors import GradirError
from gradir.export.graphs import sample_inputs, trace
from gradir.models.config import PYSERINI_SCALE, EncoderConfig
from gradir.models.vocabulary import size, terms_by_id

if TYPE_CHECKING:
    from gradir.models.folder import EncoderFolder

SPECIAL = {"[PAD]": 0, "[CLS]": 101, "[SEP]": 102}
CACHE = ".cache/pyserini/encoders"  # below Java's user.home


@dataclass(frozen=True)
class Slot:
    """A model that Anserini knows by name.

    Attributes:
        name: As `--onnx-encoder` takes it.
        java: Its class.
        model: The name of its ONNX file.
        vocab: The name of its vocabulary.
    """

    name: str
    java: str
    model: str
    vocab: str


SLOTS = {
    "splade": Slot(
        "SpladeV3", "io.anserini.encoder.sparse.SpladeV3Encoder", "splade-v3-optimized.onnx", "splade-v3-vocab.txt"
    ),
    "dense": Slot(
        "CosDprDistil",
        "io.anserini.encoder.dense.CosDprDistilEncoder",
        "cosdpr-distil-optimized.onnx",
        "cosdpr-distil-vocab.txt",
    ),
}


def check_fits(config: EncoderConfig, tokenizer: Any) -> None:
    """Refuse an encoder whose queries Anserini's Java cannot encode alike.

    Args:
        config: The encoder's configuration.
        tokenizer: The tokenizer of queries.

    Raises:
        GradirError: All reasons why not.
    """
    reasons = _tokenizer_reasons(tokenizer)
    if config.query_prefix:
        reasons.append(f"queries have the prefix {config.query_prefix!r}, and Java puts none before them")
    if reasons:
        raise GradirError(
            f"--anserini: Anserini's Java encoders cannot run it: {'; '.join(reasons)}. Leave --anserini out."
        )


def _tokenizer_reasons(tokenizer: Any) -> list[str]:
    """Why BERT's uncased WordPiece in Java would split texts otherwise."""
    parts = json.loads(tokenizer.backend_tokenizer.to_str())
    normalizer, vocab = parts.get("normalizer") or {}, tokenizer.get_vocab()
    if parts["model"]["type"] != "WordPiece" or normalizer.get("type") != "BertNormalizer":
        return ["its tokenizer is no WordPiece of BERT's"]
    reasons = [] if normalizer.get("lowercase") else ["its tokenizer keeps capital letters"]
    reasons += ["its tokenizer keeps accents"] if normalizer.get("strip_accents") is False else []
    wrong = [f"{token} is {vocab.get(token)}, not {i}" for token, i in SPECIAL.items() if vocab.get(token) != i]
    reasons += [f"its vocabulary is not laid out as BERT's ({', '.join(wrong)})"] if wrong else []
    reasons += ["its vocabulary has no [UNK]"] if "[UNK]" not in vocab else []
    return reasons


def write_variant(folder: EncoderFolder, target: Path) -> Slot:
    """Write `model.onnx`, `vocab.txt` and a README into a new folder.

    Args:
        folder: The encoder; its attention is changed for good.
        target: The folder to make.

    Returns:
        The slot that the files are for.
    """
    config, tokenizer = folder.config, folder.query_tokenizer
    slot, names = SLOTS[config.kind], ("input_ids", "token_type_ids", "attention_mask")
    inputs = {name: tensor[:1] for name, tensor in sample_inputs(tokenizer, names).items()}
    axes: dict[str, Any] = {name: {0: "batch", 1: "sequence"} for name in names}
    target.mkdir()
    if config.kind == "splade":
        model: nn.Module = _FlatSplade(folder.query_model, config)
        axes |= {"output_idx": {0: "terms"}, "output_weights": {0: "terms"}}
        trace(model, target / "model.onnx", inputs, axes, ["output_idx", "output_weights"])
    else:
        model = _OneInput(folder.query_model, config.max_query_length)
        one = {"input_ids": inputs["input_ids"]}
        trace(model, target / "model.onnx", one, {"input_ids": axes["input_ids"]}, ["pooler_output"])
    write_vocab(target, terms_by_id(tokenizer, size(tokenizer)))
    with new_text(target / "README.md") as stream:
        stream.write(_readme(slot, config))
    return slot


def _cut(input_ids: Tensor, longest: int) -> Tensor:
    """Ids [1, S] cut as the tokenizer cuts them: to the longest, the final [SEP] kept. Java lets 511 tokens, or all, through."""
    return torch.cat([input_ids[:, :-1][:, : longest - 1], input_ids[:, -1:]], dim=1)


class _FlatSplade(nn.Module):
    """The terms of one text and their weights, scaled so that Java's fixed rounding gives the encoder's own impacts."""

    def __init__(self, model: nn.Module, config: EncoderConfig):
        super().__init__()
        self.model, self.longest, self.top_k = model, config.max_query_length, config.top_k_query
        self.factor = config.impact_scale / PYSERINI_SCALE

    def forward(self, input_ids: Tensor, token_type_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        """(ids int64 [N], weights float32 [N]) of a text of ids int64 [1, S]."""
        ids = _cut(input_ids, self.longest)
        # The two other inputs must be in the graph because Java gives them; nothing is padded, and there is one segment.
        mask = torch.ones_like(ids) + 0 * _cut(token_type_ids + attention_mask, self.longest)
        weights = self.model(ids, mask)[0] * self.factor  # [V]
        if self.top_k:
            largest = weights.topk(min(self.top_k, weights.shape[0]))
            weights = torch.zeros_like(weights).scatter(0, largest.indices, largest.values)
        active = torch.nonzero(weights).squeeze(1)
        return active, weights[active]


class _OneInput(nn.Module):
    """A dense encoder of one text, given its ids alone."""

    def __init__(self, model: nn.Module, longest: int):
        super().__init__()
        self.model, self.longest = model, longest

    def forward(self, input_ids: Tensor) -> Tensor:
        """The vector, float32 [1, D], of a text of ids int64 [1, S]."""
        ids = _cut(input_ids, self.longest)
        vectors: Tensor = self.model(ids, torch.ones_like(ids))
        return vectors


def _readme(slot: Slot, config: EncoderConfig) -> str:
    """How the files are put in place and used."""
    search = "--impact" if config.kind == "splade" else "--dense --flat"
    notes = [
        "- A home of its own keeps the real model of that name out of the way, and this one out of its.",
        f"- Queries are cut at {config.max_query_length} tokens inside the graph, as everywhere in this folder.",
    ]
    if config.kind == "splade":
        notes += [
            "- [CLS], [SEP] and [PAD] are never terms here: Java leaves them out.",
            "- `--min-idf` has no effect on this path: Java is given the text, not the terms.",
        ]
    else:
        notes += ["- The index is one of Lucene's (`--dense`); `--hnsw` instead of `--flat` for an HNSW index."]
    return "\n".join(
        [
            f"# For Anserini's Java encoder `{slot.name}`",
            "",
            "Anserini knows its models by name. These files go into a slot of that name, as "
            f"`{slot.model}` and `{slot.vocab}` below",
            f"`{CACHE}` in Java's home folder:",
            "",
            "```bash",
            f"mkdir -p anserini-home/{CACHE}",
            f"cp model.onnx anserini-home/{CACHE}/{slot.model}",
            f"cp vocab.txt anserini-home/{CACHE}/{slot.vocab}",
            'export JAVA_TOOL_OPTIONS="-Duser.home=$PWD/anserini-home"',
            f"gradir pyserini search.lucene {search} --index INDEX --topics TOPICS --onnx-encoder {slot.name} --output run.trec",
            "```",
            "",
            *notes,
            "",
        ]
    )
