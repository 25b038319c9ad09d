"""One writer a type: what each takes of the flags, and what it gives back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradir.errors import InputError
from gradir.index.options import PRUNING

if TYPE_CHECKING:
    from gradir.index.source import Source

Progress = Callable[[int], object]
# Writes into an empty folder: (arguments of the stage by name, folder, vectors if it is made of these) -> counts.
Fill = Callable[[Mapping[str, Any], Path, "Source | None"], dict[str, Any]]
# Below the output: Anserini takes every .json file under its input for documents, a manifest too.
JSON_FOLDER = "documents"
ANSERINI_THREADS = 4  # its own default


def from_texts(values: Mapping[str, Any], folder: Path, _: Source | None) -> dict[str, Any]:
    """Index a corpus."""
    from gradir.data.corpus import count_documents
    from gradir.index import bm25

    corpus = values["input"][0]
    with _bar(values, count_documents(corpus)) as bar:
        return bm25.write(corpus, folder, bar.update)


def from_indexes(values: Mapping[str, Any], folder: Path, _: Source | None) -> dict[str, Any]:
    """Merge indexes."""
    from gradir.data.manifest import read_manifest
    from gradir.index import merge
    from gradir.index.combine import before_pruning, locks_removed

    inputs = values["input"]
    with locks_removed(inputs):
        merged = merge.write(inputs, folder, optimize=values["optimize"])
    return merged | before_pruning(*(read_manifest(path)["counts"] for path in inputs))


def from_vectors(values: Mapping[str, Any], folder: Path, source: Source | None) -> dict[str, Any]:
    """Index vectors.

    Raises:
        InputError: No sparse vector has a term, perhaps not after pruning; and as the writer of the type.
    """
    if source is None:
        raise ValueError("there are no vectors")
    with _bar(values, len(source)) as bar:
        counts = _write(values, source, folder, bar.update)
    if source.kind == "splade" and not source.postings:
        raise InputError(source.folder, "no document has a term", "Check the encoder, and how much is pruned")
    return counts | ({"postings_before_pruning": source.postings_read} if source.prune else {})


def pruned(values: Mapping[str, Any], source: Source) -> Source:
    """The vectors as the flags want them pruned."""
    from gradir.index.prune import pruning

    return source.pruned(pruning(source, *(values[name] for name in PRUNING)))


def _bar(values: Mapping[str, Any], total: int | None) -> Any:
    from tqdm import tqdm

    return tqdm(total=total, desc=f"index ({values['type']})", unit=" docs", smoothing=0.05)


def _write(values: Mapping[str, Any], source: Source, folder: Path, progress: Progress) -> dict[str, Any]:
    if values["to_json"]:
        from gradir.index import json_form

        (folder / JSON_FOLDER).mkdir()
        return json_form.write(source, folder / JSON_FOLDER, progress, values["threads"] or ANSERINI_THREADS)
    if values["type"] == "impact":
        return _impact(values, source, folder, progress)
    if values["type"] == "opensearch-bulk":
        from gradir.index import opensearch

        return opensearch.write(source, folder, progress, Path(values["output"]).name, values["store_raw"])
    if values["type"].startswith("lucene-"):
        return _lucene_dense(values, source, folder, progress)
    return _faiss(values, source, folder, progress)


def _impact(values: Mapping[str, Any], source: Source, folder: Path, progress: Progress) -> dict[str, Any]:
    from gradir.index import impact
    from gradir.index.raw import raw_texts

    corpus = values["store_raw"]
    options = {} if values["memory_buffer"] is None else {"memory_mib": values["memory_buffer"]}
    return impact.write(
        source,
        folder,
        progress,
        optimize=values["optimize"],
        raw=None if corpus is None else raw_texts(corpus, source.docids()),
        docvectors=values["store_docvectors"],
        forward=values["forward"],
        **options,
    )


def _faiss(values: Mapping[str, Any], source: Source, folder: Path, progress: Progress) -> dict[str, Any]:
    from gradir.index import faiss_index

    factory = {"flat": "Flat", "hnsw": f"HNSW{values['m']}", "faiss": values["factory"]}[values["type"]]
    graph = {name: values[name] for name in ("ef_construction", "ef_search", "nprobe")}
    return faiss_index.write(source, folder, progress, factory=factory, threads=values["threads"], **graph)


def _lucene_dense(values: Mapping[str, Any], source: Source, folder: Path, progress: Progress) -> dict[str, Any]:
    from gradir.index import lucene_dense

    graph = {name: values[name] for name in ("m", "ef_construction", "int8", "threads")}
    return lucene_dense.write(source, folder, progress, hnsw=values["type"] == "lucene-hnsw", **graph)
