"""Fusing ten runs: `gradir fuse` against `pyserini.fusion`, files in, file out, the results compared first."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.table import Row, alternate, ratio_of
from gradir import fuse
from gradir.data.records import Ranking
from gradir.data.runs import iter_rankings, run_writer

RUNS, HITS, POOL = 10, 1000, 3000


def rows(quick: bool) -> list[Row]:
    """Reciprocal rank fusion of 1,000 queries, or 60."""
    queries, rounds = (60, 3) if quick else (1000, 3)
    with tempfile.TemporaryDirectory() as folder:
        runs = [_run(Path(folder) / f"{number}.trec", number, queries) for number in range(RUNS)]
        ours, theirs = Path(folder) / "ours", Path(folder) / "theirs"
        contenders = {"ours": lambda: _ours(runs, ours), "theirs": lambda: _theirs(runs, theirs)}
        alternate(contenders, 1)
        _compare(ours, theirs)
        seconds = alternate(contenders, rounds)
    lines = RUNS * queries * HITS
    rates = {name: lines / float(np.median(taken)) for name, taken in seconds.items()}
    against = "pyserini.fusion, reciprocal_rank_fusion"
    work = f"fuse {RUNS} runs of {queries:,} queries x {HITS:,} hits"
    ratio = ratio_of(seconds, "ours", "theirs")
    return [Row(work, against, ratio, 5, True, rates["ours"], rates["theirs"], "lines read/s", rounds)]


def _run(path: Path, seed: int, queries: int) -> Path:
    """A run of `HITS` among `POOL` documents for each query."""
    draw = np.random.default_rng(seed)
    with run_writer(path, "t") as writer:
        for query in range(queries):
            docids = [str(7_000_000 + 1237 * place) for place in draw.permutation(POOL)[:HITS].tolist()]
            writer.write_ranking(str(1_000_000 + query), Ranking(docids, np.sort(draw.gamma(2, 5, HITS))[::-1]))
    return path


def _ours(runs: list[Path], output: Path) -> None:
    fuse.run(runs, output, hits=HITS, depth=HITS, overwrite=True)


def _theirs(runs: list[Path], output: Path) -> None:
    from pyserini.fusion import reciprocal_rank_fusion
    from pyserini.trectools import TrecRun

    fused: Any = reciprocal_rank_fusion([TrecRun(filepath=str(path)) for path in runs], depth=HITS, k=HITS)
    fused.save_to_txt(str(output), tag="pyserini.fusion")


def _compare(ours: Path, theirs: Path) -> None:
    """Stops where the document at a rank of ours has not the score that Pyserini has at this rank.

    Equal sums may stand in another order: Pyserini's last bit depends on the order of the runs.
    """
    for (qid, found), (same, expected) in zip(iter_rankings(ours), iter_rankings(theirs), strict=True):
        scores = dict(zip(expected.docids, expected.scores.tolist(), strict=True))
        at_the_cut = float(expected.scores[-1])  # of several equal ones, others may have been kept
        placed = [scores.get(docid, at_the_cut) for docid in found.docids]
        if qid != same or not np.allclose(placed, expected.scores, rtol=1e-12, atol=0):
            raise RuntimeError(f"query {qid} was fused to another ranking than by Pyserini")
