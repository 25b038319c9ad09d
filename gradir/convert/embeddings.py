"""Pyserini's `embeddings.jsonl`: `{"id": …, "contents": …, "vector": [0.1, …] or {"term": 7, …}}`, one document a line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from gradir.convert.foreign import Block, Foreign, term_id
from gradir.data.jsonl import read_objects, text_field
from gradir.data.text import suffix
from gradir.data.vectors import SparseVectors
from gradir.errors import InputError

_BLOCK = 1024  # documents read before they are handed on
_MOST = 2**31 - 1
_Line = tuple[Path, int, dict[str, Any]]


def files(path: Path) -> list[Path]:
    """The files of embeddings at a path, in reading order."""
    if path.is_file():
        return [path]
    found = (file for file in path.iterdir() if file.is_file() and suffix(file) in (".jsonl", ".json"))
    return sorted(file for file in found if not file.name.startswith(".") and not file.name.endswith("manifest.json"))


def open_files(path: Path) -> Foreign:
    """Open embeddings; the first line tells of what kind they are.

    Raises:
        InputError: There are none, or the first has no vector.
    """
    found = files(path)
    first = next(_lines(found), None)
    if first is None:
        raise InputError(path, "holds no embeddings", "Was the corpus empty?")
    if isinstance(_vector(*first), dict):
        return Foreign("sparse embeddings", "splade", None, found, lambda: _terms(found), lambda i: _sparse(found, i))
    return Foreign("dense embeddings", "dense", None, found, lambda: (), lambda _: _dense(found))


def _lines(paths: Iterable[Path]) -> Iterator[_Line]:
    for path in paths:
        for line, value in read_objects(path):
            yield path, line, value


def _vector(path: Path, line: int, value: dict[str, Any]) -> Any:
    vector = value.get("vector")
    if not isinstance(vector, dict | list):
        problem = "no `vector`" if vector is None else "`vector` is neither an object of terms nor a list of numbers"
        raise InputError(path, problem, "Expected what pyserini.encode writes", line)
    return vector


def _docid(path: Path, line: int, value: dict[str, Any]) -> str:
    return text_field(path, line, value, ("id", "_id", "docid"))


def _terms(paths: list[Path]) -> Iterator[str]:
    return chain.from_iterable(_weights(*line) for line in _lines(paths))


def _weights(path: Path, line: int, value: dict[str, Any]) -> dict[str, int]:
    """The terms of a document with a weight above 0.

    Raises:
        InputError: A weight is negative, too large, or no whole number: Anserini would cut it, and change the scores.
    """
    vector = _vector(path, line, value)
    if not isinstance(vector, dict):
        raise InputError(path, "a list after objects", "Sparse and dense embeddings cannot be mixed", line)
    for term, weight in vector.items():
        number = isinstance(weight, int | float) and not isinstance(weight, bool)
        if not number or not 0 <= weight <= _MOST or weight != int(weight):
            problem = f"the weight of {term!r} is {weight!r}, not a whole number from 0 to {_MOST}"
            raise InputError(path, problem, "Quantise the weights first, by round(51.2 * weight)", line)
    return {term: int(weight) for term, weight in vector.items() if weight}


def _sparse(paths: list[Path], ids: Mapping[str, int]) -> Iterator[Block]:
    lines = _lines(paths)
    while block := list(islice(lines, _BLOCK)):
        docids, terms, impacts, indptr = [], [], [], [0]
        for path, line, value in block:
            docids.append(_docid(path, line, value))
            row = sorted(
                (term_id(ids, term, path, docids[-1], line), weight)
                for term, weight in _weights(path, line, value).items()
            )
            terms += [number for number, _ in row]
            impacts += [weight for _, weight in row]
            indptr.append(len(terms))
        yield (
            docids,
            SparseVectors(np.array(indptr, np.int64), np.array(terms, np.int32), np.array(impacts, np.int32)),
        )


def _dense(paths: list[Path]) -> Iterator[Block]:
    lines, size = _lines(paths), 0
    while block := list(islice(lines, _BLOCK)):
        rows = []
        for path, line, value in block:
            vector = _vector(path, line, value)
            size = size or len(vector)
            if not isinstance(vector, list) or len(vector) != size or not all(map(_is_number, vector)):
                problem = f"`vector` is not a list of {size} numbers, as in the first line"
                raise InputError(path, problem, "Are all embeddings of one encoder?", line)
            rows.append(vector)
        yield [_docid(*line) for line in block], np.array(rows, np.float32)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
