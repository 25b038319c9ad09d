"""Vector shards to indexes that Pyserini searches, one module a type."""

from gradir.index.stage import run

__all__ = ["run"]
