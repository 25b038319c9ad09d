"""What the model cards of all encoder folders share: the hub's tags, the files, the configuration, the commands to use them."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Literal

from gradir.data.atomic import new_text
from gradir.models.config import EncoderConfig

CardKind = Literal["dense", "splade", "reranker"]

_LIBRARY = "sentence-transformers"
_TASKS = {"splade": "feature-extraction", "dense": "sentence-similarity", "reranker": "text-ranking"}
_CLASSES = {"splade": "SparseEncoder", "dense": "SentenceTransformer"}
_FILES = {
    "model.safetensors": "the weights",
    "pytorch_model.bin": "the same, for later versions of Pyserini (gradir never reads it)",
    "gradir.json": "how texts become vectors, for gradir",
    "modules.json": "the same for sentence-transformers",
    "reranker.json": "how query and document are shown to the model, for gradir",
    "vocab.txt": "the tokens by id",
    "model.onnx": "pooling and activation inside",
    "model_int8.onnx": "the same with 8-bit products, for CPUs",
    "model_query.onnx": "for queries",
    "model_query_int8.onnx": "for queries, with 8-bit products",
    "anserini": "for the Java encoders of Anserini; see its README",
    "query": "what queries go through",
    "check.json": "what was compared",
    "training.jsonl": "the losses and dev measures by step",
}


def write_parts(folder: Path, parts: Sequence[str]) -> None:
    """Write the lines of a card as the folder's `README.md`."""
    with new_text(folder / "README.md") as stream:
        stream.write("\n".join(parts).rstrip() + "\n")


def front_matter(kind: CardKind, made_from: str, tags: Sequence[str], library: str = _LIBRARY) -> str:
    """What the hub reads. The licence is the owner's to name.

    Args:
        kind: What the folder holds.
        made_from: Folder or hub name; the latter is told.
        tags: More than those of the kind.
        library: What opens the folder besides gradir.
    """
    own = {"splade": ["sparse-encoder", "sparse", "splade"], "dense": [], "reranker": ["cross-encoder", "reranker"]}
    lines = ["---", f"library_name: {library}", f"pipeline_tag: {_TASKS[kind]}"]
    lines += [f"base_model: {made_from}"] if not Path(made_from).exists() else []
    listed = ["gradir", library, *own[kind], *tags]
    return "\n".join([*lines, "tags:", *(f"- {tag}" for tag in listed), "---", ""])


def what(kind: CardKind, size: int) -> str:
    """One sentence without its stop; `size` is of a vector, in numbers or terms."""
    if kind == "reranker":
        return "A cross-encoder: it scores a query and a document together"
    if kind == "splade":
        return f"A SPLADE encoder: texts become weights of {size:,} terms"
    return f"A dense encoder: texts become vectors of {size} numbers"


def files(folder: Path) -> list[str]:
    """A table of what the folder holds, as far as its files have a meaning of their own."""
    rows = [f"| `{name}` | {words} |" for name, words in _FILES.items() if (folder / name).exists()]
    return ["| file | holds |", "| --- | --- |", *rows, ""]


def configuration(config: EncoderConfig) -> list[str]:
    """`gradir.json` as a table, without what says nothing of this kind of encoder."""
    rows = [f"| {name} | {_cell(value)} |" for name, value in asdict(config).items() if _is_of(name, config)]
    return ["## Configuration", "", "| | |", "| --- | --- |", *rows, ""]


def _is_of(name: str, config: EncoderConfig) -> bool:
    sparse = ("activation", "expansion", "impact_scale", "special_tokens", "top_k_query", "top_k_passage")
    dense = ("normalize", "dimensions", "pool_prefix")
    return name not in (dense if config.kind == "splade" else sparse)


def _cell(value: object) -> str:
    return f"`{value}`" if value not in ("", None) else "none"


def block(lines: Sequence[str], language: str = "bash") -> list[str]:
    """Lines of code."""
    return [f"```{language}", *lines, "```", ""]


def gradir_use(path: str, config: EncoderConfig, more: str = "") -> list[str]:
    """How gradir encodes and searches with the folder.

    Args:
        path: The folder as it shall be named.
        config: Its configuration.
        more: Goes on the sentence about the files.
    """
    said = f"`corpus.jsonl` holds `_id` and `text`, `topics.tsv` an id and a query{more}."
    return ["## gradir", "", said, "", *block(gradir_commands(path, config))]


def gradir_commands(path: str, config: EncoderConfig) -> list[str]:
    """From a corpus to measures with gradir."""
    index = ["impact", "index-impact"] if config.kind == "splade" else ["flat", "index-flat"]
    lines = [
        ["encode", "--encoder", path, "--corpus", "corpus.jsonl", "--output", "vectors"],
        ["index", "--input", "vectors", "--type", index[0], "--output", index[1]],
        ["search", "--index", index[1], "--topics", "topics.tsv", "--encoder", path, "--output", "run.trec"],
        ["evaluate", "--qrels", "qrels.txt", "--run", "run.trec"],
    ]
    return [shlex.join(["gradir", *words]) for words in lines]


def sentence_transformers_use(path: str, kind: CardKind) -> list[str]:
    """How sentence-transformers opens the folder."""
    if kind == "reranker":
        lines = [
            "from sentence_transformers import CrossEncoder",
            "",
            f"reranker = CrossEncoder({path!r})",
            'reranker.predict([("a query", "a document")])',
        ]
    else:
        lines = [
            f"from sentence_transformers import {_CLASSES[kind]}",
            "",
            f"encoder = {_CLASSES[kind]}({path!r})",
            'encoder.encode_query(["a query"]), encoder.encode_document(["a document"])',
        ]
    return ["## sentence-transformers", "", *block(lines, "python")]
