"""`gradir index`: one of the index types, counted, with a manifest that search checks its encoder against."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any, Literal

from gradir.command import Outcome
from gradir.errors import GradirError

Type = Literal["impact", "flat", "hnsw", "bm25"]


def run(
    input: Path,
    output: Path,
    type: Type,
    m: int = 32,
    ef_construction: int = 200,
    ef_search: int = 256,
    overwrite: bool = False,
) -> Outcome:
    """Write an index that Pyserini searches, from vector shards (or, for BM25, from a corpus).

    An index appears whole or not at all; an interrupted one is started over.

    Args:
        input: Vector shards written by gradir encode; for bm25 a BEIR folder or corpus file.
        output: Folder for the index.
        type: impact (Lucene, from SPLADE vectors), flat or hnsw (FAISS, from dense vectors), bm25 (Lucene, from text).
        m: hnsw: neighbours of a vector.
        ef_construction: hnsw: candidates looked at for a vector that is added.
        ef_search: hnsw: candidates looked at for a query (at least as many as hits are asked for); stored in the index.
        overwrite: Start afresh where the output exists.
    """
    _check_graph(m, ef_construction, ef_search)
    _check_apart(input, output, type)
    from gradir.data.atomic import new_folder
    from gradir.data.corpus import corpus_files, count_documents
    from gradir.data.manifest import Job
    from gradir.data.vectors import VectorShards

    config: dict[str, Any] = {"type": type}
    total = count_documents(input) if type == "bm25" else None
    if type != "bm25":
        shards = VectorShards(input)
        _check_kind(shards, type)
        total, config["encoder"] = len(shards), shards.metadata
    if type == "hnsw":
        config |= {"m": m, "ef_construction": ef_construction, "ef_search": ef_search}
    sources = corpus_files(input) if type == "bm25" else [input]
    job = Job(output, "gradir index", config, sources, overwrite)
    given = "" if type == "bm25" else " --encoder ENCODER"
    then = f"gradir search --index {shlex.quote(str(output))} --topics TOPICS{given} --output RUN"
    if job.finished:
        return Outcome(output, f"{output} is finished already; nothing to do", then)
    with new_folder(output, replace=True) as folder:
        counts = _write(type, input, folder, total, config)
        size = sum(file.stat().st_size for file in folder.iterdir())
        measured = {"documents_per_second": round(counts["documents"] / job.seconds(), 1), "bytes": size}
        job.finish(counts, measured, folder)
    described = f"{counts['documents']} documents, {size / 2**20:.1f} MiB, {job.seconds():.1f} s"
    return Outcome(output, f"{output}: {type} index, {described}", then)


def _check_graph(m: int, ef_construction: int, ef_search: int) -> None:
    if m < 2 or min(ef_construction, ef_search) < 1:
        raise GradirError("--m must be 2 or more, --ef-construction and --ef-search 1 or more.")


def _check_apart(input: Path, output: Path, type: Type) -> None:
    """An output over its own input would, with --overwrite, remove what is to be indexed; one inside it would change it."""
    source, target = input.resolve(), output.resolve()
    inside = type != "bm25" and source in target.parents  # of a BEIR folder only the corpus counts
    if source == target or target in source.parents or inside:
        raise GradirError(f"{output} lies over or inside the input {input}. Choose another --output.")


def _check_kind(shards: Any, type: Type) -> None:
    if (shards.kind == "splade") != (type == "impact"):
        fits = "impact" if shards.kind == "splade" else "flat or hnsw"
        raise GradirError(f"{shards.folder} holds {shards.kind} vectors, which --type {type} cannot index. Use {fits}.")


def _write(type: Type, input: Path, folder: Path, total: int | None, config: dict[str, Any]) -> dict[str, Any]:
    from tqdm import tqdm

    from gradir.data.vectors import VectorShards
    from gradir.index.source import Source

    with tqdm(total=total, desc=f"index ({type})", unit=" docs", smoothing=0.05) as bar:
        if type == "bm25":
            from gradir.index import bm25

            return bm25.write(input, folder, bar.update)
        if type == "impact":
            from gradir.index import impact

            return impact.write(Source(VectorShards(input)), folder, bar.update)  # type: ignore[arg-type]
        from gradir.index import faiss_index

        graph = {name: config.get(name, 0) for name in ("m", "ef_construction", "ef_search")}
        return faiss_index.write(Source(VectorShards(input)), folder, bar.update, hnsw=type == "hnsw", **graph)
