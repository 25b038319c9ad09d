"""The documents that each source offers for each query, in columns: five to nine bytes a candidate, none of it a Python object."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gradir.data import named
from gradir.data.composition import Take
from gradir.data.list_grammar import GRADES
from gradir.data.qrels import iter_qrels, read_qrels
from gradir.data.records import Qrel
from gradir.data.runs import iter_columns
from gradir.data.texts import Texts
from gradir.errors import InputError

_LINES = 1 << 16  # of judgements at a time
_HITS = 1 << 19  # of runs at a time
Ints = NDArray[np.int64]


@dataclass
class Pool:
    """What a source offers. The candidates of a query stand together, in the order in which they are picked.

    Attributes:
        begin: Where the candidates of each query begin, int64 [Q].
        count: How many there are, int64 [Q].
        rows: Their rows in the texts, int32 [C].
        grades: Their grades, int8 [C]; [1] where all have the same.
        scores: The teacher's scores, float32 [C], NaN where there is none; None without a teacher.
        counts: What was left out and why.
    """

    begin: Ints
    count: Ints
    rows: NDArray[np.int32]
    grades: NDArray[np.int8]
    counts: dict[str, int]
    scores: NDArray[np.float32] | None = None

    def grade(self, places: NDArray[Any]) -> NDArray[np.int8]:
        """The grades of candidates [k]."""
        return self.grades[places] if len(self.grades) > 1 else np.broadcast_to(self.grades, len(places))

    def extremes(self, values: NDArray[Any]) -> tuple[Ints, Ints, Ints]:
        """(queries that have candidates, the lowest value of each, the highest) of values [C], or [1] where all are the same."""
        owners = np.flatnonzero(self.count)
        if len(values) == 1:
            return owners, *[np.full(len(owners), values[0], np.int64)] * 2
        owners = owners[np.argsort(self.begin[owners], kind="stable")]
        starts = self.begin[owners]
        low, high = (f.reduceat(values, starts) if len(starts) else values for f in (np.minimum, np.maximum))
        return owners, low.astype(np.int64), high.astype(np.int64)


class Judgements(NamedTuple):
    """The judgements of known documents for known queries, [J] each, in file order; a pair comes once."""

    queries: Ints
    rows: Ints
    grades: Ints
    counts: dict[str, int]


def read_judgements(file: str, numbers: Mapping[str, int], texts: Texts) -> Judgements:
    """The judgements of a file.

    Args:
        file: What `read_qrels` reads.
        numbers: The number of each query.
        texts: The documents.

    Raises:
        InputError: As `read_qrels`; a grade that does not fit into a byte; no document of the file is known.
    """
    queries, rows, grades = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    lines = unknown_queries = 0
    for part in _parts(_qrels(file)):
        lines += len(part)
        known = [qrel for qrel in part if qrel.qid in numbers]
        unknown_queries += len(part) - len(known)
        outside = next((qrel for qrel in known if qrel.grade not in GRADES), None)
        if outside:
            problem = f"query {outside.qid}, document {outside.docid}: grade {outside.grade}"
            raise InputError(file, problem, f"Grades are whole numbers from {GRADES[0]} to {GRADES[-1]}")
        queries.append(np.array([numbers[qrel.qid] for qrel in known], np.int64))
        rows.append(texts.rows([qrel.docid for qrel in known]))
        grades.append(np.array([qrel.grade for qrel in known], np.int64))
    owner, row, grade = np.concatenate(queries), np.concatenate(rows), np.concatenate(grades)
    here = row >= 0
    if len(here) and not here.any():
        raise InputError(file, f"names no document of {', '.join(texts.corpora)}", "Is it the right corpus?")
    counts = {"unknown_queries": unknown_queries, "unknown_documents": int((~here).sum())}
    owner, row, grade = owner[here], row[here], grade[here]
    keys = pair_keys(owner, row)
    first, places = np.unique(keys, return_index=True, return_inverse=True)[1:]
    if (grade != grade[first][places]).any():
        read_qrels(file)  # raises, and says where
    first.sort()
    return Judgements(owner[first], row[first], grade[first], counts)


def _qrels(file: str) -> Iterator[Qrel]:
    if not named.is_ir_datasets(file) and not named.is_pyserini_name(file):
        return iter_qrels(file)
    return (Qrel(qid, docid, grade) for qid, judged in read_qrels(file).items() for docid, grade in judged.items())


def _parts(qrels: Iterator[Qrel]) -> Iterator[list[Qrel]]:
    while part := list(islice(qrels, _LINES)):
        yield part


def judged_pool(take: Take, judged: Judgements, queries: int) -> Pool:
    """What a take from judgements offers.

    Args:
        take: Says which grades, and what they become.
        judged: All of the file.
        queries: Q, how many queries there are.

    Raises:
        InputError: Grades that `set` says nothing about; all are listed.
    """
    low, high = take.grade
    kept = (judged.grades >= (GRADES[0] if low is None else low)) & (
        judged.grades <= (GRADES[-1] if high is None else high)
    )
    owner, rows, grades = judged.queries[kept], judged.rows[kept], judged.grades[kept]
    present = np.unique(grades)
    new = [take.new_grade(int(grade)) for grade in present]
    missing = [str(grade) for grade, becomes in zip(present, new, strict=True) if becomes is None]
    if missing:
        problem = f"`set` says nothing about grade{'s' if len(missing) > 1 else ''} {', '.join(missing)}"
        raise InputError(take.file, problem, "Name them in `set`, or leave them out by `grade`")
    rising = {"top": -grades, "bottom": grades}.get(take.pick, np.zeros_like(grades))
    order = np.lexsort((rising, owner))  # stable: file order among equals
    becomes = np.array([one or 0 for one in new], np.int8)[np.searchsorted(present, grades[order])]
    count = np.bincount(owner, minlength=queries)
    counts = judged.counts | {"other_grades": int((~kept).sum())}
    return Pool(np.cumsum(count) - count, count, rows[order].astype(np.int32), becomes, counts)


class Relevant(NamedTuple):
    """The (query, document) pairs that are relevant by some judgement of an entry, as sorted keys, [R]."""

    keys: Ints

    @classmethod
    def of(cls, judgements: Iterable[Judgements]) -> Relevant:
        """From the judgements of all files: grade 1 or higher."""
        keys = [pair_keys(one.queries, one.rows)[one.grades >= 1] for one in judgements]
        return cls(np.unique(np.concatenate([np.zeros(0, np.int64), *keys])))

    def holds(self, keys: Ints) -> NDArray[np.bool_]:
        """Which of some keys are among them."""
        if not len(self.keys):
            return np.zeros(len(keys), bool)
        return self.keys[np.searchsorted(self.keys, keys).clip(max=len(self.keys) - 1)] == keys


def pair_keys(queries: Ints, rows: NDArray[Any]) -> Ints:
    """(query, document) in one number each."""
    return (queries << 32) | rows


class _Hits(NamedTuple):
    """Some queries of a run, best documents first; [H] each, but for the last."""

    queries: Ints
    ranks: Ints
    rows: Ints  # -1 where the document is not known
    scores: NDArray[np.float64]
    starts: Ints  # where each query begins, [q]


def run_pool(take: Take, numbers: Mapping[str, int], texts: Texts, relevant: Relevant) -> Pool:
    """What a take from a run offers; the run is read with half a million hits in memory.

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
        counts |= {"above_margin": 0, "queries_without_margin": 0}
    found, known = bytearray(), False
    # the margin is measured by documents of any rank, and only ranks that are kept need be looked up otherwise
    deepest = None if take.margin is not None else take.rank[1]
    for hits in _hits(take.file, numbers, texts, counts, deepest):
        known |= bool((hits.rows >= 0).any())
        kept = _kept(take, hits, relevant, counts)
        owner, rows = hits.queries[kept], hits.rows[kept].astype(np.int32)
        if take.pick == "bottom":
            owner, rows = owner[::-1], rows[::-1]
        first = np.flatnonzero(np.diff(owner, prepend=-1))
        begin[owner[first]] = first + len(found) // rows.itemsize
        count[owner[first]] = np.diff(first, append=len(owner))
        found += rows.tobytes()
    if not known and counts["unknown_documents"]:
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
        limit = np.where(np.isfinite(best), best - (1 - take.margin) * np.abs(best), np.inf)
        counts["queries_without_margin"] += int(np.isinf(best).sum())
        sizes = np.diff(hits.starts, append=len(hits.rows))
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
