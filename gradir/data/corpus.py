"""Corpora: BEIR and Pyserini JSONL, MS MARCO TSV, folders of them, `ir_datasets:NAME`; always as a stream."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from gradir.data import named
from gradir.data.ids import Duplicates, check_id
from gradir.data.jsonl import read_objects, text_field, write_objects
from gradir.data.records import Document
from gradir.data.text import Lines, suffix
from gradir.errors import InputError

_ENDINGS = (".jsonl", ".json", ".tsv")
_ID = ("_id", "id", "docid")
_NO_DOCUMENTS = ("queries", "topics", "qrels", "manifest")  # first words of files that lie beside documents


def corpus_files(corpus: str | Path) -> list[Path]:
    """The files of a corpus, in reading order.

    Args:
        corpus: A BEIR folder (its `corpus.jsonl`), a folder of JSONL or TSV files (in name order), or one such file.
    """
    path = Path(corpus)
    if not path.is_dir():
        return [path]
    for name in ("corpus.jsonl", "corpus.jsonl.gz", "corpus.jsonl.zst"):
        if (path / name).exists():
            return [path / name]
    files = sorted(file for file in path.iterdir() if file.is_file() and _holds_documents(file))
    if not files:
        raise InputError(path, "holds no corpus", "Expected corpus.jsonl, or files ending in .jsonl, .json or .tsv")
    return files


def _holds_documents(file: Path) -> bool:
    beside = file.name.split(".")[0] in _NO_DOCUMENTS or file.name.endswith(".manifest.json")
    return suffix(file) in _ENDINGS and not beside and not file.name.startswith(".")


def count_documents(corpus: str | Path) -> int | None:
    """How many documents there are, for a progress bar: the lines of plain files; None where counting would mean decompressing
    or downloading."""
    if named.is_ir_datasets(corpus):
        return None
    return count_lines(corpus_files(corpus))


def count_lines(files: Sequence[Path]) -> int | None:
    """Lines of all files; None if one is compressed or not there."""
    if any(not file.is_file() or file.suffix in (".gz", ".zst") for file in files):
        return None
    return sum(_count_lines(file) for file in files)


def _count_lines(file: Path) -> int:
    count, last = 0, b"\n"
    with file.open("rb") as stream:
        while block := stream.read(1 << 22):
            count, last = count + block.count(b"\n"), block[-1:]
    return count + (last != b"\n")


def read_corpus(corpus: str | Path) -> Iterator[Document]:
    """Documents in file order, streamed; eight bytes each are kept to find duplicate ids.

    Reads BEIR JSONL (`_id, title, text`), Pyserini JSONL (`id, contents`), MS MARCO TSV (`docid<TAB>text` or
    `docid<TAB>title<TAB>text`), each also as gzip or zstd, folders of these, and `ir_datasets:NAME`. A document with
    empty text is kept.

    Raises:
        InputError: Malformed line, missing or duplicate id, white space in an id, not UTF-8, no documents at all.
    """
    seen, count = Duplicates("document id"), 0
    for path, line, document in _read(corpus):
        check_id(path, line, document.docid, "document id")
        seen.add(path, line, document.docid)
        count += 1
        yield document
    seen.finish()
    if not count:
        raise InputError(corpus, "holds no documents", "Is it the right file?")


def write_corpus(path: str | Path, documents: Iterable[Document]) -> int:
    """Write BEIR JSONL (`_id, title, text`); returns the number of documents.

    Raises:
        InputError: An id is empty or holds white space; nothing is written then.
    """
    return write_objects(
        path,
        (
            {"_id": check_id(path, line, d.docid, "document id"), "title": d.title, "text": d.text}
            for line, d in enumerate(documents, 1)
        ),
    )


def _read(corpus: str | Path) -> Iterator[tuple[str | Path, int, Document]]:
    if named.is_ir_datasets(corpus):
        for number, document in enumerate(named.ir_datasets_corpus(str(corpus)), 1):
            yield str(corpus), number, document
        return
    for path in corpus_files(corpus):
        for line, document in _read_tsv(path) if suffix(path) == ".tsv" else _read_jsonl(path):
            yield path, line, document


def _read_jsonl(path: Path) -> Iterator[tuple[int, Document]]:
    for line, value in read_objects(path):
        docid = text_field(path, line, value, _ID)
        text = text_field(path, line, value, ("text", "contents"))
        title = text_field(path, line, value, ("title",), default="")
        yield line, Document(docid, text, title)


def _read_tsv(path: Path) -> Iterator[tuple[int, Document]]:
    lines = Lines(path)
    for text in lines:
        if not text:
            continue
        columns = text.split("\t")
        if len(columns) not in (2, 3):
            problem = f"{len(columns)} column{'s' if len(columns) > 1 else ''}"
            raise lines.fail(problem, "Expected docid<TAB>text or docid<TAB>title<TAB>text")
        yield lines.number, Document(columns[0], columns[-1], columns[1] if len(columns) == 3 else "")
