"""Where the parts of an encoder folder lie: its Transformer, its projection layers, what its queries go through."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradir.errors import InputError
from gradir.models.config import EncoderConfig, read_gradir_json, read_plain_config
from gradir.models.hugging_face import read_object
from gradir.models.loading import TOKENIZER_FILES
from gradir.models.weights import hash_files, weights_hash


@dataclass(frozen=True)
class Layout:
    """An encoder folder, not yet loaded.

    Attributes:
        config: How texts become vectors.
        transformer: The folder of the Transformer and its tokenizer, in Hugging Face's format.
        projections: Folders of the layers that follow the pooling of a dense encoder, in order.
        table: The folder of the weights of query terms, where queries go through no model.
        query: The parts of the queries' own encoder, where there is one.
    """

    config: EncoderConfig
    transformer: Path
    projections: tuple[Path, ...] = ()
    table: Path | None = None
    query: Layout | None = None


def read_layout(folder: str | Path) -> Layout:
    """The parts of an encoder folder, by `gradir.json`, sentence-transformers' `modules.json` and Hugging Face's `config.json`.

    Raises:
        InputError: The folder holds no model, or a file of it is malformed; all problems of `gradir.json` are listed.
    """
    from gradir.models.sentence_transformers_files import read_modules

    folder = Path(folder)
    config = read_gradir_json(folder / "gradir.json") if (folder / "gradir.json").exists() else None
    if (folder / "modules.json").exists():
        layout = read_modules(folder, config)
    else:
        layout = Layout(config or read_plain_config(folder), folder)
    if layout.config.query_side != "separate" or layout.query:
        return layout
    if not (folder / "query").is_dir():
        raise InputError(
            folder, "says that queries have an encoder of their own, but holds no folder query/", "Copy it again"
        )
    return Layout(layout.config, layout.transformer, layout.projections, query=read_layout(folder / "query"))


def hashes(layout: Layout) -> dict[str, Any]:
    """`tokenizer_sha256` (of the documents' tokenizer) and `weights_sha256` (of all parts)."""
    folders = [layout.transformer, *layout.projections, *([layout.table] if layout.table else [])]
    folders += [layout.query.transformer, *layout.query.projections] if layout.query else []
    return {"tokenizer_sha256": _tokenizer_hash(layout.transformer), "weights_sha256": weights_hash(*folders)}


def _tokenizer_hash(folder: Path) -> str:
    """Of what a tokenizer does. The files that fast tokenizers have beside `tokenizer.json` say nothing more, and the length and
    padding in it are those of the last call before it was saved."""
    path = folder / "tokenizer.json"
    if not path.exists():
        return hash_files(folder / name for name in TOKENIZER_FILES)
    content = read_object(path) | {"truncation": None, "padding": None}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
