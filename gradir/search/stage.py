"""`gradir search`: topics and an index in, a TREC run out."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from gradir.command import Outcome
from gradir.errors import GradirError

if TYPE_CHECKING:
    from gradir.data.records import Hit, Query
    from gradir.engine.encoder import Encoder
    from gradir.search.searchers import Search

# What must agree between the encoder of an index and that of the queries.
_SHARED = ("kind", "impact_scale", "tokenizer_sha256", "weights_sha256", "normalize", "pooling")


def run(
    index: Path,
    topics: str,
    output: Path,
    encoder: str | None = None,
    qrels: str | None = None,
    hits: int = 1000,
    batch_size: int = 128,
    threads: int | None = None,
    max_length: int | None = None,
    device: str = "auto",
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto",
    remove_query: bool = False,
    tag: str | None = None,
    force: bool = False,
    overwrite: bool = False,
) -> Outcome:
    """Search topics in an index and write a TREC run.

    Args:
        index: Folder written by gradir index.
        topics: Queries: JSONL, TSV, TREC topics, a BEIR folder, or a name that Pyserini knows.
        output: The run file.
        encoder: Encoder folder or hub name that the index was made with; bm25 needs none.
        qrels: Search only the queries judged here.
        hits: Documents kept for a query.
        batch_size: Queries at a time.
        threads: Threads that search; all cores if not given.
        max_length: Tokens of a query, special ones included; the encoder's own length if not given.
        device: auto, cpu, cuda:0 and so on.
        dtype: Number format of the model; auto is bfloat16 where that is much faster.
        remove_query: Leave out a document whose id is the query's (ArguAna, Quora).
        tag: Last column of the run; gradir.ENCODER.HASH if not given.
        force: Search with another encoder than the index was made with.
        overwrite: Start afresh where the output exists.
    """
    from gradir.data.manifest import Job, read_manifest

    manifest = read_manifest(index)
    described = manifest["config"]
    opened = _open_encoder(index, described, encoder, max_length, device, dtype, force)
    config: dict[str, Any] = {"hits": hits, "remove_query": remove_query, "batch_size": batch_size}
    # An index's files differ from one writing to the next; what it was made from does not.
    config["index"] = described | {"inputs": [known.get("sha256") for known in manifest["inputs"]]}
    config["encoder"] = opened.description() if opened else None
    tag = tag or f"gradir.{_name(encoder or described['type'])}.{_digest(config)}"
    inputs = [_topics_path(topics), *([qrels] if qrels else [])]
    job = Job(output, "gradir search", config | {"tag": tag}, inputs, overwrite)
    then = f"gradir evaluate --qrels {qrels or 'QRELS'} --run {output}"
    if job.finished:
        return Outcome(output, f"{output} is finished already; nothing to do", then)
    from gradir.search.searchers import open_searcher

    search = open_searcher(described["type"], index, opened, threads or os.cpu_count() or 1)
    queries, found, seconds = _write_run(search, _queries(topics, qrels), output, tag, hits, batch_size, remove_query)
    job.finish({"queries": queries, "hits": found}, {"queries_per_second": round(queries / seconds, 1)})
    return Outcome(output, f"{output}: {queries} queries, {found} hits, {queries / seconds:.1f} queries/s", then)


def _open_encoder(
    index: Path,
    described: dict[str, Any],
    encoder: str | None,
    max_length: int | None,
    device: str,
    dtype: str,
    force: bool,
) -> Encoder | None:
    """The query encoder, which must be the one that the index was made with.

    Raises:
        GradirError: No encoder where one is needed, or another one without `force`.
    """
    made_with = described.get("encoder")
    if made_with is None:
        return None
    if encoder is None:
        raise GradirError(
            f"{index} is of type {described['type']}: give the --encoder that its vectors were made with."
        )
    from gradir.engine.encoder import Encoder

    kind = made_with["kind"]
    opened = Encoder.open(encoder, device, dtype, kind=kind, pooling=made_with["pooling"], max_query_length=max_length)
    ours = opened.description()
    different = [
        f"{name}: index {made_with[name]!r}, {encoder} {ours.get(name)!r}"
        for name in _SHARED
        if name in made_with and made_with[name] != ours.get(name)
    ]
    if different and not force:
        listed = "\n  ".join(different)
        raise GradirError(f"{index} was made with another encoder:\n  {listed}\nGive the right --encoder, or --force.")
    return opened


def _write_run(
    search: Search, queries: Iterator[Query], output: Path, tag: str, hits: int, batch_size: int, remove_query: bool
) -> tuple[int, int, float]:
    """(queries, hits, seconds of searching); one batch of queries is in memory at a time."""
    from tqdm import tqdm

    from gradir.data.runs import run_writer

    seconds = 0.0
    with run_writer(output, tag) as writer, tqdm(desc="search", unit=" queries", smoothing=0.05) as bar:
        while batch := list(islice(queries, batch_size)):
            started = time.perf_counter()
            results = search(batch, hits + remove_query)
            seconds += time.perf_counter() - started
            for query, found in zip(batch, results, strict=True):
                writer.write(query.qid, _kept(query, found, remove_query)[:hits])
            bar.update(len(batch))
        if not writer.lines:
            raise GradirError(f"{output}: no query found anything. Are index and topics of the same collection?")
        return writer.queries, writer.lines, seconds


def _kept(query: Query, found: list[Hit], remove_query: bool) -> list[Hit]:
    return [hit for hit in found if hit.docid != query.qid] if remove_query else found


def _queries(topics: str, qrels: str | None) -> Iterator[Query]:
    from gradir.data.qrels import read_qrels
    from gradir.data.topics import read_topics

    if qrels is None:
        return read_topics(topics)
    judged = read_qrels(qrels)
    return (query for query in read_topics(topics) if query.qid in judged)


def _topics_path(topics: str) -> str | Path:
    path = Path(topics) / "queries.jsonl"
    return path if path.exists() else topics


def _name(encoder: str) -> str:
    """The last part of a path or hub name, fit for a run tag."""
    return "_".join(Path(encoder).name.split()) or "encoder"


def _digest(config: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:8]
