"""Making and training encoders: `gradir train`."""

from gradir.train.init_splade import run as init_splade

__all__ = ["init_splade"]
