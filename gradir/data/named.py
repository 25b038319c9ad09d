"""Collections known by name: `ir_datasets:NAME`, and the topics and qrels that Pyserini knows. Both may download."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gradir.data.records import Document, Qrel, Query
from gradir.errors import InputError, MissingDependency

_PREFIX = "ir_datasets:"


def is_ir_datasets(name: str | Path) -> bool:
    """Whether the name asks for ir_datasets."""
    return str(name).startswith(_PREFIX)


def ir_datasets_corpus(name: str) -> Iterator[Document]:
    """The documents of `ir_datasets:NAME`."""
    for doc in _ir_dataset(name, "docs").docs_iter():
        title = getattr(doc, "title", "") or ""
        text = getattr(doc, "text", None)
        yield Document(doc.doc_id, doc.default_text() if text is None else text, title if text is not None else "")


def ir_datasets_topics(name: str) -> Iterator[Query]:
    """The queries of `ir_datasets:NAME`."""
    for query in _ir_dataset(name, "queries").queries_iter():
        yield Query(query.query_id, query.default_text())


def ir_datasets_qrels(name: str) -> Iterator[Qrel]:
    """The judgements of `ir_datasets:NAME`."""
    for qrel in _ir_dataset(name, "qrels").qrels_iter():
        yield Qrel(qrel.query_id, qrel.doc_id, int(qrel.relevance))


def _ir_dataset(name: str, part: str) -> Any:
    try:
        import ir_datasets
    except ImportError:
        raise MissingDependency("ir_datasets", f"Reading {name}", "pip install ir_datasets") from None
    try:
        dataset = ir_datasets.load(name.removeprefix(_PREFIX))
    except KeyError:
        raise InputError(name, "ir_datasets knows no such dataset", "List them: ir_datasets list") from None
    if not getattr(dataset, f"has_{part}")():
        raise InputError(name, f"has no {part}", "Name the subset that has them (…/test)")
    return dataset


def pyserini_topics(name: str) -> Iterator[Query]:
    """The topics that Pyserini has under this name; the title is the query."""
    _pyserini(name)
    from pyserini.search import get_topics

    try:
        topics = get_topics(name)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(name, f"Pyserini could not read these topics ({error})", "Is the network there?") from None
    for qid, fields in topics.items():
        yield Query(str(qid), fields["title"])


def pyserini_qrels_file(name: str) -> Path:
    """The qrels file that Pyserini has under this name."""
    _pyserini(name)
    from pyserini.search import get_qrels_file

    try:
        return Path(get_qrels_file(name))
    except (OSError, ValueError, KeyError) as error:
        raise InputError(name, f"Pyserini could not read these qrels ({error})", "Is the network there?") from None


def _pyserini(name: str) -> None:
    """Get the JVM ready, unless Pyserini is not installed: then the name can only have been meant as a file."""
    import importlib.util

    if importlib.util.find_spec("pyserini") is None:
        raise InputError(name, "no such file", "Check the path; names that Pyserini knows need gradir[lucene]")
    from gradir import jvm

    jvm.ensure()
