"""Searching: impact indexes exactly and in two steps, FAISS, text in and run line out, fusion, and the start of a process.

    python -m benchmarks.search [--quick] [--json FILE]

Impact search is measured on synthetic vectors (100,000 documents) and on the built-in collection, encoded by the SPLADE encoder of
`make bench-models`; two-step parameters are chosen on its dev queries and reported on its test queries.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks import dense_rows, fuse_rows
from benchmarks.collections import LENGTH, impact_index, pydocs_folder, queries, sparse_shards
from benchmarks.index import ours as write_index
from benchmarks.models import CACHE, splade_folder
from benchmarks.synthetic import shards, sparse_vectors
from benchmarks.table import Row, alternate, arguments, ratio_of, show
from gradir import jvm
from gradir.data.records import Query, Ranking
from gradir.data.vectors import SparseVectors
from gradir.engine.query_encoders import KnownQueries, to_dicts

THREADS = os.cpu_count() or 1


class Peer:
    """Pyserini's LuceneImpactSearcher, with queries that are encoded already."""

    def __init__(self, index: Path, vectors: SparseVectors, vocab: Sequence[str]):
        jvm.ensure()
        from pyserini.search.lucene import LuceneImpactSearcher

        self.names = [str(number) for number in range(len(vectors))]
        known = KnownQueries(self.names, to_dicts(vectors, np.array(vocab, dtype=object)))
        self.searcher = LuceneImpactSearcher(str(index), known, min_idf=-1)

    def search(self, hits: int) -> dict[str, Any]:
        """Its batch_search over all cores; what it returns is still Java's."""
        found: dict[str, Any] = self.searcher.batch_search(self.names, self.names, k=hits, threads=THREADS)
        return found

    def read(self, hits: int) -> list[Ranking]:
        """The same, read into Python."""
        found = self.search(hits)
        rows = [[(hit.docid, hit.score) for hit in found[name]] for name in self.names]
        return [Ranking([docid for docid, _ in row], np.array([score for _, score in row])) for row in rows]


def exact_rows(
    name: str, index: Path, vocab: Sequence[str], vectors: SparseVectors, hits: int, rounds: int
) -> list[Row]:
    """Exact search of all queries in one batch: against batch_search, and against it with its hits read."""
    from gradir.search.impact import ImpactSearcher

    searcher, peer = ImpactSearcher(index, vocab, THREADS), Peer(index, vectors, vocab)
    _compare(searcher.search(vectors, hits), peer.read(hits))
    for _ in range(3):  # the JVM compiles what runs often
        searcher.search(vectors, hits), peer.search(hits)
    contenders = {
        "ours": lambda: searcher.search(vectors, hits),
        "theirs": lambda: peer.search(hits),
        "read": lambda: peer.read(hits),
    }
    seconds = alternate(contenders, rounds)
    work = f"impact search, exact, {name}, k={hits}"
    rows = []
    for theirs, against, target in (
        ("theirs", f"LuceneImpactSearcher.batch_search, {THREADS} threads", 2.0 if hits == 1000 else None),
        ("read", "the same, hits read into Python as ours are", None),
    ):
        rates = (len(vectors) / median(seconds[one]) for one in ("ours", theirs))
        ratio = ratio_of(seconds, "ours", theirs)
        rows.append(
            Row(work, against, ratio, target, True, *rates, "queries/s", rounds, f"{len(vectors)} queries equal")
        )
    return rows


def _compare(ours: Sequence[Ranking], theirs: Sequence[Ranking]) -> None:
    for number, (our, their) in enumerate(zip(ours, theirs, strict=True)):
        same = list(our.docids) == list(their.docids)
        if not same or (len(our.docids) and np.abs(our.scores - their.scores).max() > 0.5):
            raise SystemExit(f"query {number} finds other documents or scores")


def memory_rows(
    name: str, source: Path, index: Path, vocab: Sequence[str], vectors: SparseVectors, rounds: int
) -> list[Row]:
    """Engines that hold all postings in memory, against ours from disk."""
    from gradir.engine.exact import open_exact
    from gradir.search.impact import ImpactSearcher

    before = _resident()
    engine = open_exact(source, vocab)
    held = _resident() - before
    disk = ImpactSearcher(index, vocab, THREADS)
    _compare(engine.search(vectors, 100), disk.search(vectors, 100))
    seconds = alternate(
        {"memory": lambda: engine.search(vectors, 100), "ours": lambda: disk.search(vectors, 100)}, rounds
    )
    rates = (len(vectors) / median(seconds[one]) for one in ("ours", "memory"))
    note = f"it holds {held} MiB in memory"
    against = "--engine exact (scipy, in memory)"
    work = f"impact search, exact, {name}, k=100, from disk"
    return [Row(work, against, ratio_of(seconds, "ours", "memory"), None, True, *rates, "queries/s", rounds, note)]


