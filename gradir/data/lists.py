"""Graded lists: one query a line with its documents, each with a grade and a source."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from gradir.data.ids import Duplicates, check_id
from gradir.data.jsonl import FORMAT, check_format, read_objects, text_field, write_objects
from gradir.data.records import GradedDoc, GradedList
from gradir.errors import InputError, nearest

_KEYS = ("format", "qid", "query", "docs")
_DOC_KEYS = ("docid", "grade", "score", "source", "text")


def read_lists(path: str | Path) -> Iterator[GradedList]:
    """Graded lists in file order, streamed.

    Raises:
        InputError: A malformed line, an unknown key, a document twice in a list, a grade that is no integer, a score that is
            no finite number, a duplicate query id, a newer format, no lists at all.
    """
    seen, count = Duplicates("query id"), 0
    for line, value in read_objects(path):
        graded = parse_list(path, line, value)
        seen.add(path, line, graded.qid)
        count += 1
        yield graded
    seen.finish()
    if not count:
        raise InputError(path, "holds no graded lists", "Is it the right file?")


def write_lists(path: str | Path, lists: Iterable[GradedList]) -> int:
    """Write graded lists; returns their number.

    Raises:
        InputError: What `read_lists` would refuse; nothing is written then.
    """
    return write_objects(path, (_as_object(path, line, one) for line, one in enumerate(lists, 1)))


def _as_object(path: str | Path, line: int, one: GradedList) -> dict[str, Any]:
    docs = [doc.as_dict() for doc in one.docs]
    for doc in docs:  # NumPy's numbers to Python's, which JSON needs; 1.5 is no grade
        doc["grade"] = operator.index(doc["grade"])
        if "score" in doc:
            doc["score"] = float(doc["score"])
    value = {"format": FORMAT, "qid": one.qid, "query": one.query, "docs": docs}
    parse_list(path, line, value)
    return value


def parse_list(path: str | Path, line: int | None, value: dict[str, Any]) -> GradedList:
    """The list that a line's JSON object describes.

    Raises:
        InputError: As `read_lists`, but for what concerns several lines.
    """
    check_format(path, value, line)
    _check_keys(path, line, value, _KEYS, "a list")
    qid = check_id(path, line, text_field(path, line, value, ("qid",)), "query id")
    entries = value.get("docs")
    if not isinstance(entries, list):
        raise InputError(path, "no list `docs`", 'Expected "docs": [{"docid": …, "grade": …, "source": …}, …]', line)
    docs = tuple(_doc(path, line, entry) for entry in entries)
    if len({doc.docid for doc in docs}) < len(docs):
        raise InputError(path, f"a document stands twice in the list of {qid}", "Keep its highest grade", line)
    return GradedList(qid, text_field(path, line, value, ("query",)), docs)


def _doc(path: str | Path, line: int | None, entry: Any) -> GradedDoc:
    if not isinstance(entry, dict):
        raise InputError(path, "an entry of `docs` is not an object", 'Expected {"docid": …, "grade": …}', line)
    _check_keys(path, line, entry, _DOC_KEYS, "`docs`")
    grade, score = entry.get("grade"), entry.get("score")
    if not isinstance(grade, int) or isinstance(grade, bool):
        raise InputError(path, f"grade {grade!r} is not an integer", "Grades are 0, 1, 2, 3", line)
    number = isinstance(score, (int, float)) and not isinstance(score, bool) and math.isfinite(score)
    if score is not None and not number:
        raise InputError(path, f"score {score!r} is not a finite number", "Leave it out where there is none", line)
    docid = check_id(path, line, text_field(path, line, entry, ("docid",)), "document id")
    text = None if entry.get("text") is None else text_field(path, line, entry, ("text",))
    return GradedDoc(docid, grade, text_field(path, line, entry, ("source",)), score, text)


def _check_keys(
    path: str | Path, line: int | None, value: Mapping[str, Any], known: tuple[str, ...], where: str
) -> None:
    for key in value:
        if key not in known:
            raise InputError(
                path, f"unknown key `{key}` in {where}{nearest(key, known)}", f"Known: {', '.join(known)}", line
            )
