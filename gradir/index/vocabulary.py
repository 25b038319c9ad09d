"""Which terms and sums of impacts Lucene can hold, checked before it gets them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gradir.data.vectors import SparseVectors
from gradir.errors import InputError

# Between a term and its impact where impacts are written as text. Control pictures stand in no tokenizer's vocabulary;
# `|`, Lucene's default, stands in BERT's.
DELIMITER = "\u241f"
LONGEST_TERM = 255  # UTF-16 units: what Anserini's own whitespace analyzer takes whole
_MOST = 2**31 - 1  # sum of a document's impacts: Lucene counts them as tokens


class Vocabulary:
    """The terms of vector shards by id, and which of them cannot be indexed.

    Some tokenizers' vocabularies hold runs of blanks that no document ever uses; so a term is refused where it is used.

    Args:
        path: Of `vocab.txt`, for errors.
        terms: By id.

    Raises:
        InputError: A term stands twice.
    """

    def __init__(self, path: Path, terms: list[str]):
        self.path, self.terms = path, terms
        self._unfit = np.array([bool(_problem(term)) for term in terms], dtype=bool)
        numbers = {term: number for number, term in enumerate(terms)}
        for number, term in enumerate(terms if len(numbers) < len(terms) else ()):
            if numbers[term] != number:
                problem = f"term {term!r} stands again in line {numbers[term] + 1}"
                raise InputError(path, problem, "Each term must have one id", number + 1)

    def check(self, part: Path, docids: Sequence[str], vectors: SparseVectors) -> None:
        """Refuse a part whose documents use terms that cannot be indexed, or whose impacts sum to too much.

        Raises:
            InputError: Names the document.
        """
        unfit = self._unfit[vectors.terms]
        if unfit.any():
            place = int(np.argmax(unfit))
            number = int(vectors.terms[place])
            problem = f"{_problem(self.terms[number])}, and document {_docid(docids, vectors, place)} has it"
            raise InputError(self.path, problem, "Use another tokenizer", number + 1)
        _check_sums(part, docids, vectors)


def _problem(term: str) -> str:
    """What is wrong with a term, if anything. Python's white space includes all of Lucene's."""
    if not term:
        return "an empty term"
    if term.split() != [term] or DELIMITER in term:
        return f"term {term!r} holds white space or {DELIMITER}, where Lucene would split it"
    length = len(term.encode("utf-16-le")) // 2
    return f"a term of {length} characters, Lucene takes {LONGEST_TERM}" if length > LONGEST_TERM else ""


def _check_sums(part: Path, docids: Sequence[str], vectors: SparseVectors) -> None:
    totals = np.concatenate([[0], np.cumsum(vectors.impacts, dtype=np.int64)])[vectors.indptr]
    sums = np.diff(totals)
    if (sums > _MOST).any():
        row = int(np.argmax(sums))
        problem = f"the impacts of document {docids[row]} sum to {sums[row]}"
        raise InputError(part, problem, "Lucene takes less than 2**31: use a smaller impact scale", row + 1)


def _docid(docids: Sequence[str], vectors: SparseVectors, place: int) -> str:
    """The document that holds a posting."""
    return docids[int(np.searchsorted(vectors.indptr, place, side="right")) - 1]
