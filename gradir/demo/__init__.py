"""The whole job on one collection: the stages in a row, a table, a chart, and the commands to repeat each step."""

from gradir.demo.stage import run

__all__ = ["run"]
