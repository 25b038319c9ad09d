"""Lengths, overlap, defects of a generated folder: one pass, a few numbers for each record."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradir.data.same_text import same_text
from gradir.generate.filters.boilerplate import defect
from gradir.generate.filters.language import language_of
from gradir.generate.filters.logprob import mean_log_prob
from gradir.generate.filters.words import share_found, words
from gradir.generate.generated import Generated, Item

QUANTILES = (5, 25, 50, 75, 95)
_EXAMPLES = 5
_FIRST = 25  # first words that are listed
_SAMPLE = 500  # records that tell the language, where nobody does
_TEXT = ("query_words", "query_chars", "document_words", "document_chars")
_SIZES = (*_TEXT, "log_prob")


@dataclass
class Columns:
    """What is kept of each record, in order; NaN where a text is not at hand.

    Attributes:
        groups: Which records compete: number of the query (of the document, where queries were generated), [N].
        grades: [N].
        values: By name: query_words, query_chars, document_words, document_chars, overlap, log_prob, [N] each.
        first_words: Of the queries, with their numbers.
        defects: Reason and ids of texts that are none.
        languages: What the texts seem to be written in; None: cannot be told.
        ids: Of the texts that were made.
        cut_off: Of those among them that the model did not finish.
        exact: (id, earlier id) of texts that are equal but for case and white space.
    """

    groups: NDArray[np.int64]
    grades: NDArray[np.int64]
    values: dict[str, NDArray[np.float64]]
    first_words: Counter[str] = field(default_factory=Counter)
    defects: dict[str, list[str]] = field(default_factory=dict)
    languages: Counter[str | None] = field(default_factory=Counter)
    ids: list[str] = field(default_factory=list)
    cut_off: list[str] = field(default_factory=list)
    exact: list[tuple[str, str]] = field(default_factory=list)
    queries: int = 0
    documents: int = 0

    def by_grade(self, name: str) -> dict[int, NDArray[np.float64]]:
        """The values of a column that are there, by grade."""
        known = ~np.isnan(self.values[name])
        grades = sorted(set(self.grades[known].tolist()))
        return {grade: self.values[name][known & (self.grades == grade)] for grade in grades}


def columns(source: Generated, items: Iterable[Item], documents: bool, language: str | None) -> Columns:
    """Read the columns.

    Args:
        source: The folder.
        items: Its records.
        documents: The texts of the documents are at hand.
        language: The language that the texts should be in, if that is known.
    """
    found = Columns(np.zeros(0, np.int64), np.zeros(0, np.int64), {})
    groups: dict[str, int] = {}
    qids, docids, texts = set[str](), set[str](), dict[str, str]()
    rows: list[tuple[float, ...]] = []
    for item in items:
        group = groups.setdefault(item.docid if source.kind == "queries" else item.qid, len(groups))
        query = item.query if source.kind != "judgements" or source.topics else None
        rows.append((group, item.grade, *_lengths(item, query, documents), _log_prob(item)))
        if query is not None and item.qid not in qids:
            found.first_words[(words(query) or [""])[0]] += 1
        qids.add(item.qid)
        docids.add(item.docid)
        if source.kind != "judgements":
            _look_at(found, item, texts, language)
    table = np.array(rows, np.float64)
    found.groups, found.grades = table[:, 0].astype(np.int64), table[:, 1].astype(np.int64)
    found.values = {name: table[:, place] for place, name in enumerate((*_TEXT, "overlap", "log_prob"), 2)}
    found.queries, found.documents = len(qids), len(docids)
    return found


def _lengths(item: Item, query: str | None, documents: bool) -> tuple[float, float, float, float, float]:
    asked = words(query) if query is not None else []
    own = (len(asked), len(query)) if query is not None else (math.nan, math.nan)
    if not documents:
        return (*own, math.nan, math.nan, math.nan)
    text = item.document
    said = words(text)
    return (*own, len(said), len(text), share_found(asked, said) if asked else math.nan)


def _log_prob(item: Item) -> float:
    mean = mean_log_prob(item)
    return math.nan if mean is None else mean


def _look_at(found: Columns, item: Item, texts: dict[str, str], language: str | None) -> None:
    """Note what is wrong with the text that was made."""
    import hashlib

    text = item.made
    found.ids.append(item.made_id)
    if item.record.get("finish") == "length":
        found.cut_off.append(item.made_id)
    digest = hashlib.blake2b(same_text(text).encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()
    earlier = texts.setdefault(digest, item.made_id)
    if earlier != item.made_id:
        found.exact.append((item.made_id, earlier))
    wrong = defect(text)
    if wrong:
        found.defects.setdefault(wrong.reason, []).append(item.made_id)
    found.languages[language_of(text, language)] += 1


def describe(values: NDArray[np.float64]) -> dict[str, Any]:
    """Number, mean, extremes and quantiles of some values; NaN is left out."""
    known = values[~np.isnan(values)]
    if not len(known):
        return {"n": 0}
    found = {"n": len(known), "mean": _round(known.mean()), "min": _round(known.min()), "max": _round(known.max())}
    return found | {f"p{q}": _round(value) for q, value in zip(QUANTILES, np.percentile(known, QUANTILES), strict=True)}


def _round(value: float) -> float:
    return round(float(value), 4)


def likely_language(items: Iterable[Item]) -> str | None:
    """What most of the first texts seem to be written in."""
    told = Counter(language_of(item.made) for item in islice(items, _SAMPLE))
    del told[None]
    return told.most_common(1)[0][0] if told else None


def summary(source: Generated, found: Columns, language: str | None) -> dict[str, Any]:
    """The numbers of audit.json that need one record at a time."""
    grades = Counter(found.grades.tolist())
    told = Counter({code: count for code, count in found.languages.items() if code is not None})
    by_grade = (
        ("query_words", "overlap") if source.kind == "queries" else ("document_words", "document_chars", "overlap")
    )
    return {
        "kind": source.kind,
        "records": len(found.grades),
        "queries": found.queries,
        "documents": found.documents,
        "grades": {str(grade): grades[grade] for grade in sorted(grades)},
        "lengths": {name: describe(found.values[name]) for name in _SIZES},
        "by_grade": {name: _described(found, name) for name in by_grade},
        "overlap": describe(found.values["overlap"]),
        "per_group": describe(np.bincount(found.groups).astype(np.float64)),
        "first_words": dict(found.first_words.most_common(_FIRST)),
        "cut_off": _listed(found.cut_off),
        "defects": {reason: _listed(ids) for reason, ids in sorted(found.defects.items())},
        "duplicates": {"exact": len(found.exact), "exact_examples": [list(pair) for pair in found.exact[:_EXAMPLES]]},
        "language": {
            "expected": language,
            "wrong": sum(count for code, count in told.items() if code != language) if language is not None else 0,
            "untold": found.languages[None],
            "found": dict(told.most_common()),
        },
    }


def _described(found: Columns, name: str) -> Mapping[str, Any]:
    return {str(grade): describe(values) for grade, values in found.by_grade(name).items()}


def _listed(ids: list[str]) -> dict[str, Any]:
    return {"records": len(ids), "examples": ids[:_EXAMPLES]}
