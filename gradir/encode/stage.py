"""Texts in, vector shards out: one window of texts at a time becomes one part, so memory does not grow with the corpus."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from gradir.command import Outcome
from gradir.errors import GradirError, InputError

if TYPE_CHECKING:
    from gradir.data.manifest import Job
    from gradir.data.vectors import SparseVectors, Vectors
    from gradir.engine.encoder import Encoder

# Texts of a part: the window in which they are sorted by length, and what a kill can cost.
PART_SIZE = 4096


def run(
    encoder: str,
    output: Path,
    corpus: str | None = None,
    topics: str | None = None,
    kind: Literal["dense", "splade"] | None = None,
    pooling: Literal["mean", "cls", "max"] | None = None,
    max_length: int | None = None,
    device: str = "auto",
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto",
    batch_tokens: int | None = None,
    limit: int | None = None,
    trust_remote_code: bool = False,
    overwrite: bool = False,
) -> Outcome:
    """Encode a corpus or topics into vector shards.

    Dense vectors become float32 rows, SPLADE vectors rows of term ids and impacts. An interrupted run goes on where it stopped.

    Args:
        encoder: Encoder folder (gradir, sentence-transformers, Hugging Face) or hub name.
        output: Folder for the vector shards.
        corpus: BEIR folder, corpus file (JSONL, TSV, .gz, .zst), folder of such files, or ir_datasets:NAME.
        topics: Queries instead of a corpus: JSONL, TSV, TREC topics, or a name that Pyserini knows.
        kind: What the encoder is, where its folder does not say.
        pooling: How token states become one vector, where its folder does not say.
        max_length: Tokens of a text, special ones included; the encoder's own length if not given.
        device: auto, cpu, cuda:0 and so on.
        dtype: Number format of the model; auto is bfloat16 where that is much faster.
        batch_tokens: Padded tokens of a batch; chosen by device if not given.
        limit: Encode only the first so many texts.
        trust_remote_code: Allow the model's own Python code to run.
        overwrite: Start afresh where the output exists.
    """
    if (corpus is None) == (topics is None):
        raise GradirError("give either --corpus or --topics.")
    if limit is not None and limit < 1:
        raise GradirError(f"--limit {limit}: give a number above 0.")
    from gradir.data.manifest import Job
    from gradir.engine.encoder import Encoder

    side: Literal["query", "passage"] = "passage" if topics is None else "query"
    source = str(topics if corpus is None else corpus)
    inputs = _inputs(source, side)
    texts = _opened(_texts(source, side, limit))
    changes: dict[str, Any] = {"kind": kind, "pooling": pooling, f"max_{side}_length": max_length}
    opened = Encoder.open(encoder, device, dtype, batch_tokens, trust_remote_code=trust_remote_code, **changes)
    config = {"side": side, "limit": limit, "part_size": PART_SIZE, **opened.description()}
    job = Job(output, "gradir encode", config, inputs, overwrite, resumable=True)
    then = _next_command(output, topics, encoder, opened.config.kind)
    if job.finished:
        return Outcome(output, f"{output} is finished already; nothing to do", then)
    return Outcome(output, _encode(opened, texts, side, job, _total(source, side, limit)), then)


def _next_command(output: Path, topics: str | None, encoder: str, kind: str) -> str:
    if topics:
        words = ["--index", "INDEX", "--topics", topics, "--encoder", encoder, "--output", "RUN"]
        return shlex.join(["gradir", "search", *words])
    words = ["--input", str(output), "--type", "impact" if kind == "splade" else "flat", "--output", "index/NAME"]
    return shlex.join(["gradir", "index", *words])


def _inputs(source: str, side: str) -> list[str | Path]:
    """The files that decide the result: of a BEIR folder only those that are read."""
    from gradir.data.corpus import corpus_files

    if side == "passage":
        return list(corpus_files(source))
    queries = Path(source) / "queries.jsonl"
    return [queries if queries.exists() else source]


def _texts(source: str, side: str, limit: int | None) -> Iterator[tuple[str, str]]:
    """(id, text) in file order."""
    from gradir.data.corpus import read_corpus
    from gradir.data.topics import read_topics

    if side == "query":
        return ((query.qid, query.text) for query in islice(read_topics(source), limit))
    return ((document.docid, document.contents) for document in islice(read_corpus(source), limit))


def _total(source: str, side: str, limit: int | None) -> int | None:
    """How many texts there will be, where that can be told quickly."""
    from gradir.data.corpus import count_documents
    from gradir.data.topics import read_topics

    total = count_documents(source) if side == "passage" else sum(1 for _ in read_topics(source))
    return total if total is None or limit is None else min(total, limit)


def _opened(texts: Iterator[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """The same texts, the first one read: a wrong path shall not wait for the model to load."""
    return chain(list(islice(texts, 1)), texts)


@dataclass
class _Counts:
    """What has been written; `postings` and `empty` of sparse vectors only."""

    sparse: bool
    texts: int = 0
    postings: int = 0
    empty: int = 0

    def add(self, vectors: Vectors) -> None:
        self.texts += len(vectors)
        if self.sparse:
            sparse = cast("SparseVectors", vectors)
            self.postings += len(sparse.terms)
            self.empty += int((sparse.indptr[1:] == sparse.indptr[:-1]).sum())

    def as_dict(self) -> dict[str, int]:
        return (
            {"texts": self.texts, "postings": self.postings, "empty": self.empty}
            if self.sparse
            else {"texts": self.texts}
        )


def _encode(
    encoder: Encoder,
    texts: Iterator[tuple[str, str]],
    side: Literal["query", "passage"],
    job: Job,
    total: int | None,
) -> str:
    """Write all parts; returns a line on what was done."""
    from tqdm import tqdm

    from gradir.data.vectors import write_part, write_vocab

    output, metadata = job.output, encoder.description()
    counts = _Counts(encoder.config.kind == "splade")
    if counts.sparse:
        with _writing(output):
            write_vocab(output, encoder.vocab())
    windows = enumerate(iter(lambda: list(islice(texts, PART_SIZE)), []))
    pending = chain(_pass_over(windows, output, counts), windows)
    found, started = counts.texts, time.perf_counter()
    bar = tqdm(desc=f"encode ({metadata['dtype']})", unit=" texts", smoothing=0.05, total=total, initial=found)
    with bar:  # begins at what was found, so that its rate is that of this process
        for number, window in pending:
            docids = [docid for docid, _ in window]
            vectors = _vectors(encoder, window, side, bar.update)
            with _writing(output):
                write_part(output, number, docids, vectors, metadata)
            counts.add(vectors)
            bar.set_postfix_str(_rates(encoder, started, counts))
    seconds, fresh = time.perf_counter() - started, counts.texts - found
    measured = {"texts_per_second": round(fresh / seconds, 1), "tokens_per_second": round(encoder.tokens / seconds)}
    with _writing(output):
        job.finish(counts.as_dict(), measured)
    speed = f"{fresh / seconds:.0f} texts/s, {_rates(encoder, started, counts)}" if fresh else "all parts were there"
    return f"{output}: {counts.texts} vectors, {metadata['dtype']}, {speed}"


_Window = tuple[int, list[tuple[str, str]]]


def _pass_over(windows: Iterator[_Window], output: Path, counts: _Counts) -> list[_Window]:
    """Count the parts that an interrupted run left; returns the first window that has none, if any.

    Raises:
        GradirError: A part holds other documents than the input.
    """
    from gradir.data.vectors import part_path, read_part

    for number, window in windows:
        path = part_path(output, number)
        if not path.exists():
            return [(number, window)]
        docids, vectors = read_part(path)
        if docids != [docid for docid, _ in window]:
            raise GradirError(f"{path}: other ids than in the input. Give --overwrite.")
        counts.add(vectors)
    return []


def _vectors(
    encoder: Encoder,
    window: list[tuple[str, str]],
    side: Literal["query", "passage"],
    progress: Callable[[int], object],
) -> Vectors:
    """The vectors of a window; an unsound one is named by its id."""
    from gradir.engine.encoder import UnsoundVector

    try:
        return encoder.encode([text for _, text in window], side, progress=progress)
    except UnsoundVector as error:
        what = "query" if side == "query" else "document"
        raise UnsoundVector(error.row, f"{what} {window[error.row][0]}") from None


@contextmanager
def _writing(output: Path) -> Iterator[None]:
    """A full disk is the user's to mend, and the parts that are whole are kept."""
    try:
        yield
    except OSError as error:
        problem = f"cannot be written ({error.strerror or error})"
        raise InputError(output, problem, "Make room there; the same command goes on where it stopped") from None


def _rates(encoder: Encoder, started: float, counts: _Counts) -> str:
    tokens = f"{encoder.tokens / (time.perf_counter() - started):.0f} tokens/s"
    return f"{tokens}, {counts.postings / counts.texts:.0f} active terms" if counts.sparse else tokens
