"""The documents that each source offers for each query, in columns: five to nine bytes a candidate, none of it a Python object."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gradir.data import named
from gradir.data.composition import Take
from gradir.data.list_grammar import GRADES
from gradir.data.qrels import iter_qrels, read_qrels
from gradir.data.records import Qrel
from gradir.data.texts import Texts
from gradir.errors import InputError

_LINES = 1 << 16  # of judgements at a time
Ints = NDArray[np.int64]


@dataclass
class Pool:
    """What a source offers. The candidates of a query stand together, in the order in which they are picked.

    Attributes:
        begin: Where the candidates of each query begin, int64 [Q].
        count: How many there are, int64 [Q].
        rows: Their rows in the texts, int32 [C].
        grades: Their grades, int8 [C]; [1] where all have the same.
        scores: The teacher's scores, float32 [C], NaN where there is none; None without a teacher.
        counts: What was left out and why.
    """

    begin: Ints
    count: Ints
    rows: NDArray[np.int32]
    grades: NDArray[np.int8]
    counts: dict[str, int]
    scores: NDArray[np.float32] | None = None

    def extremes(self, values: NDArray[Any]) -> tuple[Ints, Ints, Ints]:
        """(queries that have candidates, the lowest value of each, the highest) of values [C], or [1] where all are the same."""
        owners = np.flatnonzero(self.count)
        if len(values) == 1:
            same = np.full(len(owners), values[0], np.int64)
            return owners, same, same
        owners = owners[np.argsort(self.begin[owners], kind="stable")]
        starts = self.begin[owners]
        low, high = (f.reduceat(values, starts) if len(starts) else values for f in (np.minimum, np.maximum))
        return owners, low.astype(np.int64), high.astype(np.int64)


class Judgements(NamedTuple):
    """The judgements of known documents for known queries, [J] each, in file order; a pair comes once."""

    queries: Ints
    rows: Ints
    grades: Ints
    counts: dict[str, int]


def read_judgements(file: str, numbers: Mapping[str, int], texts: Texts) -> Judgements:
    """The judgements of a file.

    Args:
        file: What `read_qrels` reads.
        numbers: The number of each query.
        texts: The documents.

    Raises:
        InputError: As `read_qrels`; a grade that does not fit into a byte; no document of the file is known.
    """
    queries, rows, grades = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    lines = unknown_queries = 0
    for part in _parts(_qrels(file)):
        lines += len(part)
        known = [qrel for qrel in part if qrel.qid in numbers]
        unknown_queries += len(part) - len(known)
        outside = next((qrel for qrel in known if qrel.grade not in GRADES), None)
        if outside:
            problem = f"query {outside.qid}, document {outside.docid}: grade {outside.grade}"
            raise InputError(file, problem, f"Grades are whole numbers from {GRADES[0]} to {GRADES[-1]}")
        queries.append(np.array([numbers[qrel.qid] for qrel in known], np.int64))
        rows.append(texts.rows([qrel.docid for qrel in known]))
        grades.append(np.array([qrel.grade for qrel in known], np.int64))
    owner, row, grade = np.concatenate(queries), np.concatenate(rows), np.concatenate(grades)
    here = row >= 0
    if len(here) and not here.any():
        raise InputError(file, f"names no document of {', '.join(texts.corpora)}", "Is it the right corpus?")
    counts = {"unknown_queries": unknown_queries, "unknown_documents": int((~here).sum())}
    owner, row, grade = owner[here], row[here], grade[here]
    keys = pair_keys(owner, row)
    first, places = np.unique(keys, return_index=True, return_inverse=True)[1:]
    if (grade != grade[first][places]).any():
        read_qrels(file)  # raises, and says where
    first.sort()
    return Judgements(owner[first], row[first], grade[first], counts)


def _qrels(file: str) -> Iterator[Qrel]:
    if not named.is_ir_datasets(file) and not named.is_pyserini_name(file):
        return iter_qrels(file)
    return (Qrel(qid, docid, grade) for qid, judged in read_qrels(file).items() for docid, grade in judged.items())


def _parts(qrels: Iterator[Qrel]) -> Iterator[list[Qrel]]:
    while part := list(islice(qrels, _LINES)):
        yield part


def judged_pool(take: Take, judged: Judgements, queries: int) -> Pool:
    """What a take from judgements offers.

    Args:
        take: Says which grades, and what they become.
        judged: All of the file.
        queries: Q, how many queries there are.

    Raises:
        InputError: Grades that `set` says nothing about; all are listed.
    """
    low, high = take.grade
    kept = (judged.grades >= (GRADES[0] if low is None else low)) & (
        judged.grades <= (GRADES[-1] if high is None else high)
    )
    owner, rows, grades = judged.queries[kept], judged.rows[kept], judged.grades[kept]
    present = np.unique(grades)
    new = [take.new_grade(int(grade)) for grade in present]
    missing = [str(grade) for grade, becomes in zip(present, new, strict=True) if becomes is None]
    if missing:
        problem = f"`set` says nothing about grade{'s' if len(missing) > 1 else ''} {', '.join(missing)}"
        raise InputError(take.file, problem, "Name them in `set`, or leave them out by `grade`")
    rising = {"top": -grades, "bottom": grades}.get(take.pick, np.zeros_like(grades))
    order = np.lexsort((rising, owner))  # stable: file order among equals
    becomes = np.array([one or 0 for one in new], np.int8)[np.searchsorted(present, grades[order])]
    count = np.bincount(owner, minlength=queries)
    counts = judged.counts | {"other_grades": int((~kept).sum())}
    return Pool(np.cumsum(count) - count, count, rows[order].astype(np.int32), becomes, counts)


class Relevant(NamedTuple):
    """The (query, document) pairs that are relevant by some judgement of an entry, as sorted keys, [R]."""

    keys: Ints

    @classmethod
    def of(cls, judgements: Iterable[Judgements]) -> Relevant:
        """From the judgements of all files: grade 1 or higher."""
        keys = [pair_keys(one.queries, one.rows)[one.grades >= 1] for one in judgements]
        return cls(np.unique(np.concatenate([np.zeros(0, np.int64), *keys])))

    def holds(self, keys: Ints) -> NDArray[np.bool_]:
        """Which of some keys are among them."""
        if not len(self.keys):
            return np.zeros(len(keys), bool)
        return self.keys[np.searchsorted(self.keys, keys).clip(max=len(self.keys) - 1)] == keys


def pair_keys(queries: Ints, rows: NDArray[Any]) -> Ints:
    """(query, document) in one number each."""
    return (queries << 32) | rows
