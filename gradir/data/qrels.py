"""Relevance judgements: BEIR's three columns with a header, TREC's four."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from gradir.data import named
from gradir.data.atomic import new_text
from gradir.data.ids import check_id
from gradir.data.records import Qrel
from gradir.data.text import Lines
from gradir.errors import InputError

_HEADER = "query-id\tcorpus-id\tscore\n"


def iter_qrels(path: str | Path) -> Iterator[Qrel]:
    """Judgements in file order.

    Reads BEIR (`query-id<TAB>corpus-id<TAB>score`, with or without the header) and TREC (`qid 0 docid grade`), also
    compressed. Negative grades, which trec_eval counts as not relevant, are kept as they are.

    Raises:
        InputError: Wrong number of columns, a grade that is not an integer, no judgements at all.
    """
    lines, count = Lines(path), 0
    for text in lines:
        columns = text.split()
        if not columns or (lines.number == 1 and columns[-1].lower() in ("score", "relevance", "grade")):
            continue
        if len(columns) not in (3, 4):
            raise lines.fail(
                f"{len(columns)} columns", "Expected query-id<TAB>corpus-id<TAB>score, or qid 0 docid grade"
            )
        count += 1
        yield Qrel(columns[0], columns[-2], _grade(lines, columns[-1]))
    if not count:
        raise InputError(path, "holds no judgements", "Is it the right file?")


def read_qrels(qrels: str | Path) -> dict[str, dict[str, int]]:
    """`{qid: {docid: grade}}`, in memory; also for `ir_datasets:NAME` and names that Pyserini knows.

    Raises:
        InputError: As `iter_qrels`, and where one pair has two different grades.
    """
    path = Path(qrels)
    if named.is_ir_datasets(qrels):
        judgements: Iterable[Qrel] = named.ir_datasets_qrels(str(qrels))
    elif not path.exists() and not path.suffix:
        judgements = iter_qrels(named.pyserini_qrels_file(str(qrels)))
    else:
        judgements = iter_qrels(path)
    table: dict[str, dict[str, int]] = {}
    for qid, docid, grade in judgements:
        if table.setdefault(qid, {}).setdefault(docid, grade) != grade:
            problem = f"query {qid}, document {docid}: grades {table[qid][docid]} and {grade}"
            raise InputError(qrels, problem, "Keep one of the two lines")
    return table


def write_qrels(path: str | Path, qrels: Iterable[Qrel]) -> int:
    """Write judgements in BEIR form if `path` ends in .tsv, else in TREC form; returns their number."""
    beir, count = Path(path).suffix == ".tsv", 0
    with new_text(path) as stream:
        if beir:
            stream.write(_HEADER)
        for qid, docid, grade in qrels:
            check_id(path, count + 1 + beir, docid, "document id")
            stream.write(f"{qid}\t{docid}\t{grade}\n" if beir else f"{qid} 0 {docid} {grade}\n")
            count += 1
    return count


def unknown_ids(qrels: dict[str, dict[str, int]], qids: Iterable[str], docids: Iterable[str]) -> tuple[int, int]:
    """How many judged queries are not among `qids`, and how many judged documents not among `docids` (both streamed)."""
    queries = set(qrels).difference(qids)
    documents = {docid for judged in qrels.values() for docid in judged}.difference(docids)
    return len(queries), len(documents)


def _grade(lines: Lines, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise lines.fail(f"grade {text!r} is not an integer", "Round it, or map it to 0, 1, 2, 3") from None
