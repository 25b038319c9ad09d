"""A run's best documents, put in order by a cross-encoder: `gradir rerank`."""

from gradir.rerank.stage import run

__all__ = ["run"]
