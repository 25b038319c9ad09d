"""`gradir search`: topics and an index in, a TREC run out."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from gradir.command import Outcome
from gradir.errors import GradirError, InputError

if TYPE_CHECKING:
    from gradir.data.records import Hit, Query
    from gradir.engine.encoder import Encoder
    from gradir.search.searchers import Search

# What must agree between the encoder of an index and that of the queries.
_SHARED: tuple[str, ...] = ("kind", "impact_scale", "tokenizer_sha256", "weights_sha256", "normalize", "pooling")
_SHARED += ("special_tokens",)
# What Pyserini's encoders do, which leave no record in an index.
_PYSERINI_SPLADE: dict[str, Any] = {
    "kind": "splade",
    "encoder": "foreign",
    "impact_scale": 51.2,
    "max_query_length": 256,
}


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
        index: Folder written by gradir index, or a Lucene or FAISS index written by Pyserini.
        topics: Queries: JSONL, TSV, TREC topics, a BEIR folder, or a name that Pyserini knows.
        output: The run file.
        encoder: Encoder folder or hub name that the index was made with; bm25 takes none.
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
    _check_numbers(hits, batch_size, threads, max_length)
    if output.is_dir():
        raise InputError(output, "is a folder", "Name a run file as --output")
    from gradir.data.manifest import Job

    described, sources = _describe(index, encoder)
    opened, warning = _open_encoder(index, described, encoder, max_length, device, dtype, force)
    config: dict[str, Any] = {"hits": hits, "remove_query": remove_query, "batch_size": batch_size}
    config["index"] = described | {"inputs": sources}
    config["encoder"] = opened.description() if opened else None
    tag = tag or f"gradir.{_name(encoder or described['type'])}.{_digest(config)}"
    inputs: list[str | Path] = [_topics_path(topics), *([qrels] if qrels else [])]
    job = Job(output, "gradir search", config | {"tag": tag}, inputs, overwrite)
    then = shlex.join(["gradir", "evaluate", "--qrels", qrels or "QRELS", "--run", str(output)])
    if job.finished:
        return Outcome(output, f"{output} is finished already; nothing to do", then)
    from gradir.search.searchers import open_searcher

    search = open_searcher(described["type"], index, opened, threads or os.cpu_count() or 1)
    asked = list(_queries(topics, qrels))
    if not asked:
        raise GradirError(f"{topics}: none of the topics is judged in {qrels}. Do they belong together?")
    queries, found, seconds = _write_run(search, asked, output, tag, hits, batch_size, remove_query)
    counts = {"queries": queries, "hits": found}
    if opened and opened.active_terms:
        counts["query_terms"] = opened.active_terms
    job.finish(counts, {"queries_per_second": round(queries / seconds, 1)})
    done = f"{output}: {queries} queries, {found} hits, {queries / seconds:.1f} queries/s"
    return Outcome(output, warning + done, then)


def _check_numbers(hits: int, batch_size: int, threads: int | None, max_length: int | None) -> None:
    given = {"--hits": hits, "--batch-size": batch_size, "--threads": threads, "--max-length": max_length}
    small = [flag for flag, number in given.items() if number is not None and number < 1]
    if small:
        raise GradirError(f"{', '.join(small)} must be 1 or more.")


def _describe(index: Path, encoder: str | None) -> tuple[dict[str, Any], list[Any]]:
    """What an index is, and the hashes of what it was made from: its own files differ from one writing to the next.

    Raises:
        InputError: It is no index.
    """
    from gradir.data.manifest import fingerprint, manifest_path, read_manifest

    if not index.is_dir():
        raise InputError(index, "no such folder", "Make an index: gradir index")
    if manifest_path(index).exists():
        manifest = read_manifest(index)
        if manifest["config"].get("format") == "faiss":  # of gradir encode, whose configuration describes the encoder
            described = manifest["config"] if manifest["command"] == "gradir encode" else {"kind": "dense"}
            return {"type": "faiss", "encoder": described}, [known.get("sha256") for known in manifest["inputs"]]
        if manifest["command"] != "gradir index":
            raise InputError(
                index, f"was made by {manifest['command']}, it is no index", "Make one of it: gradir index"
            )
        return manifest["config"], [known.get("sha256") for known in manifest["inputs"]]
    return _describe_foreign(index, encoder), [fingerprint(index)["sha256"]]


def _describe_foreign(index: Path, encoder: str | None) -> dict[str, Any]:
    """An index made by Pyserini itself says nothing of its encoder, which is taken to be the right one."""
    names = {file.name for file in index.iterdir()}
    if {"index", "docid"} <= names:
        return {"type": "faiss", "encoder": {"kind": "dense"}}
    if any(name.startswith("segments_") for name in names):
        return {"type": "impact", "encoder": _PYSERINI_SPLADE} if encoder else {"type": "bm25"}
    problem = "holds neither a Lucene index (segments_…) nor a FAISS index (index and docid)"
    raise InputError(index, problem, "Make an index: gradir index")


def _open_encoder(
    index: Path,
    described: dict[str, Any],
    encoder: str | None,
    max_length: int | None,
    device: str,
    dtype: str,
    force: bool,
) -> tuple[Encoder | None, str]:
    """(the query encoder, a warning): it must be the one that the index was made with.

    Raises:
        GradirError: No encoder where one is needed, one where none is, or another one without `force`.
    """
    made_with = described.get("encoder")
    if made_with is None:
        if encoder is not None:
            raise GradirError(f"{index} is of type {described['type']}, which takes no --encoder. Leave it out.")
        return None, ""
    if encoder is None:
        raise GradirError(
            f"{index} is of type {described['type']}: give the --encoder that its vectors were made with."
        )
    from gradir.engine.encoder import Encoder

    changes = {"pooling": made_with.get("pooling")}  # `gradir encode` may have been told
    if made_with["kind"] == "splade" and made_with.get("encoder") == "foreign":  # Pyserini's, or converted from it
        changes = {name: made_with[name] for name in ("impact_scale", "max_query_length")}
    if max_length is not None:
        changes["max_query_length"] = max_length
    opened = Encoder.open(encoder, device, dtype, kind=made_with["kind"], **changes)
    ours = opened.description()
    different = [
        f"{name}: index {made_with[name]!r}, {encoder} {ours.get(name)!r}"
        for name in _SHARED
        if name in made_with and made_with[name] != ours.get(name)
    ]
    if not different:
        return opened, ""
    problem = f"{index} was made with another encoder:\n  " + "\n  ".join(different)
    if not force:
        raise GradirError(f"{problem}\nGive the right --encoder, or --force.")
    return opened, f"warning: {problem}\n"


def _write_run(
    search: Search, queries: Sequence[Query], output: Path, tag: str, hits: int, batch_size: int, remove_query: bool
) -> tuple[int, int, float]:
    """(queries, hits, seconds of searching); the hits of one batch of queries are in memory at a time."""
    from tqdm import tqdm

    from gradir.data.runs import run_writer

    seconds = 0.0
    bar = tqdm(total=len(queries), desc="search", unit=" queries", smoothing=0.05)
    with run_writer(output, tag) as writer, bar:
        for first in range(0, len(queries), batch_size):
            batch = queries[first : first + batch_size]
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


def _topics_path(topics: str) -> Path:
    """The file that decides the result: of a BEIR folder only the queries."""
    names = ("queries.jsonl", "queries.jsonl.gz", "queries.jsonl.zst", "queries.tsv")
    found = (Path(topics) / name for name in names if (Path(topics) / name).exists())
    return next(found, Path(topics))


def _name(encoder: str) -> str:
    """The last part of a path or hub name, fit for a run tag."""
    return "_".join(Path(encoder).name.split()) or "encoder"


def _digest(config: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:8]
