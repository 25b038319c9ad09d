"""Recipes in, checked scores out: pipelines of gradir's commands, written down as YAML."""

from gradir.reproduce.stage import run

__all__ = ["run"]
