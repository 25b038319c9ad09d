"""Which lists come in which epoch, and what is drawn by chance: all by seed, never by what was asked before."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

_FINEST = 10**6  # denominators of ratios of weights: 0.3 is three tenths


class Mix:
    """The lists of several entries, mixed by weight.

    A list of an entry with weight 2 comes twice as often as one of an entry with weight 1. In an epoch each list of the entries
    with the highest weight comes once, and of an entry with n lists and a share r of that weight, n·r lists come (rounded so that
    nothing is lost over the epochs): in a fixed random order, epoch by epoch further on, so that all come before one comes again.
    With equal weights an epoch is thus every list once, and no list ever comes twice in one epoch. Lists of all entries are
    shuffled together, anew in each epoch.

    Args:
        sizes: How many lists each entry has.
        weights: Their weights, above 0.
        seed: Of all orders.
    """

    def __init__(self, sizes: Sequence[int], weights: Sequence[float], seed: int):
        highest = max(map(Fraction, weights))
        self.sizes, self.seed = tuple(sizes), seed
        shares = [Fraction(weight) / highest for weight in weights]
        self.shares = [share.limit_denominator(_FINEST) or share for share in shares]
        self.starts = [0, *np.cumsum(sizes).tolist()]
        self._orders = [
            _chance(seed, "entry", number).permutation(size) if share < 1 else None
            for number, (size, share) in enumerate(zip(sizes, self.shares, strict=True))
        ]
        self._places = [None if order is None else np.argsort(order) for order in self._orders]

    def coming(self, epoch: int) -> NDArray[np.int64]:
        """The indices of the lists of an epoch, in order."""
        found = []
        for entry, (size, order) in enumerate(zip(self.sizes, self._orders, strict=True)):
            places = np.arange(self._passed(entry, epoch), self._passed(entry, epoch + 1)) % size
            found.append(self.starts[entry] + (places if order is None else order[places]))
        return _chance(self.seed, "epoch", epoch).permutation(np.concatenate(found).astype(np.int64))

    def earlier(self, entry: int, number: int, epoch: int) -> int:
        """How often a list of an entry came in the epochs before this one."""
        places, size = self._places[entry], self.sizes[entry]
        place = number if places is None else int(places[number])
        return max(0, -((place - self._passed(entry, epoch)) // size))

    def _passed(self, entry: int, epoch: int) -> int:
        """How many lists of an entry came before an epoch."""
        return int(epoch * self.sizes[entry] * self.shares[entry])


def walk(keys: NDArray[np.uint64], salt: int, visit: int, step: int) -> NDArray[np.int64]:
    """The places of candidates [n] in the order in which a visit draws them.

    The order is random by salt and keys, and each visit begins `step` places further on than the one before, around and around:
    all are drawn before one is drawn again.

    Args:
        keys: A random number for each candidate, that it keeps for ever.
        salt: What this order depends on, as `salt` makes it.
        visit: From 0.
        step: How many a visit draws.
    """
    order = np.argsort(mixed(keys ^ np.uint64(salt)), kind="stable")
    return np.roll(order, -((visit * step) % len(order))) if len(order) else order


def mixed(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Numbers that look random, different ones for different numbers: the finaliser of SplitMix64 (Steele et al. 2014)."""
    numbers = numbers + np.uint64(0x9E3779B97F4A7C15)
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return numbers ^ (numbers >> np.uint64(31))


def salt(*parts: object) -> int:
    """64 bits that depend on all parts, the same on every machine."""
    text = "\0".join(map(str, parts)).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")


def _chance(*parts: object) -> np.random.Generator:
    return np.random.default_rng(salt(*parts))
