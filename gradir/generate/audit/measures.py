"""Everything that an audit measures, from the folder's records."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradir.generate.audit import leak, monotone, numbers
from gradir.generate.audit.numbers import Columns
from gradir.generate.filters.contamination import HeldOut, resembles, shares_words
from gradir.generate.filters.duplicates import near
from gradir.generate.filters.scores import Scores
from gradir.generate.generated import Generated, Item


def measured(
    source: Generated, asked: Scores | None, language: str | None, duplicates: float | None, seed: int
) -> tuple[Columns, NDArray[np.float64] | None, dict[str, Any]]:
    """(columns, the reranker's scores, what they say)."""
    texts = source.kind == "documents" or bool(source.corpora)
    number = source.count()
    if language is None and source.kind != "judgements":
        language = numbers.likely_language(source.items())
    found = numbers.columns(source, _with_bar(source.items(), number, "read"), texts, language)
    asks = source.kind != "judgements" or source.topics is not None
    if texts and asks and len(set(found.grades.tolist())) > 1:
        found.values["bm25"] = leak.bm25_scores(lambda: _with_bar(source.items(), number, "BM25"))
    summary = numbers.summary(source, found, language)
    if len(summary["grades"]) > 1:
        summary["leak"] = leak.leaks(source, found, seed)
    if duplicates is not None and source.kind != "judgements":
        summary["duplicates"] |= _near(source, number, duplicates)
    if asked is None:
        return found, None, summary
    made = np.array([score for _, score in asked.over(_with_bar(source.items(), number, "rerank"))])
    summary["monotone"] = monotone.monotone(found.groups, found.grades, made)
    return found, made, summary


def _with_bar(items: Iterable[Item], number: int, what: str) -> Iterator[Item]:
    from tqdm import tqdm

    yield from tqdm(items, desc=what, total=number, unit=" records", leave=False, disable=None)


def _near(source: Generated, number: int, threshold: float) -> dict[str, Any]:
    drops = list(near(source, threshold)(_with_bar(source.items(), number, "near duplicates")))
    name = {item.number: item.made_id for item in source.items()} if drops else {}
    shown = [[name[number], value["of"], value["similarity"]] for number, _, value in drops[:5]]
    return {"near": len(drops), "near_threshold": threshold, "near_examples": shown}


def contaminated(source: Generated, tests: list[HeldOut], ngram: int, threshold: float) -> dict[str, Any]:
    """How many records share something with test collections, by what, and some of them."""
    names = {item.number: item.made_id for item in source.items()}
    found: dict[str, dict[str, Any]] = {}
    for one in (shares_words(source, tests, ngram), resembles(source, tests, threshold)):
        for number, reason, _ in one(source.items()):
            entry = found.setdefault(reason, {"records": 0, "examples": []})
            entry["records"] += 1
            entry["examples"] += [names[number]] if len(entry["examples"]) < 5 else []
    return found
