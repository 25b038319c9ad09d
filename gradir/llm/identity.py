"""What a model is called in a request's key: a name for its content, so that a folder may be moved and a model retrained."""

from __future__ import annotations

import hashlib
from pathlib import Path

from gradir.errors import InputError

_WEIGHTS = {".safetensors", ".bin", ".pt", ".gguf"}
_SETTINGS = {".json", ".txt", ".model", ".jinja", ".py"}
_OURS = {"manifest.json", "model_card.json"}
_BLOCK, _BLOCKS = 2**20, 64


def model_identity(model: str) -> str:
    """`sha256:…` of a local folder's content; any other name, of the hub (with `@revision` where it has one) or a server, as it is.

    A folder's digest is over the names and content of its settings, tokenizer and templates, and over the names, sizes and content
    of its weights: of files above 64 MiB, 64 blocks of 1 MiB spread evenly from the first to the last. (Training changes
    nearly every weight, and reading all of 140 GB would take minutes at each start.)
    """
    folder = Path(model).expanduser()
    if not folder.is_dir():
        return model
    files = sorted(file for file in folder.iterdir() if file.is_file() and file.name not in _OURS)
    digest = hashlib.sha256()
    for file in files:
        if file.suffix in _WEIGHTS | _SETTINGS:
            digest.update(f"{file.name}\0{file.stat().st_size}\0".encode())
            digest.update(_content(file))
    return f"sha256:{digest.hexdigest()}"


def check_model(model: str) -> None:
    """Refuse what is neither a folder with a model nor a possible name on the hub.

    Raises:
        InputError: It looks like a path, and there is no such folder, or no model in it.
    """
    folder = Path(model).expanduser()
    if folder.is_dir() and not (folder / "config.json").exists():
        raise InputError(folder, "holds no model (no config.json)", "Name a Hugging Face model folder")
    if not folder.is_dir() and (model.startswith((".", "/", "~")) or model.count("/") > 1 or folder.exists()):
        raise InputError(model, "no such folder", "Name a folder with a Hugging Face model, or one on the hub")


def _content(file: Path) -> bytes:
    size = file.stat().st_size
    with file.open("rb") as stream:
        if file.suffix not in _WEIGHTS or size <= _BLOCK * _BLOCKS:
            return hashlib.file_digest(stream, "sha256").digest()
        digest = hashlib.sha256()
        for i in range(_BLOCKS):
            stream.seek((size - _BLOCK) * i // (_BLOCKS - 1))
            digest.update(stream.read(_BLOCK))
        return digest.digest()
