"""The filters applied, one after another, each to what the earlier ones left; what was dropped, why, and by what value."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradir.errors import GradirError
from gradir.generate.filters import (
    Drop,
    Filter,
    Items,
    bounds,
    contamination,
    copies,
    duplicates,
    language,
    levels,
    logprob,
    rejudged,
    roundtrip,
)
from gradir.generate.filters import scores as scored
from gradir.generate.filters.boilerplate import boilerplate
from gradir.generate.filters.chosen import Chosen
from gradir.generate.generated import Generated

_POSITIVE = 2  # lowest grade of a positive document
_UNITS = (("query", "chars"), ("query", "words"), ("document", "chars"), ("document", "words"))


@dataclass
class Applied:
    """What the filters did.

    Attributes:
        source: The folder.
        kept: Of each record, [N].
        dropped: By record: reason and value.
        steps: (filter, records it dropped), in order.
        reranked: Pairs that were scored here.
    """

    source: Generated
    kept: NDArray[np.bool_]
    dropped: dict[int, tuple[str, Any]] = field(default_factory=dict)
    steps: list[tuple[str, int]] = field(default_factory=list)
    reranked: int = 0

    def counts(self) -> dict[str, Any]:
        """For the manifest."""
        reasons = Counter(reason for reason, _ in self.dropped.values())
        found: dict[str, Any] = {
            "kind": self.source.kind,
            "records": len(self.kept),
            "kept": int(self.kept.sum()),
            "dropped": dict(sorted(reasons.items())),
            "filters": [{"filter": name, "dropped": count} for name, count in self.steps],
        }
        return found | self._queries()

    def _queries(self) -> dict[str, int]:
        """Queries, and what is left of them."""
        grades: dict[str, list[int]] = {}
        for item in self.source.items():
            left = grades.setdefault(item.qid, [])
            if self.kept[item.number]:
                left.append(item.grade)
        lists = grades.values()
        found = {"queries": len(lists), "queries_kept": sum(map(bool, lists))}
        if self.source.kind == "documents":
            found["queries_without_positive"] = sum(1 for of in lists if of and max(of) < _POSITIVE)
            found["queries_without_negative"] = sum(1 for of in lists if of and min(of) >= _POSITIVE)
        return found

    def write_dropped(self, path: Path) -> None:
        """Write what was dropped: the record, the reason, the value that decided, and the text, where the record has not got it."""
        from gradir.data.jsonl import write_objects

        write_objects(path, self._dropped_rows())

    def _dropped_rows(self) -> Iterator[dict[str, Any]]:
        for item in self.source.items(~self.kept):
            reason, value = self.dropped[item.number]
            text = {"text": item.document} if self.source.kind == "documents" else {}
            yield {**item.record, **text, "reason": reason, "value": value}


def apply(chosen: Chosen, source: Generated) -> Applied:
    """Apply the filters that were chosen.

    Raises:
        GradirError: The records do not have what a filter needs.
    """
    from tqdm import tqdm

    number = source.count()
    _check(chosen, source)
    applied = Applied(source, np.ones(number, bool))
    filters = _Filters(chosen, source, number)
    for name, one in filters.in_order():
        items = tqdm(
            source.items(applied.kept.copy()),
            desc=name,
            total=int(applied.kept.sum()),
            unit=" records",
            leave=False,
            disable=None,
        )
        before = len(applied.dropped)
        for place, reason, value in one(items):
            applied.kept[place] = False
            applied.dropped[place] = reason, value
        applied.steps.append((name, len(applied.dropped) - before))
    if filters.uses_scores:
        applied.reranked = filters.scores.made
    return applied


def _check(chosen: Chosen, source: Generated) -> None:
    """Look whether all records have the log-probabilities that are asked for."""
    lists, means = chosen.given("min_tokens", "max_tokens"), chosen.given("min_log_prob", "top_k")
    if chosen.keep == "best" and not chosen.scores and not chosen.reranker:
        means.append("--keep best")
    if not lists and not means:
        return
    without = [0, 0]
    for item in source.items():
        without[0] += logprob.log_probs(item) is None
        without[1] += logprob.mean_log_prob(item) is None
    problems = [
        f"{', '.join(flags)}: {count:,} records have no {what}"
        for flags, count, what in zip((lists, means), without, ("log_probs", "log-probability"), strict=True)
        if flags and count
    ]
    if problems:
        raise GradirError(
            f"cannot filter {source.folder}: {'; '.join(problems)}. Generate them with log-probabilities."
        )


class _Filters:
    """The filters that were chosen, made when their turn comes."""

    def __init__(self, chosen: Chosen, source: Generated, number: int):
        self._chosen, self._source, self._number = chosen, source, number
        self.uses_scores = False

    @cached_property
    def scores(self) -> scored.Scores:
        """The reranker's scores."""
        self.uses_scores, chosen = True, self._chosen
        if chosen.scores:
            return scored.Scores(scored.in_run(Path(chosen.scores), self._source, self._number).scores)
        opener = scored.reranker(str(chosen.reranker), chosen.device, chosen.dtype, chosen.batch_tokens)
        return scored.Scores(np.full(self._number, np.nan), opener)

    @cached_property
    def _found(self) -> scored.InRun:
        return scored.in_run(Path(str(self._chosen.run)), self._source, self._number)

    def in_order(self) -> Iterator[tuple[str, Filter]]:
        """(name, filter): what looks at one text, then what compares, then what takes the best."""
        chosen, source = self._chosen, self._source
        if chosen.drop_boilerplate:
            yield "boilerplate", boilerplate
        if chosen.language:
            yield "language", language.other(chosen.language)
        for of, unit in _UNITS:
            limits = getattr(chosen, f"{of}_{unit}")
            if limits:
                yield f"{of}_{unit}", bounds.within(bounds.Bound(of, unit, *limits))  # type: ignore[arg-type]
        if chosen.drop_copies:
            yield "copies", copies.substrings
        if chosen.max_overlap is not None:
            yield "overlap", copies.overlap(chosen.max_overlap)
        if chosen.against:
            yield "test n-grams", contamination.shares_words(source, chosen.held_out(), chosen.ngram)
            yield "near test texts", contamination.resembles(source, chosen.held_out(), chosen.against_similarity)
        if chosen.min_tokens or chosen.max_tokens:
            yield "tokens", logprob.tokens(chosen.min_tokens, chosen.max_tokens)
        if chosen.min_log_prob is not None:
            yield "log-probability", logprob.above(chosen.min_log_prob)
        yield from self._judged()
        yield from self._compared()

    def _judged(self) -> Iterator[tuple[str, Filter]]:
        chosen = self._chosen
        if chosen.judgements:
            judged = rejudged.opinions(Path(chosen.judgements), self._source, self._number, chosen.judged_by)
            if chosen.min_judged is not None:
                yield "judged grade", rejudged.at_least(judged, chosen.min_judged)
            if chosen.max_difference is not None:
                yield "judged difference", rejudged.close_to(judged, chosen.max_difference)

    def _compared(self) -> Iterator[tuple[str, Filter]]:
        chosen = self._chosen
        if chosen.round_trip:
            yield "round trip", roundtrip.among(self._found, chosen.round_trip)
        if chosen.min_score is not None:
            yield "score", scored.at_least(self.scores, chosen.min_score)
        if chosen.level_gap:
            yield "levels", levels.in_order(self._found if chosen.run else self.scores, chosen.level_gap)
        if chosen.duplicates:
            yield "near duplicates", self._duplicates(chosen.duplicates)
        if chosen.top_k:
            yield "top k", logprob.best(chosen.top_k)
        if chosen.top_scores:
            yield "top scores", scored.best(self.scores, chosen.top_scores)
        if chosen.complete:
            yield "complete", complete

    def _duplicates(self, threshold: float) -> Filter:
        if self._chosen.keep == "first":
            return duplicates.near(self._source, threshold)
        if not self._chosen.scores and not self._chosen.reranker:
            return duplicates.near(self._source, threshold, lambda item: logprob.mean_log_prob(item) or 0.0)
        scores = self.scores

        def drop(items: Items) -> Iterator[Drop]:
            return duplicates.near(self._source, threshold, scores.of)(item for item, _ in scores.over(items))

        return drop


