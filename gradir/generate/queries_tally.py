"""What came of the questions: for the manifest and for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from gradir.generate.cleaning import REASONS
from gradir.generate.sampling import Draw
from gradir.generate.writing import columns, unanswered

_MEANINGS = {
    "empty": "no letter or digit",
    "broken": "holds a piece of a character",
    "marker": "holds a label of the prompt or a special token",
    "repetition": "repeats itself endlessly",
    "duplicate": "asked of the document before",
    "blank": "blank",
    "too_short": "--min-length",
    "too_long": "--max-length",
    "example": "shown as an example",
}


class Tally:
    """Counts of a job.

    Args:
        documents: Of the corpus.
        examples: Shown to the model.

    Attributes:
        truncated: Documents that lost their end.
        kept: Queries written.
        cut_off: Of them those that the model did not finish.
        dropped: Answers that are no query, by reason.
        failed: Requests without an answer.
        error: What was wrong with the first of them.
    """

    def __init__(self, documents: int, examples: int):
        self._documents, self._examples = documents, examples
        self.truncated = self.kept = self.cut_off = self.failed = 0
        self.dropped: Counter[str] = Counter()
        self.error = ""

    @property
    def answers(self) -> int:
        """Answers, whether or not they are queries."""
        return self.kept + self.dropped.total()

    def fail(self, error: str) -> None:
        """Count a request without an answer."""
        self.error = self.error or error
        self.failed += 1

    def answer(self, reason: str | None, cut_off: bool) -> None:
        """Count an answer: a query, or dropped for a reason."""
        if reason is None:
            self.kept += 1
            self.cut_off += cut_off
        else:
            self.dropped[reason] += 1

    def counts(self, draw: Draw) -> dict[str, Any]:
        """For the manifest.

        Args:
            draw: Of the documents, at its end.
        """
        drawn = dict(draw.drawn)
        found: dict[str, Any] = {
            "documents": self._documents,
            "drawn": draw.drawn.total(),
            "left_out": {name: draw.left_out[name] for name in sorted(draw.left_out)},
            "truncated": self.truncated,
            "examples": self._examples,
            "answers": self.answers,
            "kept": self.kept,
            "cut_off": self.cut_off,
            "dropped": {reason: self.dropped[reason] for reason in REASONS if self.dropped[reason]},
            "failed": self.failed,
        }
        return found | ({"strata": drawn} if set(drawn) - {""} else {})

    def warning(self) -> str:
        """What people must know besides the table; empty if nothing."""
        return unanswered(self.failed, self.error)


def table(counts: Mapping[str, Any]) -> str:
    """The counts for people."""
    rows = [("documents of the corpus", counts["documents"]), ("drawn", counts["drawn"])]
    rows += [(f"  of {name}", number) for name, number in counts.get("strata", {}).items()]
    rows += [(f"left out: {_MEANINGS[reason]}", number) for reason, number in counts["left_out"].items()]
    rows += [("cut to fit", counts["truncated"]), ("not answered", counts["failed"])]
    rows += [("queries kept", counts["kept"]), ("  of them cut off at --max-tokens", counts["cut_off"])]
    rows += [(f"dropped: {_MEANINGS[reason]}", number) for reason, number in counts["dropped"].items()]
    return columns(rows)
