"""Collections known by name: `ir_datasets:NAME`, and the topics and qrels that Pyserini knows. Both may download."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from gradir.data.records import Document, Qrel, Query
from gradir.data.text import suffix
from gradir.errors import InputError, MissingDependency

_PREFIX = "ir_datasets:"
_FILE_ENDINGS = (".jsonl", ".json", ".tsv", ".txt", ".trec", ".xml", ".topics", ".qrels", ".gz", ".zst")
_T = TypeVar("_T")


def is_ir_datasets(name: str | Path) -> bool:
    """Whether the name asks for ir_datasets."""
    return str(name).startswith(_PREFIX)


def is_pyserini_name(name: str | Path) -> bool:
    """Whether this can be a name that Pyserini knows: no file, no path, no file's ending.

    Dots say nothing: `beir-v1.0.0-scifact-test` is such a name.
    """
    plain = Path(name).name == str(name) and suffix(name) not in _FILE_ENDINGS
    return plain and not Path(name).exists()


def ir_datasets_corpus(name: str) -> Iterator[Document]:
    """The documents of `ir_datasets:NAME`."""
    for doc in _ir_datasets(name, "docs"):
        text = getattr(doc, "text", None)
        if text is None:  # default_text joins whatever fields there are, the title among them
            yield Document(str(doc.doc_id), doc.default_text())
        else:
            yield Document(str(doc.doc_id), text, getattr(doc, "title", "") or "")


def ir_datasets_topics(name: str) -> Iterator[Query]:
    """The queries of `ir_datasets:NAME`."""
    for query in _ir_datasets(name, "queries"):
        yield Query(str(query.query_id), query.default_text())


def ir_datasets_qrels(name: str) -> Iterator[Qrel]:
    """The judgements of `ir_datasets:NAME`."""
    for qrel in _ir_datasets(name, "qrels"):
        yield Qrel(str(qrel.query_id), str(qrel.doc_id), int(qrel.relevance))


def _ir_datasets(name: str, part: str) -> Iterator[Any]:
    """The records of one part (`docs`, `queries`, `qrels`) of a data set."""
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
    try:
        yield from getattr(dataset, f"{part}_iter")()
    except (OSError, RuntimeError) as error:  # downloads fail in both ways, and damaged files in the second
        fix = "Is the network there? Else put the file where ir_datasets looks for it"
        raise InputError(name, f"ir_datasets could not read its {part} ({error})", fix) from None


def pyserini_topics(name: str) -> Iterator[Query]:
    """The topics that Pyserini has under this name; the title is the query."""

    def get() -> Any:
        from pyserini.search import get_topics

        return get_topics(name)

    for qid, fields in _ask_pyserini(name, "topics", get).items():
        if "title" not in fields:
            problem = f"topic {qid} has no title, only {', '.join(fields)}"
            raise InputError(name, problem, "Write the topics to a .tsv file: qid<TAB>text")
        yield Query(str(qid), fields["title"])


def pyserini_qrels_file(name: str) -> Path:
    """The qrels file that Pyserini has under this name."""

    def get() -> Any:
        from pyserini.search import get_qrels_file

        return get_qrels_file(name)

    return Path(_ask_pyserini(name, "qrels", get))


def _ask_pyserini(name: str, what: str, get: Callable[[], _T]) -> _T:
    """`get()` with the JVM ready. Without Pyserini the name can only have been meant as a file."""
    if importlib.util.find_spec("pyserini") is None:
        raise InputError(name, "no such file", "Check the path; names that Pyserini knows need gradir[lucene]")
    from gradir import jvm

    jvm.ensure()
    from jnius import JavaException

    try:
        return get()
    except (ValueError, FileNotFoundError):  # Pyserini's words for a name it does not know
        raise InputError(name, f"no such file, and Pyserini knows no {what} of this name", "Check the name") from None
    except (OSError, JavaException) as error:
        cause = str(error).splitlines()[0]
        fix = f"Is the network there? Else fetch the file elsewhere and name it with --{what}"
        raise InputError(name, f"Pyserini could not fetch these {what} ({cause})", fix) from None
