"""What `gradir generate queries`, `documents` and `judgements` wrote, read record by record, and written again without some.

A record stands for one query with the document it was made from (queries), one document made for a query (documents), or one
judged pair (judgements). Texts are read from the files when they are asked for; none stays in memory.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gradir.data.corpus import corpus_files
from gradir.data.ids import Duplicates
from gradir.data.jsonl import check_format, read_objects, text_field
from gradir.data.texts import Texts
from gradir.errors import InputError

Kind = Literal["queries", "documents", "judgements"]
KINDS: tuple[Kind, ...] = ("queries", "documents", "judgements")
_EXAMPLES = "examples.tsv"  # what the prompts showed; it stays true of what is kept
SOURCE_GRADE = 3  # of the document that a query was made from


class Item:
    """One record; its texts are read when they are asked for.

    Attributes:
        number: Its place among the records, from 0.
        line: Its line in records.jsonl.
        record: The JSON object.
        qid: Of its query.
        docid: Of its document.
        grade: Of the document for the query.
    """

    __slots__ = ("_folder", "docid", "grade", "line", "number", "qid", "record")

    def __init__(self, folder: Generated, number: int, line: int, record: dict[str, Any]):
        self._folder, self.number, self.line, self.record = folder, number, line, record
        self.qid = text_field(folder.records, line, record, ("qid",))
        self.docid = text_field(folder.records, line, record, ("docid",))
        grade = record.get("grade", SOURCE_GRADE if folder.kind == "queries" else None)
        if not isinstance(grade, int) or isinstance(grade, bool):
            raise self.fail("has no integer `grade`", "Was the file changed?")
        self.grade: int = grade

    @property
    def query(self) -> str:
        """The query's text."""
        return self._folder.query(self.qid)

    @property
    def document(self) -> str:
        """Title and text of the document."""
        return self._folder.document(self.docid)

    @property
    def made(self) -> str:
        """The text that the model wrote: the query of a queries folder, else the document."""
        return self.query if self._folder.kind == "queries" else self.document

    @property
    def made_id(self) -> str:
        """The id of that text."""
        return self.qid if self._folder.kind == "queries" else self.docid

    def fail(self, problem: str, fix: str = "") -> InputError:
        """The error for this record, to be raised by the caller."""
        return InputError(self._folder.records, problem, fix, self.line)


class Generated:
    """A generated folder.

    Args:
        folder: The folder.
        corpora: Where documents are that do not stand in the folder itself: those that queries were made from, or judged ones.
        topics: Where judged queries are (JSON Lines or TSV).

    Attributes:
        kind: What was generated.
        records: Its records.jsonl.

    Raises:
        InputError: It is no such folder, or not finished.
    """

    def __init__(self, folder: str | Path, corpora: Sequence[str] = (), topics: str | None = None):
        self.folder, self.corpora, self.topics = Path(folder), list(corpora), topics
        self.records = self.folder / "records.jsonl"
        self.kind = kind_of(self.folder)
        self._open = ExitStack()
        self._queries: Texts | None = None
        self._documents: Texts | None = None

    def __enter__(self) -> Generated:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def items(self, kept: NDArray[np.bool_] | None = None) -> Iterator[Item]:
        """The records in file order; those with False in `kept` [N] are passed over.

        Raises:
            InputError: A record without qid, docid or grade, or of a newer gradir.
        """
        for number, (line, record) in enumerate(read_objects(self.records)):
            if kept is None or kept[number]:
                if number == 0:
                    check_format(self.records, record, line)
                yield Item(self, number, line, record)

    def count(self) -> int:
        """How many records there are, after a look at all of them.

        Raises:
            InputError: As `items`; an id twice.
        """
        count, seen = 0, Duplicates("record of")
        for item in self.items():
            name = f"{item.qid} {item.docid}" if self.kind == "judgements" else item.made_id
            seen.add(self.records, item.line, name)
            count += 1
        seen.finish()
        return count

    def numbers(self) -> dict[str, dict[str, int]]:
        """`{qid: {docid: number of the record}}`."""
        found: dict[str, dict[str, int]] = {}
        for item in self.items():
            found.setdefault(item.qid, {})[item.docid] = item.number
        return found

    def query(self, qid: str) -> str:
        """The text of a query.

        Raises:
            InputError: There is none of this id.
        """
        if self._queries is None:
            self._queries = self._open.enter_context(Texts(self.query_file()))
        return self._queries.contents(qid)

    def document(self, docid: str) -> str:
        """Title and text of a document.

        Raises:
            InputError: There is none of this id.
        """
        if self._documents is None:
            self._documents = self._open.enter_context(Texts(self.document_files()))
        return self._documents.contents(docid)

    def query_file(self) -> Path:
        """Where the queries' texts are.

        Raises:
            InputError: Nobody said.
        """
        if self.kind != "judgements":
            return self.folder / "queries.jsonl"
        if self.topics is None:
            raise InputError(self.folder, "holds no texts of queries", "Give --topics")
        path = Path(self.topics)
        return path / "queries.jsonl" if path.is_dir() else path

    def document_files(self) -> list[Path]:
        """Where the documents' texts are.

        Raises:
            InputError: Nobody said.
        """
        if self.kind == "documents":
            return [self.folder / "corpus.jsonl"]
        if not self.corpora:
            raise InputError(self.folder, "holds no texts of documents", "Give --corpus")
        return [file for corpus in self.corpora for file in corpus_files(corpus)]

    def files(self) -> list[Path]:
        """The files of the folder that hold what was generated."""
        names = ("corpus.jsonl", "queries.jsonl", "records.jsonl", "scores.trec", _EXAMPLES)
        return [
            *(self.folder / name for name in names if (self.folder / name).is_file()),
            *sorted((self.folder / "qrels").glob("*.tsv")),
        ]


