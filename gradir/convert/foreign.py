"""What every reader of foreign vectors gives, and which reader a path is for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from gradir.data.vectors import Kind, Vectors
from gradir.errors import InputError

# (docids, vectors), in the order of the source; of any number of documents.
Block = tuple[list[str], Vectors]


@dataclass(frozen=True)
class Foreign:
    """Vectors that others made, opened.

    Attributes:
        what: What they are, in words.
        kind: `dense` or `splade`.
        total: How many documents, where that is known.
        inputs: The files that decide the result.
        terms: Every term that a document has, with repetitions; nothing for dense vectors.
        blocks: Reads the vectors, given the id of each term.
        note: What the user should know, a line.
    """

    what: str
    kind: Kind
    total: int | None
    inputs: list[Path]
    terms: Callable[[], Iterable[str]]
    blocks: Callable[[Mapping[str, int]], Iterator[Block]]
    note: str = ""


def open_foreign(path: Path) -> Foreign:
    """The reader of a path.

    Args:
        path: `embeddings.jsonl` or a folder of such files, a FAISS folder (`index` and `docid`), or a Lucene index.

    Raises:
        InputError: It is none of these.
    """
    from gradir.convert import embeddings, faiss_folder, lucene_index

    if not path.exists():
        raise InputError(path, "no such file or folder", "Check the path")
    names = {file.name for file in path.iterdir()} if path.is_dir() else set()
    if {"index", "docid"} <= names:
        return faiss_folder.open_folder(path)
    if any(name.startswith("segments_") for name in names):
        return lucene_index.open_index(path)
    if path.is_file() or embeddings.files(path):
        return embeddings.open_files(path)
    problem = "holds neither embeddings (*.jsonl) nor a FAISS index (index, docid) nor a Lucene index (segments_…)"
    raise InputError(path, problem, "Name what pyserini.encode or pyserini.index wrote")


def term_id(ids: Mapping[str, int], term: str, place: Path, docid: str = "", line: int | None = None) -> int:
    """The id of a term.

    Raises:
        InputError: It is not in the vocabulary of the encoder.
    """
    found = ids.get(term)
    if found is None:
        holder = f"document {docid} has" if docid else "it has"
        fix = "Give the --encoder that these vectors were made with, or none"
        raise InputError(place, f"{holder} the term {term!r}, which the encoder's vocabulary lacks", fix, line)
    return found
