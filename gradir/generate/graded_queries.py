"""The other direction of `gradir generate documents`: for a document, queries for which it has each of the grades."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradir.data.jsonl import FORMAT
from gradir.generate.asking_arguments import Asking
from gradir.generate.graded_texts import Source, Written
from gradir.generate.sampling import Draw
from gradir.generate.writing import Files

if TYPE_CHECKING:
    from gradir.data.texts import Texts

FILES = ("queries.jsonl", "records.jsonl")


def sources(texts: Texts, limit: int | None, seed: int) -> Iterator[Source]:
    """Documents with a text: some drawn by the seed, or all in the order of the corpus."""
    drawn = Draw(texts, limit or 0, seed, lambda text: None if text.strip() else "blank")
    yield from (Source(document.docid, document.contents) for document in drawn)


def write(files: Files, source: Source, texts: list[Written], asking: Asking, model: str) -> None:
    """The lines of one document: its queries, and its grade for each."""
    for one in texts:
        qid = f"{source.id}-q{one.name}"
        ids = {"format": FORMAT, "qid": qid, "docid": source.id, "query": one.text, "grade": one.grade}
        files.add("queries.jsonl", {"_id": qid, "text": one.text})
        files.judge(qid, source.id, one.grade)
        files.add("records.jsonl", {**ids, **one.record(asking.prompt.name, model)})
