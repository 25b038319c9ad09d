"""Which texts of a corpus come when, and which are held out. None of them is in memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset, Sampler

from gradir.data.texts import Texts
from gradir.errors import InputError

_HELD_OUT, _ORDER = 1, 2  # seeds of their own for each draw
MOST_HELD_OUT = 500


class Drawn(NamedTuple):
    """A text in its place.

    Attributes:
        place: Of all draws of a training, from 0; masks depend on it.
        docid: Of the document.
        text: Its contents.
    """

    place: int
    docid: str
    text: str


def split(texts: Texts, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of the texts that are learnt from, and of those held out: a hundredth, at most `MOST_HELD_OUT`, at least one.

    Raises:
        InputError: There are fewer than two documents, or all are blank.
    """
    corpora = ", ".join(texts.corpora)
    if len(texts) < 2:
        fix = "One is held out to measure the loss, the others are learnt from"
        raise InputError(corpora, "holds but one document", fix)
    if not any(texts.at(row).contents.strip() for row in range(len(texts))):
        raise InputError(corpora, "all documents are blank", "Is it the right file?")
    drawn = np.random.default_rng((seed, _HELD_OUT)).permutation(len(texts))
    count = min(MOST_HELD_OUT, max(1, len(texts) // 100))
    return np.sort(drawn[count:]), np.sort(drawn[:count])


class Draws(Dataset[Drawn]):
    """The texts of a whole training by place: every epoch is a new permutation.

    What comes at a place depends on the seed alone, so that a training can go on from any place.

    Args:
        texts: All texts.
        rows: Those to be learnt from.
        seed: Of the order.
    """

    def __init__(self, texts: Texts, rows: NDArray[np.int64], seed: int):
        self.texts, self.rows, self.seed = texts, rows, seed
        self._epoch, self._order = -1, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, place: int) -> Drawn:
        """The text at a place, which may lie beyond the first epoch."""
        epoch, at = divmod(place, len(self.rows))
        if epoch != self._epoch:
            self._epoch = epoch
            self._order = np.random.default_rng((self.seed, _ORDER, epoch)).permutation(self.rows)
        return drawn(self.texts, int(self._order[at]), place)


def drawn(texts: Texts, row: int, place: int) -> Drawn:
    """The text of a row, put in a place."""
    document = texts.at(row)
    return Drawn(place, document.docid, document.contents)


class Places(Sampler[list[int]]):
    """The places of each step, one after another.

    Args:
        steps: How many there are.
        batch_size: Texts of a step.
    """

    def __init__(self, steps: int, batch_size: int):
        self.steps, self.batch_size = steps, batch_size

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[list[int]]:
        for first in range(0, self.steps * self.batch_size, self.batch_size):
            yield list(range(first, first + self.batch_size))