def _resident() -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) // 1024


def encoded(split: str, limit: int | None) -> tuple[list[Query], SparseVectors, list[str]]:
    """(queries, vectors, vocabulary) of a split of the built-in collection, or of its first queries."""
    from gradir.engine.encoder import Encoder

    asked, encoder = queries(split)[:limit], Encoder.open(splade_folder(), "cpu")
    vectors: SparseVectors = encoder.encode([query.text for query in asked], "query")  # type: ignore[assignment]
    return asked, vectors, list(encoder.vocab())


def two_step_row(rounds: int, limit: int | None) -> Row:
    """Two-step search at k=100, its parameters chosen on dev queries, measured on test queries."""
    from gradir.data.measures import evaluate_run
    from gradir.data.qrels import read_qrels
    from gradir.search.impact import TwoStepSearcher
    from gradir.search.tune import tune

    hits, measure = 100, "nDCG@10"
    whole, short = impact_index(), impact_index(64)
    judged = {split: read_qrels(pydocs_folder() / "qrels" / f"{split}.tsv") for split in ("dev", "test")}
    dev, dev_vectors, vocab = encoded("dev", limit)
    judged["dev"] = {query.qid: judged["dev"][query.qid] for query in dev}
    searcher = TwoStepSearcher(short, vocab, THREADS)
    chosen = tune(searcher, dev, dev_vectors, judged["dev"], hits, measure, max_loss=0.003).chosen
    searcher.query_terms, searcher.candidates = chosen.query_terms, chosen.candidates
    asked, vectors, _ = encoded("test", limit)
    peer = Peer(whole, vectors, vocab)
    scores = []
    for found in (searcher.search(vectors, hits), peer.read(hits)):
        run = ((query.qid, ranking.hits()) for query, ranking in zip(asked, found, strict=True))
        known = {query.qid: judged["test"][query.qid] for query in asked}
        scores.append(evaluate_run(known, run, [measure]).means[measure])
    seconds = alternate({"ours": lambda: searcher.search(vectors, hits), "theirs": lambda: peer.search(hits)}, rounds)
    rates = (len(vectors) / median(seconds[one]) for one in ("ours", "theirs"))
    ratio = ratio_of(seconds, "ours", "theirs")
    note = f"{measure} {scores[0]:.4f} and {scores[1]:.4f}; {chosen.query_terms} terms, {chosen.candidates} candidates"
    against = f"LuceneImpactSearcher.batch_search, {THREADS} threads, exact"
    return Row("impact search, two-step, pydocs, k=100", against, ratio, 6, True, *rates, "queries/s", rounds, note)


def text_row(count: int, rounds: int, work: Path) -> Row:
    """Text queries in, run lines out, warm: encoding and searching."""
    from pyserini.encode import SpladeQueryEncoder
    from pyserini.output_writer import OutputFormat, get_output_writer
    from pyserini.search.lucene import LuceneImpactSearcher

    from gradir.data.runs import run_writer
    from gradir.engine.encoder import Encoder
    from gradir.search.impact import ImpactSearcher

    index, asked, hits = impact_index(), queries("test")[:count], 1000
    texts, qids = [query.text for query in asked], [query.qid for query in asked]
    encoder = Encoder.open(splade_folder(), "cpu", max_query_length=LENGTH)
    searcher = ImpactSearcher(index, encoder.vocab(), THREADS)
    peer = LuceneImpactSearcher(str(index), SpladeQueryEncoder(str(splade_folder()), device="cpu"), min_idf=-1)

    def ours() -> None:
        with run_writer(work / "ours.trec", "gradir") as writer:
            vectors: Any = encoder.encode(texts, "query")
            for qid, ranking in zip(qids, searcher.search(vectors, hits), strict=True):
                writer.write_ranking(qid, ranking)

    def theirs() -> None:
        topics = {qid: {"title": text} for qid, text in zip(qids, texts, strict=True)}
        path, form = str(work / "theirs.trec"), OutputFormat.TREC
        with get_output_writer(path, form, "w", max_hits=hits, tag="Anserini", topics=topics) as writer:
            found = peer.batch_search(texts, qids, k=hits, threads=THREADS)
            for qid in qids:
                writer.write(qid, found[qid])

    ours(), theirs()
    overlap = _overlap(work / "ours.trec", work / "theirs.trec")
    seconds = alternate({"ours": ours, "theirs": theirs}, rounds)
    rates = (count / median(seconds[one]) for one in ("ours", "theirs"))
    against = "LuceneImpactSearcher with SpladeQueryEncoder, batch_search"
    note = f"k={hits}; overlap@10 of the runs {overlap:.3f} (bfloat16 against float32)"
    ratio = ratio_of(seconds, "ours", "theirs")
    return Row(
        f"text in, run line out, SPLADE, {count} queries", against, ratio, 4, True, *rates, "queries/s", rounds, note
    )


