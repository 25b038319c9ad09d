"""In-context examples with a text at each grade: given in a file, or put together from judgements."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from gradir.data.jsonl import read_objects, text_field
from gradir.data.list_order import salt
from gradir.data.qrels import read_qrels
from gradir.data.records import Document, Qrel
from gradir.data.text import suffix
from gradir.data.texts import Texts
from gradir.data.topics import read_topics
from gradir.errors import InputError
from gradir.generate.documents_form import LEVELS, name_of, written

MOST_TOKENS = 200  # of a text that an example shows
_SPARE = 16  # queries looked at for each example wanted: documents of some are not in the corpus
_TRIES = 64  # documents drawn to find one that is not judged


class GradedExample(NamedTuple):
    """What is written for, and a text at each grade; ids are empty where they come from a file."""

    source: str
    texts: Mapping[int, str]
    id: str = ""
    docids: Mapping[int, str] = {}


def given_examples(path: Path, slot: str, grades: Sequence[int], shots: int | None, seed: int) -> list[GradedExample]:
    """The examples of a JSON Lines file: each line with `query` (or `document`) and `grade_3`, `grade_2` … as they are asked for.

    Args:
        path: The file.
        slot: `query` or `document`.
        grades: Which are wanted.
        shots: How many; drawn by the seed where the file has more, and left in order. None: all.
        seed: Of the draw.

    Raises:
        InputError: A line lacks one of them, or the file has fewer.
    """
    found = []
    for line, value in read_objects(path):
        texts = {grade: text_field(path, line, value, (name_of(grade),)) for grade in grades}
        found.append(GradedExample(text_field(path, line, value, (slot,)), texts))
    _enough(path, found, shots or 1)
    if shots is None:
        return found
    chosen = heapq.nsmallest(shots, range(len(found)), key=lambda i: salt(seed, "example", i))
    return [found[i] for i in sorted(chosen)]


def judged_examples(
    qrels: str, topics: str, texts: Texts, grades: Sequence[int], shots: int, seed: int
) -> list[GradedExample]:
    """Examples of judged queries that have a document of each grade. Where nothing is judged 0, as in many collections, a
    document that is not judged for the query stands in.

    Args:
        qrels: Judgements.
        topics: Their queries.
        texts: Their documents.
        grades: Which are wanted.
        shots: How many.
        seed: Of the draw.

    Raises:
        InputError: There are fewer such queries.
    """
    judged = read_qrels(qrels)
    needed = {grade for grade in grades if grade > 0}
    able = (qid for qid, of in judged.items() if needed <= set(of.values()))
    few = heapq.nsmallest(shots * _SPARE, able, key=lambda qid: (salt(seed, "example", qid), qid))
    queries = {query.qid: query.text for query in read_topics(topics) if query.qid in set(few)}
    found: list[GradedExample] = []
    for qid in few:
        documents = _documents(judged[qid], texts, grades, seed, qid)
        if len(documents) == len(grades) and queries.get(qid, "").strip() and len(found) < shots:
            shown = {grade: document.contents for grade, document in documents.items()}
            docids = {grade: document.docid for grade, document in documents.items()}
            found.append(GradedExample(queries[qid], shown, qid, docids))
    scale = (
        "; grades are read as TREC's, so that for judgements of 0 and 1, relevant or not, a file of examples is needed"
    )
    _enough(qrels, found, shots, scale)
    return found


def sources_of(examples: Sequence[GradedExample]) -> tuple[Qrel, ...]:
    """The pairs that examples from judgements show."""
    return tuple(Qrel(one.id, docid, grade) for one in examples for grade, docid in one.docids.items())


def slots_of(
    examples: Sequence[GradedExample], slot: str, grades: Sequence[int], together: bool, cut: Callable[[str, int], str]
) -> list[dict[str, str]]:
    """The slots of the prompt's `example`: one for each example, or one for each of its grades.

    Args:
        examples: The examples.
        slot: Of what is written for: `query` or `document`.
        grades: In the order in which they are asked for.
        together: All grades in one answer.
        cut: Cuts a text by tokens.
    """
    other = "document" if slot == "query" else "query"
    shown = []
    for one in examples:
        source = {slot: cut(one.source, MOST_TOKENS)}
        texts = {grade: cut(one.texts[grade], MOST_TOKENS) for grade in grades}
        if together:
            shown.append({**source, "answer": written(texts)})
        else:
            shown += [{**source, "grade": str(grade), "level": LEVELS[grade], other: texts[grade]} for grade in grades]
    return shown


def is_file_of_examples(source: str) -> bool:
    """Whether `--examples` names a JSON Lines file; else it names judgements."""
    return suffix(source) == ".jsonl"


def _enough(source: str | Path, found: Sequence[GradedExample], shots: int, fix: str = "") -> None:
    if len(found) < shots:
        problem = f"has {len(found)} examples with a text at each grade, {shots} are wanted"
        raise InputError(source, problem, f"Lower --shots, or name fewer --grades{fix}")


def _documents(of: Mapping[str, int], texts: Texts, grades: Sequence[int], seed: int, qid: str) -> dict[int, Document]:
    """A document of each grade, as far as there is one."""
    found = {}
    for grade in grades:
        judged = sorted((docid for docid in of if of[docid] == grade), key=lambda docid: salt(seed, qid, docid))
        docids = [docid for docid in judged if docid in texts]
        chosen = (texts.document(docid) for docid in docids) if docids else _not_judged(of, texts, grade, seed, qid)
        document = next((document for document in chosen if document.contents.strip()), None)
        if document is not None:
            found[grade] = document
    return found


def _not_judged(of: Mapping[str, int], texts: Texts, grade: int, seed: int, qid: str) -> Iterator[Document]:
    if grade == 0:
        drawn = (texts.at(salt(seed, "irrelevant", qid, number) % len(texts)) for number in range(_TRIES))
        yield from (document for document in drawn if document.docid not in of)
