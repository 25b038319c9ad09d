"""Graded lists: one query a line with its documents, each with a grade and a source."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from gradir.data.ids import Duplicates, check_id
from gradir.data.jsonl import FORMAT, check_format, read_objects, text_field, write_objects
from gradir.data.records import GradedDoc, GradedList
from gradir.errors import InputError, nearest

_DOC_KEYS = ("docid", "grade", "score", "source", "text")


def read_lists(path: str | Path) -> Iterator[GradedList]:
    """Graded lists in file order, streamed.

    Raises:
        InputError: A malformed line, an unknown key, a document twice in a list, a grade that is no integer, a score that is
            no finite number, a duplicate query id, a newer format.
    """
    seen = Duplicates("query id")
    for line, value in read_objects(path):
        check_format(path, value, line)
        qid = check_id(path, line, text_field(path, line, value, ("qid",)), "query id")
        seen.add(path, line, qid)
        entries = value.get("docs")
        if not isinstance(entries, list):
            raise InputError(path, "no list `docs`", "", line)
        docs = tuple(_doc(path, line, entry) for entry in entries)
        if len({doc.docid for doc in docs}) < len(docs):
            raise InputError(path, f"a document stands twice in the list of {qid}", "Keep its highest grade", line)
        yield GradedList(qid, text_field(path, line, value, ("query",)), docs)
    seen.finish()


def write_lists(path: str | Path, lists: Iterable[GradedList]) -> int:
    """Write graded lists; returns their number."""
    return write_objects(
        path,
        (
            {"format": FORMAT, "qid": one.qid, "query": one.query, "docs": [doc.as_dict() for doc in one.docs]}
            for one in lists
        ),
    )


def _doc(path: str | Path, line: int, entry: Any) -> GradedDoc:
    if not isinstance(entry, dict):
        raise InputError(path, "an entry of `docs` is not an object", "", line)
    for key in entry:
        if key not in _DOC_KEYS:
            raise InputError(path, f"unknown key `{key}` in `docs`{nearest(key, _DOC_KEYS)}", "", line)
    grade, score = entry.get("grade"), entry.get("score")
    if not isinstance(grade, int) or isinstance(grade, bool):
        raise InputError(path, f"grade {grade!r} is not an integer", "Grades are 0, 1, 2, 3", line)
    if score is not None and not (isinstance(score, (int, float)) and math.isfinite(score)):
        raise InputError(path, f"score {score!r} is not a finite number", "Leave it out where there is none", line)
    docid = check_id(path, line, text_field(path, line, entry, ("docid",)), "document id")
    return GradedDoc(docid, grade, text_field(path, line, entry, ("source",)), score, entry.get("text"))
