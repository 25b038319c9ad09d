"""Texts in, vector shards out: one window of texts at a time becomes one part, so memory does not grow with the corpus."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from gradir.command import Outcome
from gradir.errors import GradirError

if TYPE_CHECKING:
    from gradir.data.manifest import Job
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
    from gradir.data.manifest import Job
    from gradir.engine.encoder import Encoder

    changes: dict[str, Any] = {"kind": kind, "pooling": pooling, "trust_remote_code": trust_remote_code}
    side: Literal["query", "passage"] = "passage" if topics is None else "query"
    changes[f"max_{side}_length"] = max_length
    opened = Encoder.open(encoder, device, dtype, batch_tokens, **changes)
    source = str(topics if corpus is None else corpus)
    config = {"side": side, "limit": limit, "part_size": PART_SIZE, **opened.description()}
    job = Job(output, "gradir encode", config, [_source_path(source, side)], overwrite, resumable=True)
    then = f"gradir index --input {output} --type {'impact' if opened.config.kind == 'splade' else 'flat'} --output index/NAME"
    then = f"gradir search --index INDEX --topics {topics} --encoder {encoder} --output RUN" if topics else then
    if job.finished:
        return Outcome(output, f"{output} is finished already; nothing to do", then)
    message = _encode(opened, _texts(source, side, limit), side, output, job)
    return Outcome(output, message, then)


def _source_path(source: str, side: str) -> str | Path:
    """The file that decides the result: of a BEIR folder only the one that is read."""
    name = "corpus.jsonl" if side == "passage" else "queries.jsonl"
    path = Path(source) / name
    return path if path.exists() else source


def _texts(source: str, side: str, limit: int | None) -> Iterator[tuple[str, str]]:
    """(id, text) in file order."""
    from gradir.data.corpus import read_corpus
    from gradir.data.topics import read_topics

    if side == "query":
        return ((query.qid, query.text) for query in islice(read_topics(source), limit))
    return ((document.docid, document.contents) for document in islice(read_corpus(source), limit))


def _encode(
    encoder: Encoder, texts: Iterator[tuple[str, str]], side: Literal["query", "passage"], output: Path, job: Job
) -> str:
    """Write all parts; returns a line on what was done."""
    from tqdm import tqdm

    from gradir.data.vectors import SparseVectors, part_path, read_part, write_part, write_vocab

    metadata = encoder.description()
    if encoder.config.kind == "splade":
        write_vocab(output, encoder.vocab())
    total = postings = empty = number = 0
    started, fresh = time.perf_counter(), 0
    with tqdm(desc=f"encode ({metadata['dtype']})", unit=" texts", smoothing=0.05) as bar:
        while window := list(islice(texts, PART_SIZE)):
            docids = [docid for docid, _ in window]
            if part_path(output, number).exists():
                found, vectors = read_part(part_path(output, number))
                if found != docids:
                    raise GradirError(f"{part_path(output, number)}: other ids than in the input. Give --overwrite.")
                bar.initial += len(window)
            else:
                vectors = encoder.encode([text for _, text in window], side, progress=bar.update)
                write_part(output, number, docids, vectors, metadata)
                fresh += len(window)
            if isinstance(vectors, SparseVectors):
                postings += len(vectors.terms)
                empty += int((vectors.indptr[1:] == vectors.indptr[:-1]).sum())
            total, number = total + len(window), number + 1
            bar.set_postfix_str(_rates(encoder, started, postings, total))
    seconds = time.perf_counter() - started
    counts = {"texts": total, "postings": postings, "empty": empty} if postings else {"texts": total}
    measured = {"texts_per_second": round(fresh / seconds, 1), "tokens_per_second": round(encoder.tokens / seconds)}
    job.finish(counts, measured)
    speed = (
        f"{fresh / seconds:.0f} texts/s, {_rates(encoder, started, postings, total)}"
        if fresh
        else "all parts were there"
    )
    return f"{output}: {total} vectors, {metadata['dtype']}, {speed}"


def _rates(encoder: Encoder, started: float, postings: int, texts: int) -> str:
    tokens = f"{encoder.tokens / (time.perf_counter() - started):.0f} tokens/s"
    return f"{tokens}, {postings / texts:.0f} active terms" if postings else tokens
