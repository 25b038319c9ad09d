"""`python -m gradir.encode input … output … encoder …`: the command line of `pyserini.encode`, word for word."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from gradir.command import guarded, parser_for

PARTS = ("input", "output", "encoder")
Class = Literal[
    "dpr", "bpr", "tct_colbert", "ance", "sentence-transformers", "openai-api", "auto", "contriever", "arctic", "splade",
    "uniir", "qwen3", "dse", "mmeb",
]  # fmt: skip


@dataclass(frozen=True)
class Input:
    """What is read.

    Args:
        corpus: File or folder of JSON lines.
        fields: Fields of a document, as keys or in this order in contents; text if not given.
        docid_field: Key of the id, where it is none of id, _id and docid.
        delimiter: Between the fields in contents.
        shard_id: Encode only this one of shard_num contiguous shards; counted from 0.
        shard_num: Number of shards.
    """

    corpus: str
    fields: list[str] | None = None
    docid_field: str | None = None
    delimiter: str = "\\n"
    shard_id: int = 0
    shard_num: int = 1


@dataclass(frozen=True)
class Output:
    """What is written.

    Args:
        embeddings: Folder for embeddings.jsonl.
        to_faiss: Write a flat FAISS index instead: index and docid.
        overwrite: Start afresh where the folder exists.
    """

    embeddings: Path
    to_faiss: bool = False
    overwrite: bool = False


@dataclass(frozen=True)
class Encoding:
    """What encodes. Classes auto, splade, sentence-transformers, contriever, arctic, dpr, ance and tct_colbert run on gradir's
    engine, any other by Pyserini's own encoder.

    Args:
        encoder: Folder or name.
        encoder_class: Guessed from the path if not given, as Pyserini does it.
        fields: Fields that the encoder takes; text if not given.
        multimodal: The encoder takes images too.
        batch_size: Documents of a batch; chosen by device if not given (64 for Pyserini's own encoders).
        max_length: Tokens of a document, special ones included.
        dimension: Not needed; a number that is not the vectors' own is an error.
        device: cpu, cuda:0 and so on; the CPU where there is no GPU. Several (cuda:0,cuda:1) get a process each.
        fp16: Compute in float16 (bfloat16 on a CPU).
        add_sep: Give title and text as a pair, with a separator between.
        pooling: For the class auto.
        l2_norm: Scale vectors to unit length (class auto).
        prefix: Put before the text, with a space between (class auto).
        use_openai: Batches by rate_limit, as Pyserini makes them.
        rate_limit: Requests a minute, for OpenAI.
        explicit_truncate: For the class qwen3.
        trust_remote_code: Allow the model's own Python code to run, which Pyserini does unasked.
    """

    encoder: str
    encoder_class: Class | None = None
    fields: list[str] | None = None
    multimodal: bool = False
    batch_size: int | None = None
    max_length: int = 256
    dimension: int | None = None
    device: str = "cuda:0"
    fp16: bool = False
    add_sep: bool = False
    pooling: Literal["cls", "mean", "last", "eos", "max"] = "cls"
    l2_norm: bool = False
    prefix: str | None = None
    use_openai: bool = False
    rate_limit: int = 3500
    explicit_truncate: bool = False
    trust_remote_code: bool = False


def main(words: Sequence[str], prog: str = "python -m gradir.encode") -> int:
    """Run the command; returns its exit code.

    Args:
        words: All words of the command line, the first of them one of `PARTS`.
        prog: What stands before them.
    """
    kinds = dict(zip(PARTS, (Input, Output, Encoding), strict=True))
    parsers = {name: parser_for(kind, f"{prog} {name}") for name, kind in kinds.items()}
    pieces: dict[str, list[str]] = {}
    for word in words:
        if word in PARTS:
            pieces[word] = []
            current = pieces[word]
        else:
            current.append(word)
    parsed: dict[str, Any] = {}
    for name, piece in pieces.items():
        _allow_abbreviations(parsers[name])
        parsed[name] = kinds[name](**vars(parsers[name].parse_args(piece)))
    missing = [name for name in PARTS if name not in parsed]
    if missing:
        parsers[missing[0]].error(f"the part `{missing[0]}` is missing: {prog} input … output … encoder …")
    from gradir.encode.pyserini_run import run

    return guarded(lambda: run(parsed["input"], parsed["output"], parsed["encoder"]))


def _allow_abbreviations(parser: argparse.ArgumentParser) -> None:
    """Pyserini's command line takes `--emb` for `--embeddings`."""
    parser.allow_abbrev = True
