"""`gradir fuse`: runs in, one run out.

A rank is the place in the order of scores, then docids descending, as trec_eval orders a run; the rank column is not read. In
runs that gradir or Anserini wrote the two are the same, because they hold no equal scores. `pyserini.fusion` reads the rank
column, so on runs with equal scores, or with ranks that contradict the scores, it may differ.
"""

from __future__ import annotations

import math
import shlex
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from gradir.command import Outcome
from gradir.data.manifest import Job
from gradir.data.runs import aligned, iter_columns, run_tag, run_writer
from gradir.errors import GradirError
from gradir.fuse.methods import MethodName, Normalization, Part, Repeated, combine, method_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from gradir.fuse.methods import Scores

_T = TypeVar("_T")


def run(
    runs: list[Path],
    output: Path,
    method: MethodName = "rrf",
    rrf_k: int = 60,
    alpha: float | None = None,
    weights: list[float] | None = None,
    normalize: Normalization | None = None,
    depth: int = 1000,
    hits: int = 1000,
    tag: str | None = None,
    overwrite: bool = False,
) -> Outcome:
    """Fuse several runs into one.

    A document's score is the sum of what the runs that hold it contribute; a run that does not hold it contributes nothing.
    Ranks are those of trec_eval: by score, then docid descending. Queries of any run are kept: those of the first run in its
    order, then further ones. Runs with the same queries in the same order are read side by side, one query in memory;
    otherwise queries are kept until their turn comes.

    Args:
        runs: Two or more TREC run files.
        output: The fused run.
        method: What a run contributes. rrf: 1 / (k + rank), reciprocal rank fusion. interpolation: weight x score.
            average: score / number of runs. combsum: the score. combmnz: the score, and the sum is multiplied by the
            number of runs that hold the document. normalize: combsum with min-max, as Pyserini calls it.
        rrf_k: Constant k of reciprocal rank fusion.
        alpha: Interpolation of two runs: weight of the first; the second has 1 - alpha (default: 0.5).
        weights: Interpolation: a weight for each run.
        normalize: Scores of each run and query first moved to [0, 1] (min-max; 1 if all are equal) or divided by their
            standard deviation around their mean (z-score; 0 if all are equal); over the whole list, before depth
            cuts it (default: none).
        depth: Documents taken from each run per query.
        hits: Documents written per query.
        tag: Sixth column of the run (default: gradir.fuse.HASH).
        overwrite: Replace an output made from other runs or with other flags.
    """
    runs, output = [Path(path) for path in runs], Path(output)
    lowest = {"--rrf-k": (rrf_k, 0), "--depth": (depth, 1), "--hits": (hits, 1)}
    problems = _file_problems(runs, output)
    problems += [f"{flag} {value} is below {least}" for flag, (value, least) in lowest.items() if value < least]
    problems += _method_problems(len(runs), method, alpha, weights, normalize)
    if problems:
        raise GradirError("cannot fuse: " + "; ".join(problems))
    if method == "interpolation" and weights is None:
        first = 0.5 if alpha is None else alpha
        weights = [first, 1 - first]
    config: dict[str, Any] = {"method": method, "rrf_k": rrf_k, "depth": depth, "hits": hits, "tag": tag}
    config |= {"weights": weights, "normalize": normalize}
    job = Job(output, "gradir fuse", config, runs, overwrite)
    following = f"gradir evaluate --qrels QRELS --run {shlex.quote(str(output))}"
    if job.finished:
        return Outcome(output, f"{output} is finished; nothing to do", following)
    chosen = method_of(method, len(runs), rrf_k, weights or (), normalize or "none")
    parts = [_parts(path, contribution, depth) for path, contribution in zip(runs, chosen.contributions, strict=True)]
    with run_writer(output, tag or run_tag("fuse", job.manifest)) as writer, _telling(runs):
        for qid, found in _with_bar(aligned(parts)):
            writer.write_ranking(qid, combine([part for part in found if part], hits, chosen.mnz), from_runs=True)
    job.finish({"runs": len(runs), "queries": writer.queries, "hits": writer.lines})
    return Outcome(output, f"{output}: {writer.queries} queries, {writer.lines} hits of {len(runs)} runs", following)


def _parts(path: Path, contribution: Callable[[Scores], Scores], depth: int) -> Iterator[tuple[str, Part]]:
    """(qid, contribution) of the queries of a run."""
    for qid, (docids, scores) in iter_columns(path, unique=False):  # `combine` finds documents that come twice
        yield qid, Part(docids[:depth], contribution(scores)[:depth])


@contextmanager
def _telling(runs: Sequence[Path]) -> Iterator[None]:
    """Says which line has a document for the second time: `combine` only sees that one does."""
    try:
        yield
    except Repeated:
        for path in runs:
            deque(iter_columns(path), maxlen=0)
        raise


def _file_problems(runs: Sequence[Path], output: Path) -> list[str]:
    """What is wrong with the files."""
    problems = [f"{path}: no such file" for path in runs if not path.is_file()]
    if len(runs) < 2:
        problems.append("two runs or more are needed")
    if output.resolve() in [path.resolve() for path in runs]:
        problems.append(f"--output {output} is one of the runs")
    if output.is_dir():
        problems.append(f"--output {output} is a directory")
    return problems


def _method_problems(
    runs: int, method: str, alpha: float | None, weights: Sequence[float] | None, normalize: str | None
) -> list[str]:
    """What is wrong with the flags of methods: one that has no effect would be misunderstood."""
    problems = []
    given: dict[str, object] = {"--alpha": alpha, "--weights": weights}
    if method != "interpolation":
        problems += [f"{flag} is for --method interpolation" for flag, value in given.items() if value is not None]
    elif alpha is not None and weights is not None:
        problems.append("--alpha and --weights exclude each other")
    elif weights is None and runs > 2:
        problems.append(f"--method interpolation of {runs} runs needs --weights, one for each")
    if weights is not None and len(weights) != runs:
        problems.append(f"{len(weights)} --weights for {runs} runs")
    numbers = [*([] if alpha is None else [alpha]), *(weights or [])]
    problems += [f"weight {number} is not finite" for number in numbers if not math.isfinite(number)]
    if normalize is not None and method in ("rrf", "normalize"):
        why = "takes only ranks" if method == "rrf" else "is min-max already; --method combsum takes others"
        problems.append(f"--normalize has no effect: --method {method} {why}")
    return problems


def _with_bar(queries: Iterator[_T]) -> Iterator[_T]:
    from tqdm import tqdm

    yield from tqdm(queries, desc="fuse", unit=" queries", leave=False, disable=None)
