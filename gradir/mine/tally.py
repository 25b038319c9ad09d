"""What mining kept and dropped, and why: for the manifest and for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gradir.mine.choose import REASONS, Mined

_MEANINGS = {
    "relevant": "judged relevant",
    "judged": "judged (--drop-judged)",
    "copy": "the text of a positive (--drop-copies)",
    "no_teacher_score": "no score of the teacher",
    "margin": "--margin",
    "absolute_margin": "--absolute-margin",
    "max_score": "--max-score",
    "min_score": "--min-score",
    "not_picked": "more than --k",
}


class Tally:
    """Counts over queries.

    Args:
        runs: The names of the runs.
        k: Negatives asked for per query.
        taught: The scores are a teacher's, not those of the runs.

    Attributes:
        unjudged: Queries of the runs without a positive in the qrels.
        not_found: Queries with positives that no run has.
    """

    def __init__(self, runs: Sequence[str], k: int, taught: bool):
        self._runs, self._k, self._taught = list(runs), k, taught
        self.unjudged = self.not_found = 0
        self._queries = self._written = self._missing = self._below = self._empty = 0
        self._positives = self._held = self._candidates = self._kept = 0
        self._dropped = np.zeros(len(REASONS), np.int64)
        self._ranks, self._positive_scores = 0, 0.0
        scales = 1 if taught else len(self._runs)
        # Of each run, or of the teacher: negatives, and the sum of their scores.
        self._numbers, self._sums = np.zeros(scales, np.int64), np.zeros(scales)

    def add(self, found: Mined, positives: int) -> None:
        """Count some queries with so many positives in all."""
        sizes = np.diff(found.bounds)  # [Q]
        self._queries += len(sizes)
        self._missing += int(found.missing.sum())
        self._empty += int((sizes == 0).sum())
        self._below += int(((sizes > 0) & (sizes < self._k)).sum())
        self._positives += positives
        self._candidates += found.candidates
        self._dropped += found.dropped
        self._kept += len(found.docids)
        self._ranks += int(found.ranks.sum())
        self._held += sum(map(len, found.held))
        self._positive_scores += sum(score for of in found.held for score in of.values())
        scales = np.zeros_like(found.runs) if self._taught else found.runs
        self._numbers += np.bincount(scales, minlength=len(self._numbers))
        self._sums += np.bincount(scales, found.scores, len(self._sums))

    @property
    def written(self) -> int:
        """Queries with a negative."""
        return self._queries - self._empty

    def counts(self) -> dict[str, Any]:
        """For the manifest."""
        dropped = {reason: count for reason, count in zip(REASONS, self._dropped.tolist(), strict=True) if count}
        found: dict[str, Any] = {
            "queries": self._queries,
            "queries_written": self.written,
            "queries_with_fewer_than_k": self._below,
            "queries_without_negatives": self._empty,
            "queries_whose_positive_a_run_lacks": self._missing,
            "queries_without_positives": self.unjudged,
            "queries_in_no_run": self.not_found,
            "positives": self._positives,
            "candidates": self._candidates,
            "kept": self._kept,
            "dropped": dropped,
        }
        if self._kept:
            found["mean_rank"] = round(self._ranks / self._kept, 3)
            found["mean_score"] = self._means()
        if self._held and len(self._numbers) == 1:
            found["mean_positive_score"] = round(self._positive_scores / self._held, 6)
        return found

    def _means(self) -> float | dict[str, float]:
        """The mean score of the negatives; of each run its own, as their scales differ."""
        means = (self._sums / self._numbers.clip(1)).round(6).tolist()
        if len(means) == 1:
            return means[0]
        return {name: mean for name, mean, number in zip(self._runs, means, self._numbers, strict=True) if number}


def table(counts: Mapping[str, Any]) -> str:
    """The counts for people."""
    rows = [
        (name.replace("_", " "), _shown(value))
        for name, value in counts.items()
        if name not in ("dropped", "mean_score")
    ]
    place = next(i for i, (name, _) in enumerate(rows) if name == "kept") + 1
    share = 100 / max(counts["candidates"], 1)
    dropped = [
        (f"dropped: {_MEANINGS[reason]}", f"{_shown(count)}  {count * share:5.1f}%")
        for reason, count in counts["dropped"].items()
    ]
    rows[place:place] = dropped
    means = counts.get("mean_score", {})
    named = means if isinstance(means, dict) else {"": means}
    rows += [(f"mean score {name}".strip(), _shown(mean)) for name, mean in named.items()]
    width = max(len(name) for name, _ in rows) + 2
    return "\n".join(f"{name:<{width}}{shown}" for name, shown in rows)


def _shown(value: float) -> str:
    return f"{value:>12,}" if isinstance(value, int) else f"{value:>12,.4f}"
