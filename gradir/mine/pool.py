"""The documents of some queries in several runs, put together in columns."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gradir.mine.limits import Places, Scores

if TYPE_CHECKING:
    import pyarrow as pa

    from gradir.data.run_reading import QueryColumns

Codes = NDArray[np.uint8]


class Lines(NamedTuple):
    """Lines of R runs for Q queries: part by part, where a part is what one run has for one query, best first.

    The parts of a query stand together, in the order of the runs: part `q x R + r` is what run r has for query q.

    Attributes:
        docids: [L].
        scores: [L].
        parts: The part of each line, not falling, [L].
        ranks: From 1, [L].
        sizes: Lines of each part, 0 where the run lacks the query, [Q, R].
    """

    docids: pa.StringArray
    scores: Scores
    parts: Places
    ranks: Places
    sizes: Places

    def queries(self, at: Places | slice = slice(None)) -> Places:
        """The numbers of the queries of some lines."""
        return self.parts[at] // self.sizes.shape[1]

    def runs(self, at: Places | slice = slice(None)) -> Places:
        """The numbers of the runs of some lines."""
        return self.parts[at] % self.sizes.shape[1]

    def lowest(self) -> Scores:
        """The last score of each part, NaN where it is empty, [Q, R]."""
        found = np.full(self.sizes.shape, np.nan)
        some = self.sizes > 0
        found[some] = self.scores[np.cumsum(self.sizes)[some.ravel()] - 1]
        return found

    def order(self) -> Places:
        """A number for each line, rising with its query, its rank and its run, [L]."""
        runs = self.sizes.shape[1]
        return (self.queries() * (self.sizes.max() + 1) + self.ranks) * runs + self.runs()


class Documents(NamedTuple):
    """Documents that queries name, each at most once.

    Attributes:
        docids: [W].
        queries: The number of each one's query, [W].
    """

    docids: pa.StringArray
    queries: Places


def lines_of(columns: Sequence[Sequence[QueryColumns | None]]) -> Lines:
    """What runs have for each query, [Q][R]; None where they lack it."""
    import pyarrow as pa

    sizes = np.array([[0 if one is None else len(one.scores) for one in row] for row in columns], np.int64)
    held = [one for row in columns for one in row if one is not None]
    docids = pa.concat_arrays([one.docids for one in held]) if held else pa.array([], pa.string())
    scores = np.concatenate([one.scores for one in held]) if held else np.zeros(0)
    flat = sizes.ravel()
    ranks = np.arange(1, len(scores) + 1) - np.repeat(np.cumsum(flat) - flat, flat)
    return Lines(docids, scores, np.repeat(np.arange(flat.size), flat), ranks, sizes)


def documents(named: Sequence[Collection[str]]) -> Documents:
    """The ids that each query names, [Q]."""
    import pyarrow as pa

    docids = pa.array([docid for of in named for docid in of], pa.string())
    return Documents(docids, np.repeat(np.arange(len(named)), [len(of) for of in named]))


def found_among(lines: Lines, wanted: Documents) -> tuple[Places, Places]:
    """(the lines whose document their query names, which of the documents that is), [h] each, in the order of the lines."""
    import pyarrow.compute as pc

    names = wanted.docids.unique()
    codes = pc.index_in(lines.docids, names).fill_null(-1).to_numpy()
    at = np.flatnonzero(codes >= 0)  # named by some query
    keys = _keys(lines.queries(at), codes[at], len(names))
    known = _keys(wanted.queries, pc.index_in(wanted.docids, names).to_numpy(), len(names))
    if not len(at):
        return at, at
    order = np.argsort(known)
    which = order[np.searchsorted(known, keys, sorter=order).clip(max=len(known) - 1)]
    own = known[which] == keys
    return at[own], which[own]


def once_each(lines: Lines, codes: Codes, outside: int) -> Codes:
    """Codes of lines for which a document of several runs counts once, [L].

    Its best ranked line gets the lowest code that one of its lines has, and the others get `outside`.

    Args:
        lines: Of any number of runs.
        codes: Of each line, [L].
        outside: The highest code; lines that have it already count for nothing.
    """
    import pyarrow as pa

    encoded = lines.docids.dictionary_encode()
    pairs = _keys(lines.queries(), encoded.indices.to_numpy(), len(encoded.dictionary))
    numbered = pa.array(pairs).dictionary_encode()
    number, which = len(numbered.dictionary), numbered.indices.to_numpy()  # the document of a query on each line, [L]
    lowest = np.full(number, outside, codes.dtype)
    np.minimum.at(lowest, which, codes)
    never = np.iinfo(np.int64).max
    order = np.where(codes < outside, lines.order(), never)
    best = np.full(number, never)
    np.minimum.at(best, which, order)
    return np.where(order == best[which], lowest[which], outside).astype(codes.dtype)


def _keys(queries: Places, codes: Places, size: int) -> Places:
    """A number for each pair of a query and a document."""
    return queries.astype(np.int64) * size + codes
