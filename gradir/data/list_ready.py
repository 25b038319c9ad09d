"""Lists that stand in a file already, and pairs made of single documents."""

from __future__ import annotations

import random
from array import array
from typing import Any

import numpy as np

from gradir.data.composition import FromLists, FromPairs
from gradir.data.ids import Duplicates
from gradir.data.list_bytes import LineFile
from gradir.data.list_grammar import GRADES
from gradir.data.list_order import salt
from gradir.data.lists import parse_list
from gradir.data.records import GradedDoc, GradedList
from gradir.data.texts import Texts
from gradir.errors import InputError

PAIR_GRADE = 3  # a document for a part of itself


class ReadyLists:
    """The lists of a file. Kept are the places of its lines; each list is read when it is drawn.

    Documents without a text of their own that no corpus holds are left out, and counted.

    Args:
        entry: The file.
        texts: Where the texts are that it does not hold; None where it must hold all.
        positive_grade: Documents graded so or higher are positives.
        require_positive: Leave out lists without a positive.

    Attributes:
        scored: Whether any document of them has a teacher's score.

    Raises:
        InputError: As `read_lists`; a document without a text where there is no corpus; a grade outside `GRADES`; no list left.
    """

    def __init__(self, entry: FromLists, texts: Texts | None, positive_grade: int, require_positive: bool):
        self.entry, self.texts, self._file = entry, texts, LineFile(entry.lists)
        self._counts: dict[str, Any] = {
            "queries": 0,
            "lists": 0,
            "dropped": {"no_documents": 0} | ({"no_positive": 0} if require_positive else {}),
            "without_positive": 0,
            "one_document": 0,
            "equal_grades": 0,
            "unknown_documents": 0,
        }
        self.scored = False
        offsets, offset, seen = array("q"), 0, Duplicates("query id")
        for line, raw in enumerate(self._file, 1):
            text = self._file.decoded(raw, offset)
            if text.strip():
                one = parse_list(entry.lists, line, self._file.json(offset, text))
                seen.add(entry.lists, line, one.qid)
                if self._counted(line, one, positive_grade, require_positive):
                    offsets.append(offset)
                    self.scored |= any(doc.score is not None for doc in one.docs)
            offset += len(raw)
        seen.finish()
        self._offsets = np.frombuffer(offsets, np.int64) if offsets else np.zeros(0, np.int64)
        self._counts["lists"] = len(offsets)
        if not offsets:
            dropped = ", ".join(f"{key}: {count}" for key, count in self._counts["dropped"].items())
            fixes = f"No document is graded {positive_grade} or higher: give a lower `positive_grade`, or other lists"
            fixes = (
                fixes if self._counts["dropped"].get("no_positive") else "Is it the right file, and the right `corpus`?"
            )
            raise InputError(entry.lists, f"holds no list that can be used ({dropped})", fixes)

    def __len__(self) -> int:
        return len(self._offsets)

    def draw(self, number: int, visit: int, texts: bool = True) -> GradedList:
        """A list, the same at every visit.

        Args:
            number: Which, from 0.
            visit: Makes no difference.
            texts: Fill in the texts; False leaves only those that the file itself holds.
        """
        offset = int(self._offsets[number])
        one = parse_list(self.entry.lists, None, self._file.json(offset, self._file.text(offset)))
        docs = (doc if doc.text is not None else self._joined(doc, texts) for doc in one.docs)
        return one._replace(docs=tuple(doc for doc in docs if doc is not None))

    def statistics(self) -> dict[str, Any]:
        """What the file holds: see `GradedLists.statistics`."""
        return self._counts

    def close(self) -> None:
        """Unmap the file."""
        self._file.close()

    def _joined(self, doc: GradedDoc, texts: bool) -> GradedDoc | None:
        if self.texts is None or doc.docid not in self.texts:
            return None
        return doc._replace(text=self.texts.contents(doc.docid)) if texts else doc

    def _counted(self, line: int, one: GradedList, positive_grade: int, require_positive: bool) -> bool:
        """Count a list; whether it is kept."""
        outside = next((doc for doc in one.docs if doc.grade not in GRADES), None)
        if outside:
            problem = f"query {one.qid}, document {outside.docid}: grade {outside.grade}"
            raise InputError(self.entry.lists, problem, f"Grades are from {GRADES[0]} to {GRADES[-1]}", line)
        join = [doc.docid for doc in one.docs if doc.text is None]
        if join and self.texts is None:
            problem = f"document {join[0]} of query {one.qid} has no text"
            raise InputError(self.entry.lists, problem, "Name the `corpus` beside `lists`", line)
        rows = self.texts.rows(join) if self.texts is not None else np.zeros(0)
        unknown = {docid for docid, row in zip(join, rows, strict=True) if row < 0}
        grades = [doc.grade for doc in one.docs if doc.text is not None or doc.docid not in unknown]
        positive = any(grade >= positive_grade for grade in grades)
        counts = self._counts
        counts["queries"] += 1
        counts["unknown_documents"] += len(unknown)
        if not grades or (require_positive and not positive):
            counts["dropped"]["no_positive" if grades else "no_documents"] += 1
            return False
        counts["without_positive"] += not positive
        counts["one_document"] += len(grades) == 1
        counts["equal_grades"] += len(grades) > 1 and len(set(grades)) == 1
        return True


class PairLists:
    """A list for each document of a corpus that a pair can be made of; all documents are read once to find out.

    Args:
        entry: Which corpus, and how.
        texts: Its documents.
        seed: Of the draws.

    Raises:
        InputError: No document gives a pair.
    """

    scored = False

    def __init__(self, entry: FromPairs, texts: Texts, seed: int):
        self.entry, self.texts, self.seed = entry, texts, seed
        rows = texts.in_order()
        self._rows = rows[np.fromiter((self._pair(int(row), 0) is not None for row in rows), bool, len(rows))]
        if not len(self._rows):
            fix = "They are too short, or have no title"
            raise InputError(", ".join(entry.corpus), f"no document gives a pair by `{entry.pairs}`", fix)

    def __len__(self) -> int:
        return len(self._rows)

    def draw(self, number: int, visit: int, texts: bool = True) -> GradedList:
        """A document's pair, another at each visit where there is anything to draw.

        Args:
            number: Which document, from 0.
            visit: How often it has come before.
            texts: Makes no difference: the text cannot be joined by id.
        """
        row = int(self._rows[number])
        pair = self._pair(row, visit) or self._pair(row, 0) or ("", "")  # the first made one when it was asked before
        docid = self.texts.at(row).docid
        doc = GradedDoc(docid, PAIR_GRADE, f"pairs:{self.entry.pairs}", None, pair[1])
        return GradedList(docid, pair[0], (doc,))

    def statistics(self) -> dict[str, Any]:
        """How many documents there are: see `GradedLists.statistics`."""
        lists = len(self)
        return {
            "queries": len(self.texts),
            "lists": lists,
            "dropped": {"no_documents": len(self.texts) - lists},
            "without_positive": 0,
            "one_document": lists,
            "equal_grades": 0,
        }

    def _pair(self, row: int, visit: int) -> tuple[str, str] | None:
        from gradir.data.pairs import PAIRS

        document = self.texts.at(row)
        chance = random.Random(salt(self.seed, self.entry.name, document.docid, visit))
        return PAIRS[self.entry.pairs](document, chance)
