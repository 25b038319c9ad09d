"""Corpora and topics to vector shards."""

from gradir.encode.stage import run

__all__ = ["run"]
