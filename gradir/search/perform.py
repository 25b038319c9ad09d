"""Queries through a searcher, batch by batch, to a run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from gradir.data.records import Query, Ranking
from gradir.data.vectors import SparseVectors
from gradir.errors import GradirError
from gradir.search.indexes import Index
from gradir.search.latency import percentiles
from gradir.search.output import Format, Keep, open_writer
from gradir.search.queries import QuerySide
from gradir.search.searchers import Searcher
from gradir.search.shards import search_shards

Open = Callable[[Index], Searcher]
Batch = tuple[Sequence[Query], Sequence[Ranking]]


@dataclass(frozen=True)
class Plan:
    """What is searched, and how.

    Attributes:
        indexes: One, or the shards of a collection: one is open at a time.
        open_index: Opens the searcher of an index.
        side: Encodes the queries.
        keep: Which hits are kept.
        batch_size: Queries at a time.
        warm_up: Answer the first query once before, without a clock.
    """

    indexes: Sequence[Index]
    open_index: Open
    side: QuerySide
    keep: Keep
    batch_size: int
    warm_up: bool = False


@dataclass
class Times:
    """Seconds of each batch of queries; how many queries there were, and how many of them had no term."""

    encode: list[float] = field(default_factory=list)
    search: list[float] = field(default_factory=list)
    queries: int = 0
    empty: int = 0

    def seconds(self) -> float:
        """All of them."""
        return sum(self.encode) + sum(self.search)

    def counts(self) -> dict[str, int]:
        """What a manifest counts, besides queries and hits."""
        return {"without_terms": self.empty} if self.empty else {}

    def measured(self, one_by_one: bool) -> dict[str, Any]:
        """What a manifest says of the time.

        Args:
            one_by_one: Batches were single queries: percentiles are given too.
        """
        rates = {
            "queries_per_second": round(self.queries / self.seconds(), 1),
            "encode_seconds": round(sum(self.encode), 3),
            "search_seconds": round(sum(self.search), 3),
        }
        return rates | ({"latency_ms": percentiles(self.encode, self.search)} if one_by_one else {})

    def encoded(self, side: QuerySide, queries: Sequence[Query]) -> Any:
        """The queries, encoded on the clock."""
        started = time.perf_counter()
        encoded = side.encode(queries)
        self.encode.append(time.perf_counter() - started)
        self.queries += len(queries)
        if isinstance(encoded, SparseVectors):
            self.empty += int((np.diff(encoded.indptr) == 0).sum())
        return encoded

    def searched(self, searcher: Searcher, encoded: Any, hits: int) -> list[Ranking]:
        """What they find, searched on the clock."""
        started = time.perf_counter()
        found = searcher.search(encoded, hits)
        self.search.append(time.perf_counter() - started)
        return found


def write_run(plan: Plan, queries: Sequence[Query], output: Path, format: Format, tag: str) -> tuple[int, int, Times]:
    """(queries, hits, times) of a run; the rankings of two batches of queries are in memory at a time.

    Raises:
        GradirError: Nothing was found; a document stands in two shards.
    """
    from tqdm import tqdm

    times = Times()
    bar = tqdm(total=len(queries) * len(plan.indexes), desc="search", unit=" queries", smoothing=0.05)
    batches = _batches(plan, queries, times, bar.update)
    batches = batches if plan.warm_up else _ahead(batches)  # nothing beside what is timed
    with open_writer(output, format, tag) as writer, bar:
        for asked, found in batches:
            for query, ranking in zip(asked, found, strict=True):
                writer.write_ranking(query.qid, plan.keep(query.qid, ranking))
        if not writer.lines:
            raise GradirError(f"{output}: no query found anything. Are index and topics of the same collection?")
        return writer.queries, writer.lines, times


def _batches(plan: Plan, queries: Sequence[Query], times: Times, progress: Callable[[int], object]) -> Iterator[Batch]:
    """Queries and the ranking of each, batch by batch."""
    batches = [queries[first : first + plan.batch_size] for first in range(0, len(queries), plan.batch_size)]
    hits = plan.keep.asked
    if len(plan.indexes) == 1:
        searcher = plan.open_index(plan.indexes[0])
        if plan.warm_up:
            searcher.search(plan.side.encode(batches[0]), hits)
        for batch in batches:
            found = times.searched(searcher, times.encoded(plan.side, batch), hits)
            progress(len(batch))
            yield batch, found
        return
    encoded = [times.encoded(plan.side, batch) for batch in batches]

    def search(number: int) -> Iterator[list[Ranking]]:
        searcher = plan.open_index(plan.indexes[number])
        for batch, vectors in zip(batches, encoded, strict=True):
            found = times.searched(searcher, vectors, hits)
            progress(len(batch))
            yield found
        if hasattr(searcher, "close"):  # Lucene keeps files open, others hold only memory
            searcher.close()

    yield from zip(batches, search_shards([index.folder for index in plan.indexes], search, hits), strict=True)


def _ahead(batches: Iterator[Batch]) -> Iterator[Batch]:
    """The same batches; while one is written, the next is searched in another thread."""
    with ThreadPoolExecutor(1, "search") as thread:
        waiting = thread.submit(next, batches, None)
        while (batch := waiting.result()) is not None:
            waiting = thread.submit(next, batches, None)
            yield batch
