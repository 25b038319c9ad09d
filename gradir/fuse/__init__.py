"""Several runs to one: `gradir fuse`."""

from gradir.fuse.stage import run

__all__ = ["run"]
