"""The documents that runs offer for each query, and the scores of a teacher's run for all that is offered."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gradir.data.composition import Take
from gradir.data.list_pools import Ints, Pool, Relevant, pair_keys
from gradir.data.runs import iter_columns
from gradir.data.texts import Texts
from gradir.errors import InputError

_HITS = 1 << 16  # of runs at a time


class _Hits(NamedTuple):
    """Some queries of a run, best documents first; [H] each, but for the last."""

    queries: Ints
    ranks: Ints
    rows: Ints  # -1 where the document is not known
    scores: NDArray[np.float64]
    starts: Ints  # where each query begins, [q]


def run_pool(take: Take, numbers: Mapping[str, int], texts: Texts, relevant: Relevant) -> Pool:
    """What a take from a run offers; the run is read with some 65,000 hits in memory.

    Args:
        take: Says which ranks, whether relevant documents stay out, and the margin.
        numbers: The number of each query.
        texts: The documents.
        relevant: What the entry's judgements say.

    Raises:
        InputError: As `iter_run`; no document of the run is known.
    """
    count = np.zeros(len(numbers), np.int64)
    begin = np.zeros(len(numbers), np.int64)
    counts = dict.fromkeys(("unknown_queries", "unknown_documents", "other_ranks", "judged_relevant"), 0)
    if take.margin is not None:
        counts |= {"above_margin": 0, "run_lacks_positive": 0, "queries_without_margin": 0}
    found, seen, known = bytearray(), False, False
    # the margin is measured by documents of any rank, and only ranks that are kept need be looked up otherwise
    deepest = None if take.margin is not None else take.rank[1]
    for hits in _hits(take.file, numbers, texts, counts, deepest):
        seen, known = True, known or bool((hits.rows >= 0).any())
        kept = _kept(take, hits, relevant, counts)
        owner, rows = hits.queries[kept], hits.rows[kept].astype(np.int32)
        if take.pick == "bottom":
            owner, rows = owner[::-1], rows[::-1]
        first = np.flatnonzero(np.diff(owner, prepend=-1))
        begin[owner[first]] = first + len(found) // rows.itemsize
        count[owner[first]] = np.diff(first, append=len(owner))
        found += rows.tobytes()
    if seen and not known:
        raise InputError(take.file, f"names no document of {', '.join(texts.corpora)}", "Is it the right corpus?")
    grade = np.array([take.new_grade(0)], np.int8)
    return Pool(begin, count, np.frombuffer(found, np.int32), grade, counts)


def _kept(take: Take, hits: _Hits, relevant: Relevant, counts: dict[str, int]) -> NDArray[np.bool_]:
    """Which hits a take offers. Each that it does not is counted once, for the first reason that applies."""
    low, high = take.rank
    known = hits.rows >= 0
    judged = known & relevant.holds(pair_keys(hits.queries, hits.rows))
    kept = np.ones(len(hits.rows), bool)

    def drop(reason: str, which: NDArray[np.bool_]) -> None:
        counts[reason] += int((kept & which).sum())
        kept[which] = False

    drop("other_ranks", (hits.ranks < (low or 1)) | (hits.ranks > (high or len(hits.ranks))))
    drop("unknown_documents", ~known)
    if not take.judged:
        drop("judged_relevant", judged)
    if take.margin is not None and len(hits.rows):
        best = np.maximum.reduceat(np.where(judged, hits.scores, -np.inf), hits.starts)  # [q]
        held = np.isfinite(best)
        counts["queries_without_margin"] += int((~held).sum())
        best[~held] = 0
        limit = best - (1 - take.margin) * np.abs(best)
        sizes = np.diff(hits.starts, append=len(hits.rows))
        drop("run_lacks_positive", np.repeat(~held, sizes))  # they outdo what is relevant
        drop("above_margin", hits.scores >= np.repeat(limit, sizes))
    return kept


def _hits(
    file: str, numbers: Mapping[str, int], texts: Texts, counts: dict[str, int], deepest: int | None = None
) -> Iterator[_Hits]:
    """The known queries of a run, a batch at a time, in file order; hits below rank `deepest` are passed over."""
    batch: list[tuple[int, Any, NDArray[np.float64]]] = []
    held = 0
    for qid, (docids, scores) in iter_columns(file):
        number = numbers.get(qid)
        if number is None:
            counts["unknown_queries"] += 1
            continue
        batch.append((number, docids[:deepest], scores[:deepest]))
        counts["other_ranks"] += len(scores) - len(batch[-1][2])
        held += len(batch[-1][2])
        if held >= _HITS:
            yield _joined(batch, texts)
            batch, held = [], 0
    if batch:
        yield _joined(batch, texts)


def _joined(batch: list[tuple[int, Any, NDArray[np.float64]]], texts: Texts) -> _Hits:
    import pyarrow as pa

    encoded = pa.concat_arrays([docids for _, docids, _ in batch]).dictionary_encode()  # each id is looked up once
    rows = texts.rows(encoded.dictionary.to_pylist())[encoded.indices.to_numpy()]
    sizes = np.array([len(scores) for _, _, scores in batch], np.int64)
    starts = np.cumsum(sizes) - sizes
    ranks = np.arange(len(rows)) - np.repeat(starts, sizes) + 1
    owners = np.repeat(np.array([number for number, _, _ in batch], np.int64), sizes)
    return _Hits(owners, ranks, rows, np.concatenate([scores for _, _, scores in batch]), starts)


def join_teacher(file: str, pools: Iterable[Pool], numbers: Mapping[str, int], texts: Texts) -> dict[str, int]:
    """Give all candidates their scores by a teacher's run; returns what was left over.

    Raises:
        InputError: As `iter_run`.
    """
    joined = [(pool, np.full(len(pool.rows), np.nan, np.float32)) for pool in pools]
    counts = {"unknown_queries": 0, "other_ranks": 0}
    for hits in _hits(file, numbers, texts, counts):
        keys = pair_keys(hits.queries, hits.rows)
        order = np.argsort(keys, kind="stable")
        keys, scores = keys[order], hits.scores[order]
        for pool, found in joined:
            owners = hits.queries[hits.starts]
            places = spans(pool.begin[owners], pool.count[owners])
            wanted = pair_keys(np.repeat(owners, pool.count[owners]), pool.rows[places])
            at = np.searchsorted(keys, wanted).clip(max=len(keys) - 1)
            there = keys[at] == wanted
            found[places[there]] = scores[at[there]]
    for pool, found in joined:
        pool.scores = found
    without = sum(int(np.isnan(found).sum()) for _, found in joined)
    return {"unknown_queries": counts["unknown_queries"], "candidates_without_score": without}


def spans(begin: Ints, count: Ints) -> Ints:
    """All numbers from each `begin` on, `count` of them, one after another."""
    offsets = np.cumsum(count) - count
    return np.repeat(begin - offsets, count) + np.arange(int(count.sum()))
