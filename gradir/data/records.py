"""What the files hold, one line each. Ids are strings everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Document(NamedTuple):
    """One document of a corpus."""

    docid: str
    text: str
    title: str = ""

    @property
    def contents(self) -> str:
        """Title and text joined by one space, as Anserini's BEIR "flat" collections have it."""
        return f"{self.title} {self.text}".strip() if self.title else self.text


class Query(NamedTuple):
    """One topic."""

    qid: str
    text: str


class Qrel(NamedTuple):
    """One judgement. `grade` is an integer, higher is better; 0 (and trec_eval's negative grades) is not relevant."""

    qid: str
    docid: str
    grade: int


class Hit(NamedTuple):
    """One line of a run, without the query id."""

    docid: str
    score: float


class Ranking(NamedTuple):
    """The hits of one query in columns, best first: what searchers return, a thousand hits at a time."""

    docids: Sequence[str]
    scores: NDArray[np.floating[Any]]  # [k], not increasing

    def hits(self) -> list[Hit]:
        """The same as a list of hits."""
        return [Hit(docid, score) for docid, score in zip(self.docids, self.scores.tolist(), strict=True)]


class GradedDoc(NamedTuple):
    """One document of a graded list; `text` only where it cannot be joined by docid."""

    docid: str
    grade: int
    source: str
    score: float | None = None
    text: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """The JSON object, without the fields that are not set."""
        return {name: value for name, value in self._asdict().items() if value is not None}


class GradedList(NamedTuple):
    """One query with its documents, each with a grade and a source."""

    qid: str
    query: str
    docs: tuple[GradedDoc, ...]
