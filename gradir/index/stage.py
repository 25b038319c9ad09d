"""`gradir index`: one of the index types, counted, with a manifest that search checks its encoder against."""

from __future__ import annotations

import inspect
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradir.command import Outcome
from gradir.errors import GradirError, InputError
from gradir.index import writers
from gradir.index.options import DENSE, SPARSE, Type, check, config_of, one_of

if TYPE_CHECKING:
    from gradir.index.source import Source


def run(
    input: list[Path] | Path,
    output: Path,
    type: Type,
    factory: str | None = None,
    m: int = 32,
    ef_construction: int = 200,
    ef_search: int = 256,
    nprobe: int | None = None,
    int8: bool = False,
    top_k: int | None = None,
    min_impact: int | None = None,
    term_quantile: float | None = None,
    forward: bool = False,
    store_raw: str | None = None,
    store_docvectors: bool = False,
    shard_id: int = 0,
    shard_num: int = 1,
    append: bool = False,
    to_json: bool = False,
    sample_queries: Path | None = None,
    threads: int | None = None,
    memory_buffer: int | None = None,
    optimize: bool = True,
    overwrite: bool = False,
) -> Outcome:
    """Write an index that Pyserini searches, from vector shards (or, for BM25, from a corpus).

    An index appears whole or not at all; an interrupted one is started over.

    Args:
        input: Vector shards written by gradir encode; for bm25 a BEIR folder or corpus file; for merge several indexes.
        output: Folder for the index.
        type: impact (Lucene) and opensearch-bulk (requests that fill an OpenSearch or Elasticsearch index) from SPLADE vectors;
            flat, hnsw, faiss (FAISS) and lucene-flat, lucene-hnsw from dense ones; bm25 (Lucene) from text; merge: one index of
            several, of their texts and pruned vectors, without what --forward kept beside them.
        factory: faiss: FAISS factory string, such as HNSW32_SQ8, SQ8 or IVF1024,PQ32.
        m: hnsw, lucene-hnsw: neighbours of a vector.
        ef_construction: hnsw, faiss, lucene-hnsw: candidates looked at for a vector that is added.
        ef_search: hnsw, faiss: candidates looked at for a query (at least as many as hits are asked for); stored in the index.
        nprobe: faiss with IVF: lists looked at for a query, a sixteenth of them and at least 16 if not given; stored in the index.
        int8: lucene-flat, lucene-hnsw: a byte for a number instead of four.
        top_k: Pruning of SPLADE vectors: postings that a document keeps, those of the largest impacts.
        min_impact: Pruning: postings of smaller impacts are dropped.
        term_quantile: Pruning: the share of each term's postings that is dropped, those of the smallest impacts; ties are kept.
        forward: impact: keep the whole vectors beside the index, for two-step search and for feedback.
        store_raw: impact, opensearch-bulk: the corpus that was encoded, whose texts are stored with the documents.
        store_docvectors: impact: store vectors in Lucene's form, which Pyserini's Rocchio needs; a much larger index.
        shard_id: Index only this one of shard_num contiguous shards; counted from 0.
        shard_num: Number of shards, all of one size but the last, which takes the rest.
        append: impact: add the documents to the index that stands at the output.
        to_json: impact: write JSON lines for Anserini's own IndexCollection instead.
        sample_queries: Vector shards of topics, to measure what a pruned index, or hnsw and faiss, finds of the exact answers;
            documents are the queries if not given.
        threads: hnsw, faiss, lucene-hnsw: threads that build, all cores of FAISS and one of Lucene if not given; with to_json
            the least number of files, four if not given. An impact index is written by one thread.
        memory_buffer: impact: memory for the postings being sorted, MiB; 64 if not given.
        optimize: impact, merge: one segment, fastest to search.
        overwrite: Start afresh where the output exists.
    """
    values = locals()
    values["input"] = inputs = input if isinstance(input, list) else [input]
    defaults = {name: parameter.default for name, parameter in inspect.signature(run).parameters.items()}
    check(values, defaults)
    for path in inputs:
        _check_apart(path, output, type)
    from gradir.index.combine import shared_config

    config = config_of(values, defaults)
    if type == "merge":
        unoptimised = {} if optimize else {"optimize": False}
        return _write(values, shared_config(inputs) | unoptimised, inputs, writers.from_indexes)
    if type == "bm25":
        return _write(values, config, _corpus_files(inputs[0]), writers.from_texts)
    source = _open(values)
    config["encoder"] = source.metadata
    made_of = [*inputs, *_corpus_files(store_raw)]
    if append:
        return _append(values, config, made_of, source)
    return _write(values, config, made_of, writers.from_vectors, source)