def _overlap(one: Path, other: Path) -> float:
    from gradir.data.runs import read_run

    first, second = read_run(one), read_run(other)
    shared = [
        len({hit.docid for hit in first[qid][:10]} & {hit.docid for hit in second[qid][:10]}) / 10 for qid in first
    ]
    return float(np.mean(shared))


_OURS = """
from gradir.engine.light import LightQueryEncoder
from gradir.search.impact import ImpactSearcher
from pathlib import Path
encoder = LightQueryEncoder({encoder!r})  # what `gradir search --backend onnx` takes
searcher = ImpactSearcher(Path({index!r}), encoder.vocab(), 1)
print(searcher.search(encoder.encode(["inverse of a matrix"], "query"), 10)[0].docids[0])
"""
_THEIRS = """
from gradir import jvm
jvm.ensure()
from pyserini.encode import SpladeQueryEncoder
from pyserini.search.lucene import LuceneImpactSearcher
searcher = LuceneImpactSearcher({index!r}, SpladeQueryEncoder({encoder!r}, device="cpu"), min_idf=-1)
print(searcher.search("inverse of a matrix", 10)[0].docid)
"""


def start_row(rounds: int) -> Row:
    """A cold process opens an index and answers one query."""
    from gradir import export

    folder = CACHE / "splade-onnx"
    export.run(str(splade_folder()), folder, onnx=True)
    seconds: dict[str, list[float]] = {"ours": [], "theirs": []}
    for _ in range(rounds):
        for name, script, encoder in (("ours", _OURS, folder), ("theirs", _THEIRS, splade_folder())):
            started = time.perf_counter()
            code = script.format(encoder=str(encoder), index=str(impact_index()))
            subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
            seconds[name].append(time.perf_counter() - started)
    ratio = ratio_of(seconds, "ours", "theirs")
    ours, theirs = (median(seconds[name]) for name in ("ours", "theirs"))
    against = "Pyserini with SpladeQueryEncoder (torch)"
    return Row("cold process, one SPLADE query (ONNX)", against, ratio, None, True, ours, theirs, "s", rounds)


def main() -> None:
    """Run the benchmark."""
    given = arguments(__doc__)
    documents, rounds, limit = (10_000, 1, 60) if given.quick else (100_000, 5, None)
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        work = Path(folder)
        source = shards(CACHE, documents, 25)
        write_index(source, work / "synthetic")
        vocab, vectors = source.vocab(), sparse_vectors(limit or 400, 24, 60, seed=99)
        rows = exact_rows(f"{documents} documents", work / "synthetic", vocab, vectors, 1000, rounds)
        rows += memory_rows(f"{documents} documents", source.folder, work / "synthetic", vocab, vectors, rounds)
        _, vectors, vocab = encoded("test", limit or 1000)
        if not given.quick:
            rows += exact_rows("pydocs", impact_index(), vocab, vectors, 1000, rounds)
            rows += memory_rows("pydocs", sparse_shards(), impact_index(), vocab, vectors, rounds)
        rows += exact_rows("pydocs", impact_index(), vocab, vectors, 100, rounds)
        rows.append(two_step_row(rounds, limit))
        rows.append(text_row(50 if given.quick else 200, rounds, work))
        rows.append(start_row(1 if given.quick else 5))
    rows += dense_rows.search_rows(given.quick) + fuse_rows.rows(given.quick)
    show(rows, given.json)


if __name__ == "__main__":
    main()
