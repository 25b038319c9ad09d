"""An encoder folder opened as an object with `encode(texts)`, and the query encoder objects that Pyserini takes."""

from gradir.engine.encoder import Encoder
from gradir.engine.query_encoders import DenseQueryEncoder, SparseQueryEncoder

__all__ = ["DenseQueryEncoder", "Encoder", "SparseQueryEncoder"]
