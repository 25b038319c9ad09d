"""The model card of an exported encoder: what it is, the commands to use it, what was checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gradir.export.commands import beyond_pyserini, differences, pyserini_commands
from gradir.export.compare import Row, table
from gradir.export.pyserini_names import guesses, unusable
from gradir.models.card import (
    CardKind,
    block,
    configuration,
    files,
    front_matter,
    gradir_use,
    sentence_transformers_use,
    what,
    write_parts,
)
from gradir.models.config import EncoderConfig


@dataclass(frozen=True)
class Card:
    """What a card tells.

    Attributes:
        path: The folder as the user named it.
        made_from: Folder or hub name.
        config: Of a dense or SPLADE encoder; None of a cross-encoder.
        size: Numbers of a dense vector, terms of a sparse one.
        projected: A dense vector goes through layers after the pooling.
        max_length: Tokens of a cross-encoder's pair.
        activation: Of a cross-encoder's score.
        checked: What was compared.
        not_checked: What was not, and why.
    """

    path: str
    made_from: str
    config: EncoderConfig | None
    size: int = 1
    projected: bool = False
    max_length: int = 0
    activation: str = ""
    checked: Sequence[Row] = field(default=())
    not_checked: Sequence[str] = field(default=())


def write_card(folder: Path, card: Card) -> None:
    """Write `README.md` into a folder that holds everything else."""
    onnx = (folder / "model.onnx").exists()
    kind: CardKind = card.config.kind if card.config else "reranker"
    tags = [*(["pyserini", "anserini"] if card.config else []), *(["onnx"] if onnx else [])]
    source = Path(card.made_from).resolve().name if Path(card.made_from).exists() else card.made_from
    said = f"{what(kind, card.size)}. Made from `{source}` by `gradir export`."
    parts = [front_matter(kind, card.made_from, tags), f"# {Path(card.path).name}", "", said, "", *files(folder)]
    if card.config:
        parts += _retrieval(card, card.config, onnx, (folder / "anserini").is_dir())
    else:
        parts += _reranking(card)
    write_parts(folder, [*parts, *_checked(card)])


def _retrieval(card: Card, config: EncoderConfig, onnx: bool, anserini: bool) -> list[str]:
    backend = "; `--backend onnx` runs the ONNX graph" if onnx else ""
    parts = [*configuration(config), *gradir_use(card.path, config, backend), *_pyserini(card, config)]
    if anserini:
        parts += ["Anserini's Java encoder: see `anserini/README.md`.", ""]
    return [*parts, *sentence_transformers_use(card.path, config.kind)]


def _pyserini(card: Card, config: EncoderConfig) -> list[str]:
    parts = ["## Pyserini", ""]
    beyond = beyond_pyserini(config, card.projected)
    stopped = unusable(card.path, config.kind)
    if beyond or stopped:
        why = f"do not know {', '.join(beyond)}" if beyond else f"cannot use this path: {stopped}"
        parts += [
            f"Pyserini's own encoders {why}. `gradir pyserini` runs its commands with this folder's encoder instead:",
            "",
        ]
        command = "search.lucene --impact" if config.kind == "splade" else "search.faiss"
        return [
            *parts,
            *block(
                [f"gradir pyserini {command} --index INDEX --topics topics.tsv --encoder {card.path} --output run.trec"]
            ),
        ]
    parts += [
        "Unmodified Pyserini 1.6. Documents with titles: `--fields title text`, in both places. Where Java or an import stops it,",
        "`gradir pyserini encode …` in place of `python -m pyserini.encode …` prepares the process.",
        "",
    ]
    parts += block(pyserini_commands(card.path, config, card.size))
    found = guesses(card.path, config.kind)
    if found:
        keys = " and ".join(f"`{key}`" for key in found)
        parts += [
            f"Keep `--encoder-class`: without it Pyserini sees {keys} in this path and takes another class.",
            "",
        ]
    notes = differences(config)
    return [*parts, *(f"- {note}" for note in notes), *([""] if notes else [])]


def _reranking(card: Card) -> list[str]:
    told = f"A query and a document take up to {card.max_length} tokens together; a score is the {card.activation} of one logit."
    return [told, "", *sentence_transformers_use(card.path, "reranker")]


def _checked(card: Card) -> list[str]:
    if not card.checked:
        return ["## Checked", "", "Nothing: it was exported without `--check`.", ""]
    note = "Differences are of impacts (SPLADE), of numbers of a vector (dense) or of scores, against float32 in torch."
    return ["## Checked", "", note, "", table(card.checked), "", *(f"- {line}" for line in card.not_checked), ""]
