"""What dev evaluation needs, looked up and checked: its files, its run, the texts of the documents to be ranked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from gradir.data import named
from gradir.data.corpus import read_corpus
from gradir.data.measures import Measure, parse_measures
from gradir.data.runs import iter_rankings
from gradir.errors import GradirError, InputError


def checked(places: Mapping[str, str | Path | None], depth: int, measure: str, limit: int | None) -> Measure:
    """The measure.

    Raises:
        GradirError: Something cannot be; all problems are listed.
    """
    problems = []
    for name, place in places.items():
        if place is None and name != "run":
            problems.append(f"no `{name}`" + ("" if name == "qrels" else ", nor a `collection`"))
        elif place is not None and not _may_exist(name, place):
            problems.append(f"`{name}`: {place} does not exist")
    for name, number in (("depth", depth), ("limit", limit)):
        if number is not None and number < 1:
            problems.append(f"`{name}` is {number}, not 1 or more")
    columns: list[Measure] = []
    try:
        columns = parse_measures([measure])
    except GradirError as error:
        problems.append("`measure`: " + " ".join(str(error).split()))
    if len(columns) > 1 or any(column.is_count for column in columns):
        problems.append(f"`measure`: {measure} is not one number to compare by; write it as in nDCG@10")
    elif columns and not places["run"] and columns[0].parameter.isdigit() and int(columns[0].parameter) > depth:
        problems.append(f"`measure`: {measure} looks deeper than the {depth} documents of `depth`")
    if problems:
        raise GradirError("dev: " + "\n  ".join(problems))
    return columns[0]


def _may_exist(name: str, place: str | Path) -> bool:
    """Whether a file is there, or it can be a name that is not a file's."""
    if Path(place).exists() or named.is_ir_datasets(place):
        return True
    return name in ("queries", "qrels") and named.is_pyserini_name(place)


def documents_of(run: str | Path, qids: Sequence[str]) -> dict[str, list[str]]:
    """All documents of the run for these queries, best first.

    Raises:
        InputError: It has none of the queries.
    """
    wanted = set(qids)
    found = {qid: list(ranking.docids) for qid, ranking in iter_rankings(run) if qid in wanted}
    if not found:
        raise InputError(run, "holds none of the judged queries", "Do run and qrels belong to the same topics?")
    return found


def pool_texts(
    run: str | Path, corpus: str, found: Mapping[str, Sequence[str]], depth: int
) -> tuple[list[str], list[str]]:
    """(ids, texts) of the documents of all pools, in the order of the corpus.

    Raises:
        InputError: One is not in the corpus.
    """
    wanted = {docid for docids in found.values() for docid in docids[:depth]}
    kept = {document.docid: document.contents for document in read_corpus(corpus) if document.docid in wanted}
    missing = sorted(wanted.difference(kept))
    if missing:
        more = f" (nor are {len(missing) - 1} more)" if len(missing) > 1 else ""
        problem = f"document {missing[0]} is not in {corpus}{more}"
        raise InputError(run, problem, "Do run and corpus belong together?")
    return list(kept), list(kept.values())
