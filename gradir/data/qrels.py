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

HEADER = "query-id\tcorpus-id\tscore\n"


def iter_qrels(path: str | Path) -> Iterator[Qrel]:
    """Judgements in file order.

    Reads BEIR (`query-id<TAB>corpus-id<TAB>score`, with or without the header) and TREC (`qid 0 docid grade`), also
    compressed. Negative grades, which trec_eval counts as not relevant, are kept as they are.

    Raises:
        InputError: Wrong number of columns, white space in an id, a grade that is not an integer, no judgements at all.
    """
    return (qrel for _, qrel in _numbered(path))


def read_qrels(qrels: str | Path) -> dict[str, dict[str, int]]:
    """`{qid: {docid: grade}}`, in memory; also for `ir_datasets:NAME` and names that Pyserini knows.

    Raises:
        InputError: As `iter_qrels`, and where one pair has two different grades.
    """
    numbered: Iterable[tuple[int | None, Qrel]]
    if named.is_ir_datasets(qrels):
        numbered = ((None, qrel) for qrel in named.ir_datasets_qrels(str(qrels)))
    else:
        numbered = _numbered(named.pyserini_qrels_file(str(qrels)) if named.is_pyserini_name(qrels) else qrels)
    table: dict[str, dict[str, int]] = {}
    for line, (qid, docid, grade) in numbered:
        if table.setdefault(qid, {}).setdefault(docid, grade) != grade:
            problem = f"query {qid}, document {docid}: grades {table[qid][docid]} and {grade}"
            raise InputError(qrels, problem, "Keep one of the two lines", line)
    return table


def write_qrels(path: str | Path, qrels: Iterable[Qrel]) -> int:
    """Write judgements in BEIR form if `path` ends in .tsv, else in TREC form; returns their number."""
    beir, count = Path(path).suffix == ".tsv", 0
    with new_text(path) as stream:
        if beir:
            stream.write(HEADER)
        for qid, docid, grade in qrels:
            line = count + 1 + beir
            check_id(path, line, qid, "query id")
            check_id(path, line, docid, "document id")
            stream.write(f"{qid}\t{docid}\t{grade:d}\n" if beir else f"{qid} 0 {docid} {grade:d}\n")
            count += 1
    return count


def unknown_ids(qrels: dict[str, dict[str, int]], qids: Iterable[str], docids: Iterable[str]) -> tuple[int, int]:
    """How many judged queries are not among `qids`, and how many judged documents not among `docids` (both streamed)."""
    queries = set(qrels).difference(qids)
    documents = {docid for judged in qrels.values() for docid in judged}.difference(docids)
    return len(queries), len(documents)


def _numbered(path: str | Path) -> Iterator[tuple[int, Qrel]]:
    """(line, judgement), in file order."""
    lines, count = Lines(path), 0
    for text in lines:
        # Between tabs, so that white space in an id is seen as such and not as one more column.
        columns = [word.strip() for word in text.split("\t")] if text.count("\t") in (2, 3) else text.split()
        if not any(columns) or (lines.number == 1 and columns[-1].lower() in ("score", "relevance", "grade")):
            continue
        if len(columns) not in (3, 4):
            raise lines.fail(
                f"{len(columns)} column{'s' if len(columns) > 1 else ''}",
                "Expected query-id<TAB>corpus-id<TAB>score, or qid 0 docid grade",
            )
        qid, docid = columns[0], columns[-2]
        check_id(lines.path, lines.number, qid, "query id")
        check_id(lines.path, lines.number, docid, "document id")
        count += 1
        yield lines.number, Qrel(qid, docid, _grade(lines, columns[-1]))
    if not count:
        raise InputError(path, "holds no judgements", "Is it the right file?")


def _grade(lines: Lines, text: str) -> int:
    try:
        if "_" in text:  # Python's own way to write a number
            raise ValueError
        return int(text)
    except ValueError:
        raise lines.fail(f"grade {text!r} is not an integer", "Round it, or map it to 0, 1, 2, 3") from None
