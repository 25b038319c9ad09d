"""Indexing: vector shards to Lucene impact indexes against Anserini's IndexCollection, and FAISS against raw faiss.

    python -m benchmarks.index [--quick] [--json FILE]

Anserini reads JSONL that lies on disk already, one file per thread, in a JVM that has indexed before, without -optimize; gradir
reads its Parquet shards and writes one segment.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import dense_rows
from benchmarks.models import CACHE
from benchmarks.synthetic import anserini_json, shards, sparse_vectors
from benchmarks.table import Row, alternate, arguments, ratio_of, show
from gradir import jvm
from gradir.data.vectors import VectorShards

THREADS = os.cpu_count() or 1
_PEAK = """
import sys
from pathlib import Path
from benchmarks.index import ours
from gradir.data.vectors import VectorShards
ours(VectorShards(sys.argv[1]), Path(sys.argv[2]))  # as `gradir index` does it
# ru_maxrss would be that of the process which started this one, if it was larger
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
"""


def ours(source: VectorShards, folder: Path) -> None:
    """A gradir impact index."""
    from gradir.index import impact
    from gradir.index.source import Source

    _emptied(folder)
    impact.write(Source(source), folder, lambda count: None)


def theirs(json: Path, folder: Path) -> None:
    """Anserini's impact index of the same documents."""
    jvm.ensure()
    from jnius import autoclass

    _emptied(folder)
    flags = ["-collection", "JsonVectorCollection", "-input", str(json), "-index", str(folder)]
    flags += ["-generator", "DefaultLuceneDocumentGenerator", "-threads", str(THREADS), "-impact", "-pretokenized"]
    autoclass("io.anserini.index.IndexCollection").main([*flags, "-quiet"])


def _emptied(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def impact_row(documents: int, mean: float, rounds: int, target: float, work: Path) -> Row:
    """One line of the table; both indexes are compared before their times are."""
    source = shards(CACHE, documents, mean)
    json = anserini_json(source, CACHE, THREADS)
    small = shards(CACHE, 1_000, mean)
    ours(small, work / "ours"), theirs(anserini_json(small, CACHE, THREADS), work / "theirs")  # the JVM warms up
    contenders: dict[str, Callable[[], Any]] = {
        "ours": lambda: ours(source, work / "ours"),
        "theirs": lambda: theirs(json, work / "theirs"),
    }
    seconds = alternate(contenders, rounds)
    equal = _equal(source, work / "ours", work / "theirs")
    sizes = [_size(work / name) for name in ("ours", "theirs")]
    return Row(
        f"impact index, {documents} documents, mean weight {mean:g}",
        f"IndexCollection, {THREADS} threads, JSONL on disk",
        ratio_of(seconds, "ours", "theirs"),
        target,
        True,
        documents / median(seconds["ours"]),
        documents / median(seconds["theirs"]),
        "documents/s",
        rounds,
        f"{equal}; {sizes[0] / 2**20:.1f} and {sizes[1] / 2**20:.1f} MiB",
    )


def _equal(source: VectorShards, one: Path, other: Path) -> str:
    """Hits and scores of 200 queries in both."""
    from gradir.search.impact import ImpactSearcher

    queries = sparse_vectors(200, 24, 60, seed=99)
    first, second = (ImpactSearcher(index, source.vocab(), THREADS).search(queries, 100) for index in (one, other))
    same = sum(
        list(a.docids) == list(b.docids) and a.scores.tolist() == b.scores.tolist()
        for a, b in zip(first, second, strict=True)
    )
    if same < len(queries):
        raise SystemExit(f"only {same} of {len(queries)} queries find the same in both indexes")
    return "200/200 queries equal"


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def memory_row(small: int, large: int, work: Path) -> Row:
    """Peak memory of a process that indexes many documents against one that indexes few."""
    peaks = []
    for documents in (large, small):
        folder = shards(CACHE, documents, 25).folder
        command = [sys.executable, "-c", _PEAK, str(folder), str(work / "peak")]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout.split()[-1]) / 1024)
    against = f"{small} documents"
    return Row(
        f"peak memory, {large} documents", against, peaks[0] / peaks[1], 1.2, False, peaks[0], peaks[1], "MiB", 1
    )


def main() -> None:
    """Run the benchmark."""
    given = arguments(__doc__)
    documents, small = (5_000, 1_000) if given.quick else (100_000, 10_000)
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        work = Path(folder)
        rows = [
            impact_row(documents, 25, 1 if given.quick else 3, 6, work),
            impact_row(documents, 125, 1, 25, work),
            memory_row(small, documents, work),
            *dense_rows.build_rows(given.quick),
        ]
    show(rows, given.json)


if __name__ == "__main__":
    main()
