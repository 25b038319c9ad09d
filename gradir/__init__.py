"""gradir: graded training data, SPLADE and dense encoders, and the indexes and runs made with them, for Pyserini and Anserini."""

__version__ = "0.1.0"
