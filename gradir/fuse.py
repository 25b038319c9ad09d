"""Several runs to one: `gradir fuse`.

Reciprocal rank fusion (Cormack, Clarke & Büttcher, SIGIR 2009): score(d) = sum over the runs that hold d of
1 / (k + rank of d). A rank is the place in the order of scores, then docids descending, as trec_eval orders a run; the rank
column is not read. In runs that gradir or Anserini wrote the two are the same, because they hold no equal scores.
`pyserini.fusion` reads the rank column, so on runs with equal scores, or with ranks that contradict the scores, it may
differ.
"""

from __future__ import annotations

import hashlib
import heapq
import json
import math
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from gradir.command import Outcome, execute
from gradir.data import Hit, run_writer, side_by_side
from gradir.data.manifest import Job
from gradir.errors import GradirError

_ALIASES = {"--run": "--runs", "--rrf.k": "--rrf-k", "--k": "--hits", "--runtag": "--tag"}


def run(
    runs: list[Path],
    output: Path,
    method: Literal["rrf"] = "rrf",
    rrf_k: int = 60,
    depth: int = 1000,
    hits: int = 1000,
    tag: str | None = None,
    overwrite: bool = False,
) -> Outcome:
    """Fuse several runs into one by reciprocal rank fusion.

    A document's score is the sum of 1 / (k + rank) over the runs that hold it (Cormack, Clarke & Büttcher, SIGIR 2009).
    The ranks are those of trec_eval: by score, then docid descending. Queries of any run are kept: those of the first run
    in its order, then further ones. Runs with the same queries in the same order are read side by side, one query in
    memory; otherwise queries are kept until their turn comes.

    Args:
        runs: Two or more TREC run files.
        output: The fused run.
        method: How scores are made; rrf is reciprocal rank fusion.
        rrf_k: Constant k of reciprocal rank fusion.
        depth: Documents taken from each run per query.
        hits: Documents written per query.
        tag: Sixth column of the run (default: gradir.fuse.HASH).
        overwrite: Replace an output made from other runs or with other flags.
    """
    runs, output = [Path(path) for path in runs], Path(output)
    _check(runs, output, rrf_k, depth, hits)
    config = {"method": method, "rrf_k": rrf_k, "depth": depth, "hits": hits, "tag": tag}
    job = Job(output, "gradir fuse", config, runs, overwrite)
    following = f"gradir evaluate --qrels QRELS --run {shlex.quote(str(output))}"
    if job.finished:
        return Outcome(output, f"{output} is finished; nothing to do", following)
    with run_writer(output, tag or f"gradir.fuse.{_hash(job.manifest)}") as writer:
        for qid, rankings in _with_bar(side_by_side(runs, depth)):
            scores = METHODS[method](rankings, rrf_k)
            writer.write(qid, heapq.nsmallest(hits, scores, key=lambda hit: (-hit.score, hit.docid)))
    job.finish({"runs": len(runs), "queries": writer.queries, "hits": writer.lines})
    return Outcome(output, f"{output}: {writer.queries} queries, {writer.lines} hits of {len(runs)} runs", following)


def main(argv: Sequence[str] | None = None) -> int:
    """Fuse runs; returns the exit code."""
    return execute(run, argv, "gradir fuse", _ALIASES)


def reciprocal_rank(rankings: Sequence[Sequence[Hit]], k: int = 60) -> list[Hit]:
    """Reciprocal rank fusion of one query's rankings.

    Args:
        rankings: The hits of each run, best first; their scores do not count.
        k: The constant that keeps the first ranks from deciding alone.

    Returns:
        Every document once, in no particular order.
    """
    parts: dict[str, list[float]] = {}
    for ranking in rankings:
        for rank, hit in enumerate(ranking, 1):
            parts.setdefault(hit.docid, []).append(1 / (k + rank))
    # A plain sum depends on the order of the runs in its last bit, which would decide between equal documents.
    return [Hit(docid, math.fsum(terms)) for docid, terms in parts.items()]


METHODS: dict[str, Callable[[Sequence[Sequence[Hit]], int], list[Hit]]] = {"rrf": reciprocal_rank}


def _check(runs: Sequence[Path], output: Path, rrf_k: int, depth: int, hits: int) -> None:
    """Everything that is wrong with the arguments, at once."""
    problems = [f"{path}: no such file" for path in runs if not path.is_file()]
    if len(runs) < 2:
        problems.append("two runs or more are needed")
    if output.resolve() in [path.resolve() for path in runs]:
        problems.append(f"--output {output} is one of the runs")
    if output.is_dir():
        problems.append(f"--output {output} is a directory")
    lowest = {"--rrf-k": (rrf_k, 0), "--depth": (depth, 1), "--hits": (hits, 1)}
    problems += [f"{flag} {value} is below {least}" for flag, (value, least) in lowest.items() if value < least]
    if problems:
        raise GradirError("cannot fuse: " + "; ".join(problems))


def _hash(manifest: dict[str, Any]) -> str:
    """Eight digits that stand for the flags and the contents of the runs."""
    decisive = [manifest["config"], [entry["sha256"] for entry in manifest["inputs"]]]
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:8]


def _with_bar(queries: Iterator[tuple[str, list[list[Hit]]]]) -> Iterator[tuple[str, list[list[Hit]]]]:
    from tqdm import tqdm

    yield from tqdm(queries, desc="fuse", unit="query", leave=False, disable=None)


if __name__ == "__main__":
    sys.exit(main())
