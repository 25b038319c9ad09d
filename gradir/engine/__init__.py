"""An encoder folder opened as an object with `encode(texts)`, and the query and document encoder objects that Pyserini takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gradir.engine.document_encoders import DenseDocumentEncoder, SparseDocumentEncoder
    from gradir.engine.encoder import Encoder
    from gradir.engine.light import LightQueryEncoder
    from gradir.engine.query_encoders import DenseQueryEncoder, SparseQueryEncoder

_MODULES = {
    "DenseDocumentEncoder": "document_encoders",
    "DenseQueryEncoder": "query_encoders",
    "Encoder": "encoder",
    "LightQueryEncoder": "light",
    "SparseDocumentEncoder": "document_encoders",
    "SparseQueryEncoder": "query_encoders",
}

__all__ = [
    "DenseDocumentEncoder",
    "DenseQueryEncoder",
    "Encoder",
    "LightQueryEncoder",
    "SparseDocumentEncoder",
    "SparseQueryEncoder",
]


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is asked for: torch and transformers take seconds, and not everything here needs them."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
