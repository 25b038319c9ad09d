"""The documents of one query in several runs, put together."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gradir.mine.limits import Mask, Scores

if TYPE_CHECKING:
    import pyarrow as pa

    from gradir.data.run_reading import QueryColumns

Places = NDArray[np.int64]


class Ranking(NamedTuple):
    """One run's documents of the query, and what the qrels know of them.

    Attributes:
        number: Of the run.
        docids: Best first, [k].
        scores: [k].
        known: The places of judged documents, [j].
        judged: Which judged document stands there, [j].
    """

    number: int
    docids: pa.StringArray
    scores: Scores
    known: Places
    judged: NDArray[np.int32]


class Pool(NamedTuple):
    """The documents of all runs, by best rank, then by the order of the runs.

    Attributes:
        docids: [U].
        ranks: The best rank of each, from 1, [U].
        runs: The number of the run that has it there, [U].
        scores: Its score there, [U].
        places: Where each run's documents are among these, [k] each; None where they are these.
    """

    docids: pa.StringArray
    ranks: Places
    runs: Places
    scores: Scores
    places: Sequence[Places | None]


def ranking(number: int, columns: QueryColumns, names: pa.StringArray) -> Ranking:
    """A run's documents, those among `names` (the judged ones) found."""
    judged = indices(columns.docids, names)
    known = np.flatnonzero(judged >= 0)
    return Ranking(number, columns.docids, columns.scores, known, judged[known])


def pooled(rankings: Sequence[Ranking]) -> Pool:
    """Each document once, with the best of its ranks."""
    import pyarrow as pa

    lengths = [len(one.scores) for one in rankings]
    ranks = [np.arange(1, length + 1) for length in lengths]
    if len(rankings) == 1:
        one = rankings[0]
        return Pool(one.docids, ranks[0], np.full(lengths[0], one.number), one.scores, [None])
    encoded = pa.concat_arrays([one.docids for one in rankings]).dictionary_encode()
    codes, all_ranks = encoded.indices.to_numpy(), np.concatenate(ranks)
    runs = np.repeat([one.number for one in rankings], lengths)
    order = np.lexsort((runs, all_ranks))
    _, first = np.unique(codes[order], return_index=True)
    lines = order[np.sort(first)]  # the best line of each document, [U]
    place_of = np.empty(len(lines), np.int64)
    place_of[codes[lines]] = np.arange(len(lines))
    places: list[Places | None] = [*np.split(place_of[codes], np.cumsum(lengths)[:-1])]
    scores = np.concatenate([one.scores for one in rankings])[lines]
    return Pool(encoded.dictionary.take(codes[lines]), all_ranks[lines], runs[lines], scores, places)


def looked_up(docids: pa.StringArray, scored: QueryColumns | None) -> Scores:
    """The score of each document, NaN where it has none, [U]."""
    if scored is None:
        return np.full(len(docids), np.nan)
    places = indices(docids, scored.docids)
    return np.where(places >= 0, scored.scores[places], np.nan)


def members(docids: pa.StringArray, names: Collection[str]) -> Mask:
    """Which documents are among the names, [U]."""
    import pyarrow as pa

    return indices(docids, pa.array(sorted(names), pa.string())) >= 0


def indices(docids: pa.StringArray, names: pa.StringArray) -> NDArray[np.int32]:
    """Where each document stands among the names, or -1, [k]."""
    import pyarrow.compute as pc

    found: NDArray[np.int32] = pc.index_in(docids, names).fill_null(-1).to_numpy()
    return found
