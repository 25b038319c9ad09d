"""Runs and qrels to measures, with trec_eval's own code: `gradir evaluate`."""

from gradir.data.measures import DEFAULT_MEASURES, Scores, evaluate_run
from gradir.evaluate.stage import run

__all__ = ["DEFAULT_MEASURES", "Scores", "evaluate_run", "run"]
