"""Texts that are nearly the same, among many: MinHash signatures (Broder, 1997) find candidates, the texts themselves decide.

A text is the set of its runs of five characters, after `words.plain`. The similarity of two is Jaccard's |A and B| / |A or B|. The
signatures of datasketch's MinHash (128 values) are cut into bands; texts that agree in a band are candidates (Leskovec,
Rajaraman and Ullman, Mining of Massive Datasets, 3.4), whose exact similarity is computed from their texts. What is dropped has
therefore at least the similarity asked for; a few in a hundred of those just above it are not found. Memory: 512 bytes a text.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gradir.data.same_text import same_text
from gradir.errors import MissingDependency

_RUN = 5  # characters
_VALUES = 128
_BLOCK = 4096
_HIGHEST = 0.95  # threshold that candidates are found with: above it datasketch has no bands
_WEIGHTS = (0.1, 0.9)  # of false positives, which cost a comparison, and false negatives, which are missed


class Near(NamedTuple):
    """A text, an earlier one that it is like, and their similarity."""

    row: int
    other: int
    similarity: float


def runs(text: str) -> set[str]:
    """The runs of five characters of a text; of a shorter one the text itself."""
    text = same_text(text)
    return {text[place : place + _RUN] for place in range(max(1, len(text) - _RUN + 1))}


def jaccard(first: str, second: str) -> float:
    """The similarity of two texts, from 0 to 1."""
    one, other = runs(first), runs(second)
    return len(one & other) / len(one | other)


class Signatures:
    """The signatures of texts, in rows.

    Args:
        threshold: The similarity that is looked for.

    Raises:
        MissingDependency: datasketch is not installed.
    """

    def __init__(self, threshold: float):
        try:
            from datasketch import MinHash, MinHashLSH
        except ImportError:
            raise MissingDependency("datasketch", "Finding near duplicates", "pip install datasketch") from None
        self.threshold = threshold
        index = MinHashLSH(threshold=min(threshold, _HIGHEST), num_perm=_VALUES, weights=_WEIGHTS)
        self._bands, self._width = (
            index.b,
            index.r,
        )  # as many bands, of so many values, as find what is above the threshold
        self._empty = MinHash(num_perm=_VALUES, hashfunc=zlib.crc32)
        self._blocks: list[NDArray[np.uint32]] = []
        self._newest: list[NDArray[np.uint32]] = []

    def __len__(self) -> int:
        return sum(map(len, self._blocks)) + len(self._newest)

    def add(self, text: str) -> None:
        """Add a text as the next row."""
        sketch = self._empty.copy()
        sketch.update_batch([run.encode("utf-8", "surrogatepass") for run in runs(text)])
        self._newest.append(np.asarray(sketch.hashvalues, np.uint32))
        if len(self._newest) == _BLOCK:
            self._flush()

    def near(self, order: Iterable[int], text_of: Callable[[int], str], fixed: int = 0) -> Iterator[Near]:
        """Rows that are like one that stays, in the order given: each is compared with those that came before it and stayed.

        Args:
            order: Of the rows that are to be looked at.
            text_of: Reads the text of a row.
            fixed: So many first rows stay, whatever they are like; the others are compared with them alone.
        """
        buckets = self._buckets()
        staying: dict[tuple[int, int], list[int]] = {}
        for row in range(fixed):
            self._enter(staying, buckets, row)
        for row in order:
            found = self._like(row, self._candidates(staying, buckets, row), text_of)
            if found:
                yield found
            elif not fixed:
                self._enter(staying, buckets, row)

    def _like(self, row: int, candidates: list[int], text_of: Callable[[int], str]) -> Near | None:
        """The first candidate that is similar enough."""
        if not candidates:
            return None
        own = runs(text_of(row))
        for other in candidates:
            theirs = runs(text_of(other))
            similarity = len(own & theirs) / len(own | theirs)
            if similarity >= self.threshold:
                return Near(row, other, similarity)
        return None

    @staticmethod
    def _enter(staying: dict[tuple[int, int], list[int]], buckets: NDArray[np.int64], row: int) -> None:
        for band, bucket in enumerate(buckets[row].tolist()):
            if bucket >= 0:
                staying.setdefault((band, bucket), []).append(row)

    @staticmethod
    def _candidates(staying: dict[tuple[int, int], list[int]], buckets: NDArray[np.int64], row: int) -> list[int]:
        found: set[int] = set()
        for band, bucket in enumerate(buckets[row].tolist()):
            if bucket >= 0:
                found.update(staying.get((band, bucket), ()))
        return sorted(found)

    def _flush(self) -> None:
        if self._newest:
            self._blocks.append(np.stack(self._newest))
            self._newest = []

    def _buckets(self) -> NDArray[np.int64]:
        """In which bucket of each band a row is, [N, bands]; -1 where it is alone there."""
        self._flush()
        values = np.concatenate(self._blocks or [np.zeros((0, _VALUES), np.uint32)])
        found = np.full((len(values), self._bands), -1, np.int64)
        for band in range(self._bands):
            part = np.ascontiguousarray(values[:, band * self._width : (band + 1) * self._width])
            keys = part.view(np.dtype((np.void, part.itemsize * self._width))).ravel()
            _, numbers, sizes = np.unique(keys, return_inverse=True, return_counts=True)
            found[:, band] = np.where(sizes[numbers] > 1, numbers, -1)
        return found
