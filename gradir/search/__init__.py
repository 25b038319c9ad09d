"""Topics and an index to a TREC run."""

from gradir.search.stage import run

__all__ = ["run"]