def complete(items: Items) -> Iterator[Drop]:
    """Drop the documents of queries without a positive (grade 2 and above) or without a negative."""
    queries: dict[str, list[tuple[int, int]]] = {}
    for item in items:
        queries.setdefault(item.qid, []).append((item.number, item.grade))
    for documents in queries.values():
        grades = [grade for _, grade in documents]
        if max(grades) < _POSITIVE or min(grades) >= _POSITIVE:
            reason = "query_without_positive" if max(grades) < _POSITIVE else "query_without_negative"
            yield from (Drop(number, reason, sorted(grades)) for number, _ in documents)


def table(counts: Mapping[str, Any]) -> str:
    """The counts for people."""
    rows = [(f"{counts['kind']}: records", counts["records"])]
    rows += [(f"dropped: {reason.replace('_', ' ')}", count) for reason, count in counts["dropped"].items()]
    rows += [(name.replace("_", " "), counts[name]) for name in counts if name == "kept" or name.startswith("queries")]
    width, share = max(len(name) for name, _ in rows) + 2, 100 / max(counts["records"], 1)
    lines = []
    for name, count in rows:
        part = f"  {count * share:5.1f}%" if name == "kept" or name.startswith("dropped") else ""
        lines.append(f"{name:<{width}}{count:>12,}{part}")
    return "\n".join(lines)
