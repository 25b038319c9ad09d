"""What parts become in the end: the files that Pyserini reads. Vector shards need nothing more."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

from gradir.errors import GradirError, InputError, MissingDependency

Format = Literal["shards", "pyserini", "faiss", "tokens", "pickle"]
_OF_TOPICS = ("tokens", "pickle")
_NEEDS = {"faiss": "dense", "pickle": "dense", "tokens": "splade"}


def check_format(format: Format, side: str, kind: str) -> None:
    """Refuse a format that cannot hold these vectors.

    Args:
        format: As asked for.
        side: `query` or `passage`.
        kind: `dense`, `splade`, or another word where it is not known yet.

    Raises:
        GradirError: What to ask for instead.
    """
    if format in _OF_TOPICS and side != "query":
        raise GradirError(f"--format {format} is for topics. Give pyserini, faiss or shards for a corpus.")
    needed = _NEEDS.get(format, kind)
    if kind in ("dense", "splade") and kind != needed:
        instead = "pyserini or shards" if side == "passage" else "pyserini, tokens or shards"
        fits = instead if kind == "splade" else "pickle, pyserini or shards"
        raise GradirError(f"--format {format} holds {needed} vectors, these are {kind}. Give {fits}.")


def finish(format: Format, output: Path, parts: Any, side: str, texts: Iterator[str], total: int) -> None:
    """Make the format's files from whole parts; each file appears whole.

    Args:
        format: What to make.
        output: Its folder.
        parts: What was written: `LineParts` for pyserini, otherwise vector shards.
        side: `query` or `passage`.
        texts: The text of each row again, in order (pickle keeps them).
        total: Rows in all parts.
    """
    from tqdm import tqdm

    if format == "shards":
        return
    with tqdm(desc=f"write ({format})", total=total, unit=" texts", smoothing=0.05) as bar:
        if format == "pyserini":
            _lines(output / ("embeddings.jsonl" if side == "passage" else "queries.jsonl"), parts, bar.update)
        elif format == "faiss":
            _faiss(output, parts.folder, bar.update)
        elif format == "tokens":
            _tokens(output / "queries.tsv", parts.folder, bar.update)
        else:
            _pickle(output / "embedding.pkl", parts.folder, texts, bar.update)


def _lines(path: Path, parts: Any, progress: Callable[[int], object]) -> None:
    """All lines in one file."""
    from gradir.data.atomic import new_path

    with new_path(path) as temporary, temporary.open("wb") as stream:
        number = 0
        while parts.path(number).exists():
            for line in parts.lines(number):
                stream.write(line)
                progress(1)
            number += 1


def _faiss(output: Path, folder: Path, progress: Callable[[int], object]) -> None:
    """`index` (flat, inner product) and `docid` (an id a line); one part is in memory at a time."""
    from gradir.data.atomic import new_path, new_text
    from gradir.data.flat_index import write_flat_index
    from gradir.data.vectors import VectorShards

    shards = VectorShards(folder)
    with new_text(output / "docid") as stream:
        for file, (docids, _) in zip(shards.files, shards.dense_parts(), strict=True):
            for docid in docids:
                if docid.rstrip() != docid or "\n" in docid or "\r" in docid:  # Pyserini strips the end of a line
                    raise InputError(file, f"id {docid!r} does not fit on a line", "Give --format shards")
                stream.write(docid + "\n")
    blocks = (vectors for _, vectors in shards.dense_parts())
    size = next(vectors.shape[1] for _, vectors in shards.dense_parts())
    with new_path(output / "index") as temporary:
        write_flat_index(temporary, len(shards), size, blocks, progress)


def _tokens(path: Path, folder: Path, progress: Callable[[int], object]) -> None:
    """`qid<TAB>term term term`, each term as often as its impact says: what Pyserini searches without an encoder.

    Raises:
        InputError: A term holds white space, or a query no term: such a line would be another query, or none.
    """
    from gradir.data.atomic import new_text
    from gradir.data.vectors import VectorShards

    shards = VectorShards(folder)
    vocab = shards.vocab()
    with new_text(path) as stream:
        for qids, vectors in shards.sparse_parts():
            for row, qid in enumerate(qids):
                terms, impacts = vectors.row(row)
                words = [vocab[term] for term in terms.tolist()]
                broken = next((word for word in words if word.split() != [word]), None)
                if broken is not None or not words:
                    problem = f"has the term {broken!r}, white space and all" if words else "has no terms"
                    raise InputError(path, f"query {qid} {problem}", "Give --format pyserini")
                repeated = (f"{word} " * impact for word, impact in zip(words, impacts.tolist(), strict=True))
                stream.write(f"{qid}\t{''.join(repeated).rstrip()}\n")
                progress(1)


def _pickle(path: Path, folder: Path, texts: Iterator[str], progress: Callable[[int], object]) -> None:
    """The data frame `id, text, embedding` of Pyserini's `--encoded-queries`. All queries are in memory.

    Raises:
        MissingDependency: pandas is not installed.
    """
    from gradir.data.atomic import new_path
    from gradir.data.vectors import VectorShards

    try:
        import pandas
    except ImportError:
        raise MissingDependency("pandas", "--format pickle", "pip install pandas") from None
    qids: list[str] = []
    rows: list[Any] = []
    for found, vectors in VectorShards(folder).dense_parts():
        qids += found
        rows += list(vectors)
        progress(len(found))
    frame = pandas.DataFrame({"id": qids, "text": list(texts), "embedding": rows})
    with new_path(path) as temporary:
        frame.to_pickle(temporary)


def next_command(format: Format, output: Path, side: str, topics: str, encoder: str, kind: str) -> str:
    """What to type after encoding.

    Args:
        format: What was made.
        output: Where it is.
        side: `query` or `passage`.
        topics: The topics that were encoded, or a placeholder.
        encoder: As given.
        kind: `dense` or `splade`.
    """
    folder, topics_and_run = str(output), ["--topics", topics, "--output", "RUN"]
    lucene = ["pyserini", "search.lucene", "--impact", "--index", "INDEX"]
    if format == "shards" and side == "passage":
        words = [
            "index",
            "--input",
            folder,
            "--type",
            "impact" if kind == "splade" else "flat",
            "--output",
            "index/NAME",
        ]
    elif format == "shards":
        words = ["search", "--index", "INDEX", "--topics", topics, "--encoder", encoder, "--output", "RUN"]
    elif format == "faiss":
        words = ["search", "--index", folder, "--topics", "TOPICS", "--encoder", encoder, "--output", "RUN"]
    elif format == "tokens":
        words = [*lucene, "--topics", f"{folder}/queries.tsv", "--output", "RUN"]
    elif format == "pickle":
        words = ["pyserini", "search.faiss", "--index", "INDEX", "--encoded-queries", folder, *topics_and_run]
    elif side == "query":
        words = [*lucene, "--encoder", f"{folder}/queries.jsonl", *topics_and_run]
    elif kind == "dense":
        words = ["pyserini", "index.faiss", "--input", folder, "--output", "INDEX", "--dim", "DIMENSIONS"]
    else:
        words = [
            "pyserini",
            "index.lucene",
            "--collection",
            "JsonVectorCollection",
            "--input",
            folder,
            "--index",
            "INDEX",
        ]
        words += ["--generator", "DefaultLuceneDocumentGenerator", "--threads", "2", "--impact", "--pretokenized"]
    return shlex.join(["gradir", *words])
