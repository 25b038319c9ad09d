"""From an encoder to one folder that works everywhere."""

from gradir.export.stage import run

__all__ = ["run"]
