"""The documents of some queries in several runs, put together in columns."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gradir.mine.limits import Mask, Places, Scores

if TYPE_CHECKING:
    import pyarrow as pa

    from gradir.data.run_reading import QueryColumns


class Lines(NamedTuple):
    """Lines of runs: query by query, best first.

    Attributes:
        docids: [L].
        scores: [L].
        queries: The number of each one's query, not falling, [L].
        ranks: From 1, [L].
        runs: The number of the run, [L].
    """

    docids: pa.StringArray
    scores: Scores
    queries: Places
    ranks: Places
    runs: Places

    def kept(self, mask: Mask) -> Lines:
        """Some of the lines."""
        import pyarrow as pa

        if mask.all():
            return self
        return Lines(self.docids.filter(pa.array(mask)), *(column[mask] for column in self[1:]))


class Pool(NamedTuple):
    """Each document of each query once, with the best of its ranks: by query, rank, run.

    Attributes:
        lines: The lines that have it there, [U].
        places: Where each part's lines are among these, [L] each; None where they are these.
    """

    lines: Lines
    places: Sequence[Places | None]


class Documents(NamedTuple):
    """Documents that queries name.

    Attributes:
        docids: [W].
        owners: The number of each one's query, [W].
    """

    docids: pa.StringArray
    owners: Places


def lines_of(number: int, columns: Sequence[QueryColumns | None]) -> Lines:
    """What run `number` has for each query."""
    import pyarrow as pa

    held = [one for one in columns if one is not None]
    lengths = np.array([0 if one is None else len(one.scores) for one in columns], np.int64)
    docids = pa.concat_arrays([one.docids for one in held]) if held else pa.array([], pa.string())
    scores = np.concatenate([np.zeros(0), *(one.scores for one in held)])
    starts = np.cumsum(lengths) - lengths
    ranks = np.arange(1, len(scores) + 1) - np.repeat(starts, lengths)
    queries = np.repeat(np.arange(len(columns)), lengths)
    return Lines(docids, scores, queries, ranks, np.full(len(scores), number))


def documents(named: Sequence[Collection[str]]) -> Documents:
    """The ids that each query names."""
    import pyarrow as pa

    docids = pa.array([docid for of in named for docid in of], pa.string())
    return Documents(docids, np.repeat(np.arange(len(named)), [len(of) for of in named]))


def pooled(parts: Sequence[Lines]) -> Pool:
    """The documents of all runs."""
    import pyarrow as pa

    if len(parts) == 1:
        return Pool(parts[0], [None])
    encoded = pa.concat_arrays([part.docids for part in parts]).dictionary_encode()
    scores, queries, ranks, runs = (np.concatenate([part[i] for part in parts]) for i in range(1, 5))
    order = np.lexsort((runs, ranks, queries))
    keys = _keys(queries, encoded.indices.to_numpy(), len(encoded.dictionary))[order]
    _, first, which = np.unique(keys, return_index=True, return_inverse=True)
    best = order[np.sort(first)]  # the best line of each, [U]
    places = np.empty(len(order), np.int64)
    places[order] = np.argsort(np.argsort(first))[which]
    docids = encoded.dictionary.take(encoded.indices.take(best))
    lines = Lines(docids, scores[best], queries[best], ranks[best], runs[best])
    ends = np.cumsum([len(part.scores) for part in parts])[:-1]
    return Pool(lines, [*np.split(places, ends)])


def found_among(lines: Lines, wanted: Documents) -> tuple[Places, Places]:
    """(the lines that hold a document which their query names, which document that is), [h] each, in the order of the lines."""
    import pyarrow.compute as pc

    unique = wanted.docids.unique()
    codes = pc.index_in(lines.docids, unique).fill_null(-1).to_numpy()
    at = np.flatnonzero(codes >= 0)
    keys = _keys(lines.queries[at], codes[at], len(unique))
    known = _keys(wanted.owners, pc.index_in(wanted.docids, unique).to_numpy(), len(unique))
    order = np.argsort(known)
    which = order[np.searchsorted(known, keys, sorter=order).clip(max=len(known) - 1)] if len(known) else at
    named = known[which] == keys
    return at[named], which[named]


def _keys(queries: Places, codes: Places, size: int) -> Places:
    """A number for each pair of a query and a document."""
    return queries.astype(np.int64) * size + codes
