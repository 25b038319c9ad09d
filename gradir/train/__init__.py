"""Training encoders: `gradir train`."""

from gradir.train.init_splade import run as init_splade
from gradir.train.stage import dense, splade

__all__ = ["dense", "init_splade", "splade"]