def kind_of(folder: Path) -> Kind:
    """What a folder holds.

    Raises:
        InputError: No generated folder, or one that is not finished.
    """
    records = folder / "records.jsonl"
    fix = "Name the --output of gradir generate queries, documents or judgements"
    if not folder.is_dir():
        raise InputError(folder, "no such folder", fix)
    if (folder / "manifest.partial.json").exists() and not (folder / "manifest.json").exists():
        raise InputError(folder, "is not finished", "Run the command that makes it to its end")
    if not records.is_file():
        raise InputError(folder, "holds no records.jsonl", fix)
    first = next((record for _, record in read_objects(records)), None)
    if first is None:
        raise InputError(records, "holds no records", "Generate again")
    if "query" in first:
        kind: Kind = "queries"
    else:
        kind = "documents" if (folder / "corpus.jsonl").is_file() else "judgements"
    needed = {"queries": ["queries.jsonl"], "documents": ["queries.jsonl"], "judgements": ["qrels/judgements.tsv"]}
    lacking = [name for name in needed[kind] if not (folder / name).is_file()]
    if lacking:
        raise InputError(folder, f"holds records of {kind}, and no {lacking[0]}", fix)
    return kind


def write_without(source: Generated, kept: NDArray[np.bool_], folder: Path) -> dict[str, int]:
    """Write a generated folder with the kept records alone and what belongs to them; returns the numbers of lines.

    The order of every file is that of the source. Of a queries folder stay the queries of kept records with all their
    judgements; of a documents folder kept documents with their judgements, and queries that have one; of judgements kept pairs.

    Args:
        source: The folder read.
        kept: Of each record, [N].
        folder: Where the files go; it exists.
    """
    from gradir.data.jsonl import write_objects

    pairs: dict[str, set[str]] = {}
    for item in source.items(kept):
        pairs.setdefault(item.qid, set()).add(item.docid)
    counts = {"records": write_objects(folder / "records.jsonl", (item.record for item in source.items(kept)))}
    if source.kind != "judgements":
        counts["queries"] = _copy_objects(source.folder, folder, "queries.jsonl", pairs)
    if source.kind == "documents":
        documents = {docid for docids in pairs.values() for docid in docids}
        counts["documents"] = _copy_objects(source.folder, folder, "corpus.jsonl", documents)
    (folder / "qrels").mkdir()
    counts["qrels"] = 0
    for file in sorted((source.folder / "qrels").glob("*.tsv")):
        counts["qrels"] += _copy_qrels(file, folder / "qrels" / file.name, pairs, whole=source.kind == "queries")
    if (source.folder / "scores.trec").is_file():
        _copy_run(source.folder / "scores.trec", folder / "scores.trec", pairs)
    if (source.folder / _EXAMPLES).is_file():
        shutil.copyfile(source.folder / _EXAMPLES, folder / _EXAMPLES)
    return counts


def _copy_objects(source: Path, target: Path, name: str, ids: Collection[str]) -> int:
    from gradir.data.jsonl import write_objects

    rows = ((line, row) for line, row in read_objects(source / name))
    stay = (row for line, row in rows if text_field(source / name, line, row, ("_id", "id")) in ids)
    return write_objects(target / name, stay)


def _copy_qrels(source: Path, target: Path, pairs: dict[str, set[str]], whole: bool) -> int:
    from gradir.data.qrels import iter_qrels, write_qrels

    stay = (one for one in iter_qrels(source) if one.qid in pairs and (whole or one.docid in pairs[one.qid]))
    return write_qrels(target, stay)


def _copy_run(source: Path, target: Path, pairs: dict[str, set[str]]) -> None:
    """The lines of kept pairs, with new ranks."""
    from gradir.data.atomic import new_text
    from gradir.data.text import Lines

    qid, rank = "", 0
    with new_text(target) as stream:
        for line in Lines(source):
            columns = line.split()
            if len(columns) == 6 and columns[2] in pairs.get(columns[0], ()):
                qid, rank = columns[0], rank + 1 if columns[0] == qid else 1
                stream.write(" ".join([*columns[:3], str(rank), *columns[4:]]) + "\n")
