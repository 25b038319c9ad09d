"""How one query's rankings become one: what each run contributes to a document's score, and the sum of it.

A document that a run does not hold gets nothing from it, as in Pyserini: with raw scores that is a score of 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gradir.data.records import Ranking
from gradir.data.run_writing import in_written_order

if TYPE_CHECKING:
    import pyarrow as pa

MethodName = Literal["rrf", "interpolation", "average", "normalize", "combsum", "combmnz"]
Normalization = Literal["none", "min-max", "z-score"]
Scores = NDArray[np.float64]


class Part(NamedTuple):
    """What one run contributes to one query."""

    docids: pa.StringArray
    scores: Scores  # [k]


class Repeated(Exception):
    """A document stands twice in one ranking."""


@dataclass(frozen=True)
class Method:
    """A way to fuse.

    Attributes:
        contributions: For each run: scores of a whole ranking, best first, [k] to what they contribute, [k].
        mnz: Multiply a document's sum by the number of runs that hold it (CombMNZ).
    """

    contributions: Sequence[Callable[[Scores], Scores]]
    mnz: bool = False


def method_of(
    name: MethodName, runs: int, rrf_k: int = 60, weights: Sequence[float] = (), normalize: Normalization = "none"
) -> Method:
    """The method of this name.

    Args:
        name: `rrf`: 1 / (k + rank) (Cormack, Clarke & Büttcher, SIGIR 2009). `interpolation`: weight x score. `average`: score
            / runs. `combsum` and `combmnz`: the scores as they are (Fox & Shaw, TREC-2, 1994). `normalize`: Pyserini's name
            for `combsum` of min-max normalised scores.
        runs: How many runs there are.
        rrf_k: The constant of `rrf` that keeps the first ranks from deciding alone.
        weights: One for each run, of `interpolation`.
        normalize: Applied first, to each run's scores for a query; not by `rrf`, which takes only ranks.
    """
    if name == "rrf":
        return Method([lambda scores: 1 / (rrf_k + np.arange(1.0, len(scores) + 1))] * runs)
    normal = NORMALIZATIONS["min-max" if name == "normalize" else normalize]
    factors = weights if name == "interpolation" else [1 / runs if name == "average" else 1.0] * runs
    return Method([_scaled(normal, factor) for factor in factors], name == "combmnz")


def _scaled(normal: Callable[[Scores], Scores], factor: float) -> Callable[[Scores], Scores]:
    return lambda scores: normal(scores) * factor


def min_max(scores: Scores) -> Scores:
    """Scores moved and stretched to [0, 1]; all 1 where they are all the same, as in Pyserini."""
    low, high = scores.min(), scores.max()
    return (scores - low) / (high - low) if high > low else np.ones_like(scores)


def z_score(scores: Scores) -> Scores:
    """(score - mean) / standard deviation (of the population); all 0 where they are all the same."""
    deviation = scores.std() if scores.max() > scores.min() else 0.0
    return (scores - scores.mean()) / deviation if deviation > 0 else np.zeros_like(scores)


NORMALIZATIONS: dict[str, Callable[[Scores], Scores]] = {"none": np.copy, "min-max": min_max, "z-score": z_score}


def combine(parts: Sequence[Part], hits: int, mnz: bool = False) -> Ranking:
    """One query's best documents by the sum of what the runs contribute, equal ones by docid.

    Args:
        parts: Those runs that have the query.
        hits: Documents kept.
        mnz: See `Method`.

    Raises:
        Repeated: A run has a document twice.
    """
    import pyarrow as pa

    known = pa.concat_arrays([part.docids for part in parts]).dictionary_encode()
    flat, size = known.indices.to_numpy(), len(known.dictionary)
    lengths = [len(part.docids) for part in parts]
    cells = np.zeros(len(parts) * size, bool)  # a run and a document
    cells[flat + np.repeat(np.arange(len(parts)) * size, lengths)] = True
    if np.count_nonzero(cells) < len(flat):
        raise Repeated
    codes = np.split(flat, np.cumsum(lengths)[:-1])
    sums = exact_sums(codes, [part.scores for part in parts], size)  # [U]
    if mnz:
        sums *= np.bincount(flat, minlength=size)
    return _best(known.dictionary, sums, hits)


def exact_sums(codes: Sequence[NDArray[Any]], parts: Sequence[Scores], size: int) -> Scores:
    """The sum of each document's parts, float64 [size], rounded once: what `math.fsum` gives, in whichever order runs come.

    A plain sum depends on the order in its last bit, which would decide between equal documents. Here the rounding error of
    each addition is kept (Knuth's two-sum) and added at the end. The errors themselves add up without any rounding as long as
    runs x largest sum / smallest part stays below 2^53.

    Args:
        codes: Places of each run's documents, [k], none twice.
        parts: What the run contributes to each, [k].
        size: Number of documents.
    """
    sums, errors = np.zeros(size), np.zeros(size)
    for places, part in zip(codes, parts, strict=True):
        before = sums[places]
        after = before + part
        added = after - before
        errors[places] += (before - (after - added)) + (part - added)
        sums[places] = after
    return sums + errors


def _best(docids: pa.StringArray, sums: Scores, hits: int) -> Ranking:
    """The documents with the highest sums, then the lowest docids."""
    if len(sums) > hits:
        last = np.partition(sums, len(sums) - hits)[len(sums) - hits]
        kept = np.flatnonzero(sums >= last)  # with all that tie with the last, between which the docid decides
        docids, sums = docids.take(kept), sums[kept]
    ordered, sums = in_written_order(docids.to_pylist(), sums)
    return Ranking(ordered[:hits], sums[:hits])
