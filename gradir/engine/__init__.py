"""An encoder folder opened as an object with `encode(texts)`, and the query and document encoder objects that Pyserini takes."""

from gradir.engine.document_encoders import DenseDocumentEncoder, SparseDocumentEncoder
from gradir.engine.encoder import Encoder
from gradir.engine.query_encoders import DenseQueryEncoder, SparseQueryEncoder

__all__ = [
    "DenseDocumentEncoder",
    "DenseQueryEncoder",
    "Encoder",
    "SparseDocumentEncoder",
    "SparseQueryEncoder",
]
