"""The built-in demonstration collection: real text with graded relevance from what is installed, without a network."""

from gradir.collection.pydocs import collection_hash, pydocs

__all__ = ["collection_hash", "pydocs"]
