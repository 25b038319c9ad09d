"""Lists composed of judgements and runs: for each query documents of several sources, drawn anew in each epoch."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradir.data.composition import FromSources
from gradir.data.list_order import salt, walk
from gradir.data.list_pools import Pool, Relevant, judged_pool, read_judgements
from gradir.data.list_runs import join_teacher, run_pool
from gradir.data.records import GradedDoc, GradedList
from gradir.data.texts import Texts
from gradir.data.topics import read_topics
from gradir.errors import InputError


class SourceLists:
    """The lists of one entry.

    Args:
        entry: What they are composed of.
        texts: Its documents.
        seed: Of the draws.
        positive_grade: Documents graded so or higher are positives.
        require_positive: Leave out queries for which no source offers a positive.

    Raises:
        InputError: Malformed files, no document of a source in the corpus, no list left.
    """

    def __init__(self, entry: FromSources, texts: Texts, seed: int, positive_grade: int, require_positive: bool):
        import pyarrow as pa

        self.entry, self.texts, self.seed = entry, texts, seed
        queries = list(read_topics(entry.queries))
        numbers = {query.qid: number for number, query in enumerate(queries)}
        self._pools, self._teacher = _pools(entry, numbers, texts)
        self._qids = pa.array((query.qid for query in queries), pa.large_string())
        self._queries = pa.array((query.text for query in queries), pa.large_string())
        self._count(len(queries), positive_grade, require_positive)

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def scored(self) -> bool:
        """Whether any document has a teacher's score."""
        return any(pool.scores is not None and bool(np.isfinite(pool.scores).any()) for pool in self._pools)

    def draw(self, number: int, visit: int, texts: bool = True) -> GradedList:
        """A list, as it is when it comes for the (`visit` + 1)-th time.

        Args:
            number: Which, from 0.
            visit: How often it has come before.
            texts: Fill in the texts.
        """
        query = int(self._kept[number])
        qid = self._qids[query].as_py()
        docs: list[GradedDoc] = []
        taken: set[int] = set()
        for place, (take, pool) in enumerate(zip(self.entry.take, self._pools, strict=True)):
            begin, count = int(pool.begin[query]), int(pool.count[query])
            rows = pool.rows[begin : begin + count]
            chosen = np.arange(count)
            if take.pick == "random" and take.k:
                chosen = walk(self.texts.hashes[rows], salt(self.seed, self.entry.name, place, qid), visit, take.k)
            if take.k:
                chosen = chosen[: take.k + len(taken)]  # of which at most len(taken) are there already
            named = zip(chosen.tolist(), rows[chosen].tolist(), strict=True)
            new = [(begin + one, row) for one, row in named if row not in taken][: take.k]
            taken.update(row for _, row in new)
            docs += self._docs(pool, new, take.source, texts)
        return GradedList(qid, self._queries[query].as_py(), tuple(docs))

    def _docs(self, pool: Pool, chosen: list[tuple[int, int]], source: str, texts: bool) -> list[GradedDoc]:
        """Documents by (place in the pool, row)."""
        found = []
        for place, row in chosen:
            document = self.texts.at(row)
            grade = int(pool.grades[place if len(pool.grades) > 1 else 0])
            score = math.nan if pool.scores is None else float(pool.scores[place])
            contents = document.contents if texts else None
            found.append(GradedDoc(document.docid, grade, source, None if math.isnan(score) else score, contents))
        return found

    def statistics(self) -> dict[str, Any]:
        """What the sources offer: see `GradedLists.statistics`."""
        takes = [
            {"source": take.source, "candidates": len(pool.rows), "left_out": pool.counts}
            for take, pool in zip(self.entry.take, self._pools, strict=True)
        ]
        return self._counts | {"take": takes} | ({"teacher": self._teacher} if self._teacher is not None else {})

    def _count(self, queries: int, positive_grade: int, require_positive: bool) -> None:
        """Decide which queries have a list, and count."""
        drawn = np.zeros(queries, np.int64)  # documents of a list, were no two sources to offer the same
        for take, pool in zip(self.entry.take, self._pools, strict=True):
            drawn += pool.count if take.k is None else np.minimum(pool.count, take.k)
        grades = _extremes([pool.extremes(pool.grades) for pool in self._pools], queries)
        rows = _extremes([pool.extremes(pool.rows) for pool in self._pools], queries)
        positive = grades[1] >= positive_grade
        kept = (drawn > 0) & (positive | (not require_positive))
        one = kept & ((drawn == 1) | (rows[0] == rows[1]))
        self._kept = np.flatnonzero(kept)
        dropped = {"no_documents": int((drawn == 0).sum())}
        if require_positive:
            dropped["no_positive"] = int(((drawn > 0) & ~positive).sum())
        self._counts: dict[str, Any] = {
            "queries": queries,
            "lists": len(self._kept),
            "dropped": dropped,
            "without_positive": int((kept & ~positive).sum()),
            "one_document": int(one.sum()),
            "equal_grades": int((kept & ~one & (grades[0] == grades[1])).sum()),
        }
        if not len(self._kept):
            problem = f"no query has a list ({', '.join(f'{key}: {count}' for key, count in dropped.items())})"
            fix = "Do the ids of queries and documents go with `take`?"
            if dropped.get("no_positive"):
                fix = f"No document is graded {positive_grade} or higher: give a lower `positive_grade`, or take others"
            raise InputError(self.entry.queries, problem, fix)


def _pools(entry: FromSources, numbers: dict[str, int], texts: Texts) -> tuple[tuple[Pool, ...], dict[str, int] | None]:
    """What each take offers, and what the teacher left over."""
    files = dict.fromkeys(take.file for take in entry.take if not take.run)
    judged = {file: read_judgements(file, numbers, texts) for file in files}
    relevant = Relevant.of(judged.values())
    pools = tuple(
        run_pool(take, numbers, texts, relevant) if take.run else judged_pool(take, judged[take.file], len(numbers))
        for take in entry.take
    )
    return pools, join_teacher(entry.teacher, pools, numbers, texts) if entry.teacher else None


def _extremes(found: list[tuple[NDArray[np.int64], ...]], queries: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The lowest and the highest value of each query over all pools, [Q] each."""
    limit = np.iinfo(np.int64)
    low, high = np.full(queries, limit.max), np.full(queries, limit.min)
    for owners, lowest, highest in found:
        low[owners] = np.minimum(low[owners], lowest)
        high[owners] = np.maximum(high[owners], highest)
    return low, high
