"""The model card of an exported encoder: what it is, the commands to use it, what was checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from gradir.data.atomic import new_text
from gradir.export.commands import beyond_pyserini, differences, gradir_commands, pyserini_commands
from gradir.export.compare import Row, table
from gradir.export.pyserini_names import guesses, unusable
from gradir.models.config import EncoderConfig

_FILES = {
    "model.safetensors": "the weights",
    "pytorch_model.bin": "the same, for later versions of Pyserini (gradir never reads it)",
    "gradir.json": "how texts become vectors, for gradir",
    "modules.json": "the same for sentence-transformers",
    "vocab.txt": "the tokens by id",
    "model.onnx": "pooling and activation inside",
    "model_int8.onnx": "the same with 8-bit products, for CPUs",
    "model_query.onnx": "for queries",
    "model_query_int8.onnx": "for queries, with 8-bit products",
    "anserini": "for the Java encoders of Anserini; see its README",
    "query": "what queries go through",
    "check.json": "what was compared",
}


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
    parts = [_front_matter(card, onnx), f"# {Path(card.path).name}", "", _what(card), "", *_files(folder)]
    if card.config:
        parts += _retrieval(card, card.config, onnx, (folder / "anserini").is_dir())
    else:
        parts += _reranking(card)
    parts += _checked(card)
    with new_text(folder / "README.md") as stream:
        stream.write("\n".join(parts).rstrip() + "\n")


def _front_matter(card: Card, onnx: bool) -> str:
    """Tags for the hub. The licence is the owner's to name."""
    kind = card.config.kind if card.config else "reranker"
    tasks = {"splade": "feature-extraction", "dense": "sentence-similarity", "reranker": "text-ranking"}
    tags = ["gradir", "sentence-transformers", *{"splade": ["sparse-encoder", "sparse", "splade"]}.get(kind, [])]
    tags += ["cross-encoder", "reranker"] if kind == "reranker" else ["pyserini", "anserini"]
    tags += ["onnx"] if onnx else []
    lines = ["---", "library_name: sentence-transformers", f"pipeline_tag: {tasks[kind]}"]
    is_hub_name = not Path(card.made_from).exists()
    lines += [f"base_model: {card.made_from}"] if is_hub_name else []
    return "\n".join([*lines, "tags:", *(f"- {tag}" for tag in tags), "---", ""])


def _what(card: Card) -> str:
    source = Path(card.made_from).resolve().name if Path(card.made_from).exists() else card.made_from
    if not card.config:
        what = "A cross-encoder: it scores a query and a document together"
    elif card.config.kind == "splade":
        what = f"A SPLADE encoder: texts become weights of {card.size:,} terms"
    else:
        what = f"A dense encoder: texts become vectors of {card.size} numbers"
    return f"{what}. Made from `{source}` by `gradir export`."


def _files(folder: Path) -> list[str]:
    rows = [f"| `{name}` | {words} |" for name, words in _FILES.items() if (folder / name).exists()]
    return ["| file | holds |", "| --- | --- |", *rows, ""]


def _block(lines: Sequence[str], language: str = "bash") -> list[str]:
    return [f"```{language}", *lines, "```", ""]


def _retrieval(card: Card, config: EncoderConfig, onnx: bool, anserini: bool) -> list[str]:
    backend = "; `--backend onnx` runs the ONNX graph" if onnx else ""
    parts = ["## Configuration", "", "| | |", "| --- | --- |"]
    parts += [f"| {name} | {_cell(value)} |" for name, value in asdict(config).items() if _is_of(name, config)]
    parts += [
        "",
        "## gradir",
        "",
        f"`corpus.jsonl` holds `_id` and `text`, `topics.tsv` an id and a query{backend}.",
        "",
    ]
    parts += _block(gradir_commands(card.path, config))
    parts += _pyserini(card, config)
    if anserini:
        parts += ["Anserini's Java encoder: see `anserini/README.md`.", ""]
    kind = "SparseEncoder" if config.kind == "splade" else "SentenceTransformer"
    lines = [
        f"from sentence_transformers import {kind}",
        "",
        f"encoder = {kind}({card.path!r})",
        'encoder.encode_query(["a query"]), encoder.encode_document(["a document"])',
    ]
    return [*parts, "## sentence-transformers", "", *_block(lines, "python")]


def _is_of(name: str, config: EncoderConfig) -> bool:
    """Whether a field says something of this kind of encoder."""
    sparse = ("activation", "expansion", "impact_scale", "special_tokens", "top_k_query", "top_k_passage")
    dense = ("normalize", "dimensions", "pool_prefix")
    return name not in (dense if config.kind == "splade" else sparse)


def _cell(value: object) -> str:
    return f"`{value}`" if value not in ("", None) else "none"


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
            *_block(
                [f"gradir pyserini {command} --index INDEX --topics topics.tsv --encoder {card.path} --output run.trec"]
            ),
        ]
    parts += [
        "Unmodified Pyserini 1.6. Documents with titles: `--fields title text`, in both places. Where Java or an import stops it,",
        "`gradir pyserini encode …` in place of `python -m pyserini.encode …` prepares the process.",
        "",
    ]
    parts += _block(pyserini_commands(card.path, config, card.size))
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
    lines = [
        "from sentence_transformers import CrossEncoder",
        "",
        f"reranker = CrossEncoder({card.path!r})",
        'reranker.predict([("a query", "a document")])',
    ]
    told = f"A query and a document take up to {card.max_length} tokens together; a score is the {card.activation} of one logit."
    return [told, "", "## sentence-transformers", "", *_block(lines, "python")]


def _checked(card: Card) -> list[str]:
    if not card.checked:
        return ["## Checked", "", "Nothing: it was exported without `--check`.", ""]
    note = "Differences are of impacts (SPLADE), of numbers of a vector (dense) or of scores, against float32 in torch."
    return ["## Checked", "", note, "", table(card.checked), "", *(f"- {line}" for line in card.not_checked), ""]