def _check_apart(input: Path, output: Path, type: Type) -> None:
    """An output over its own input would, with --overwrite, remove what is to be indexed; one inside it would change it."""
    source, target = input.resolve(), output.resolve()
    inside = type != "bm25" and source in target.parents  # of a BEIR folder only the corpus counts
    if source == target or target in source.parents or inside:
        raise GradirError(f"{output} lies over or inside the input {input}. Choose another --output.")


def _corpus_files(corpus: str | Path | None) -> list[Path]:
    from gradir.data.corpus import corpus_files

    return [] if corpus is None else list(corpus_files(corpus))


def _open(values: Mapping[str, Any]) -> Source:
    """The vectors, of a kind that the type takes."""
    from gradir.data.vectors import VectorShards
    from gradir.index.source import Source

    shards, type = VectorShards(values["input"][0]), values["type"]
    if (shards.kind == "dense") != (type in DENSE):
        fits = one_of(DENSE if shards.kind == "dense" else SPARSE)
        raise GradirError(f"{shards.folder} holds {shards.kind} vectors, which --type {type} cannot index. Use {fits}.")
    return Source(shards, values["shard_id"], values["shard_num"])


def _write(
    values: Mapping[str, Any],
    config: dict[str, Any],
    inputs: list[Path],
    fill: writers.Fill,
    source: Source | None = None,
) -> Outcome:
    """Write the index in one go, and say what came of it.

    Args:
        values: The arguments of the stage by name.
        config: For the manifest.
        inputs: What it is made of, for the manifest.
        fill: Writes into an empty folder and returns the counts.
        source: The vectors, if it is made of these.
    """
    from gradir.data.atomic import new_folder
    from gradir.data.manifest import Job
    from gradir.index import report
    from gradir.index.recall import read_topics, recall

    output, type, topics = values["output"], config["type"], values["sample_queries"]
    job = Job(output, "gradir index", config, inputs, values["overwrite"])
    then = report.next_command(output, type)
    if job.finished:
        return Outcome(output, f"{output} is finished already; nothing to do", then)
    _check_free(output)
    sample = read_topics(source, topics) if source is not None and topics else None
    source = None if source is None else writers.pruned(values, source)
    with _disk_errors(output), new_folder(output, replace=True) as folder:
        counts = fill(values, folder, source)
        seconds = job.seconds()
        measured = report.measure(folder, counts, seconds)
        approximate = type in ("hnsw", "faiss", "lucene-hnsw") or values["int8"]
        if source is not None and (approximate or source.prune):
            measured |= recall(source, folder, sample, type.startswith("lucene-"))
        job.finish(counts, measured, folder)
    return Outcome(output, report.describe(output, type, counts, measured, seconds), then)


def _append(values: Mapping[str, Any], config: dict[str, Any], inputs: list[Path], source: Source) -> Outcome:
    """Index the new documents, and put the old index and theirs together where the old one stands."""
    from gradir.data.atomic import new_folder, remove_partial
    from gradir.data.manifest import Job
    from gradir.index import merge, report
    from gradir.index.combine import before_pruning, check_appendable, holds, locks_removed

    output = values["output"]
    earlier, then = check_appendable(output, config), report.next_command(output, config["type"])
    if holds(earlier, inputs[0]):
        return Outcome(output, f"{output} holds the documents of {inputs[0]} already; nothing to do", then)
    remove_partial(output.parent, output.name)
    _check_free(output)
    with _disk_errors(output), new_folder(output, replace=True) as folder:
        job = Job(folder, "gradir index", config, inputs)
        job.manifest["inputs"] = earlier["inputs"] + job.manifest["inputs"]
        added = folder / "added"
        added.mkdir()
        counts = writers.from_vectors(values, added, writers.pruned(values, source))
        try:
            with locks_removed([output]):
                merged = merge.write([output, added], folder, optimize=values["optimize"])
        except InputError as error:  # a document that the index has already, and a path that nobody knows
            raise InputError(inputs[0], error.problem, error.fix) from None
        counts = merged | before_pruning(earlier["counts"], counts)
        shutil.rmtree(added)
        measured = report.measure(folder, counts, job.seconds())
        job.finish(counts, measured, folder)
    return Outcome(output, report.describe(output, config["type"], counts, measured, job.seconds()), then)


def _check_free(output: Path) -> None:
    """Two commands with one output: the later one would replace what the first has made."""
    from gradir.data.atomic import written_elsewhere

    found = written_elsewhere(output)
    if found is not None:
        fix = f"Wait for it, or stop it. If it is another program, remove {found[0]}"
        raise InputError(output, f"is being written by process {found[1]}", fix)


@contextmanager
def _disk_errors(output: Path) -> Iterator[None]:
    """A full disk, mostly: what cannot be read is told of where it is read."""
    try:
        yield
    except OSError as error:
        problem = f"cannot be written ({error.strerror or error})"
        raise InputError(output, problem, "Free some disk space, or choose another --output") from None
