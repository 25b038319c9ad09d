"""Vectors and indexes that others made to vector shards."""

from gradir.convert.stage import run

__all__ = ["run"]
