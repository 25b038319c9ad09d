"""What came of asking for texts at grades: for the manifest and for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from gradir.generate.documents_form import name_of
from gradir.generate.writing import columns, unanswered

_MEANINGS = {
    "sources": "written for",
    "sources_without_text": "left out: no text",
    "sources_cut": "cut to fit",
    "requests": "requests",
    "asked_again": "asked again",
    "not_answered": "not answered",
    "cut_off": "cut off at --max-tokens",
    "texts": "texts",
}


@dataclass
class Tally:
    """Counts of a job.

    Attributes:
        counts: Of sources, requests and texts: the names of `_MEANINGS`, and of the grades.
        dropped: Texts that were asked for and are not there, by reason.
        error: The first error of the engine.
    """

    counts: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    error: str = ""

    def as_dict(self, grades: Sequence[int]) -> dict[str, Any]:
        """For a manifest's `counts`."""
        names = [*_MEANINGS, *map(name_of, grades)]
        return {name: self.counts[name] for name in names} | {"dropped": dict(sorted(self.dropped.items()))}

    def reasons(self) -> str:
        """Why there is no text."""
        listed = ", ".join(f"{reason} ({count:,})" for reason, count in self.dropped.most_common())
        listed = (listed or "there is nothing to write for") + (
            f". The first error: {self.error}" if self.error else ""
        )
        return listed + (". A higher --max-tokens leaves room for the end" if self.counts["cut_off"] else "")

    def warning(self) -> str:
        """What people must know besides the table; empty if nothing."""
        return unanswered(self.counts["not_answered"], self.error)

    def table(self, grades: Sequence[int]) -> str:
        """The counts for people."""
        rows = [(meaning, self.counts[name]) for name, meaning in _MEANINGS.items()]
        rows += [(f"  of grade {grade}", self.counts[name_of(grade)]) for grade in grades]
        rows += [(f"dropped: {reason}", count) for reason, count in sorted(self.dropped.items())]
        return columns(rows)
