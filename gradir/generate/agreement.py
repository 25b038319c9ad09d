"""How far an LLM's judgements agree with people's: pair by pair, and in the order of systems that they lead to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gradir.data.measures import evaluate_run
from gradir.errors import GradirError

Judged = Mapping[str, Mapping[str, int]]  # {qid: {docid: grade}}
_MEASURE = "nDCG@10"


def agreement(
    human: Judged, llm: Judged, systems: Sequence[str | Path] = (), grades_are: str = "judged by people"
) -> dict[str, Any]:
    """All that is reported, as JSON values.

    Args:
        human: People's grades; negative ones count as 0.
        llm: The LLM's.
        systems: Runs of several systems.
        grades_are: What the first grades are: also those that a generated document was asked for with.

    Raises:
        GradirError: No pair has been judged by both.
        InputError: A run is malformed, or has no judged query.
    """
    pairs = list(both(human, llm))
    if not pairs:
        raise GradirError(f"no pair has a grade {grades_are} and one from the LLM: do the files belong together?")
    labels = sorted({grade for pair in pairs for grade in pair} | {0, 1, 2, 3})
    matrix = confusion(pairs, labels)
    found: dict[str, Any] = {
        "format": 1,
        "grades_are": grades_are,
        "pairs": len(pairs),
        "only_human": sum(map(len, human.values())) - len(pairs),
        "only_llm": sum(map(len, llm.values())) - len(pairs),
        "grades": labels,
        "confusion": matrix.tolist(),
        "equal": _rounded(float(np.trace(matrix)) / len(pairs)),
        "kappa": _rounded(kappa(matrix)),
        "kappa_quadratic": _rounded(kappa(matrix, "quadratic")),
    }
    return found | ({"systems": order_of_systems(human, llm, systems)} if systems else {})


def both(human: Judged, llm: Judged) -> Iterator[tuple[int, int]]:
    """(people's grade, the LLM's) of each pair that has both."""
    for qid, judged in llm.items():
        known = human.get(qid, {})
        yield from ((max(known[docid], 0), grade) for docid, grade in judged.items() if docid in known)


def confusion(pairs: Sequence[tuple[int, int]], labels: Sequence[int]) -> NDArray[np.int64]:
    """How often each grade of people's met each of the LLM's: [labels, labels], people's down the side."""
    place = {label: number for number, label in enumerate(labels)}
    matrix = np.zeros((len(labels), len(labels)), np.int64)
    for theirs, ours in pairs:
        matrix[place[theirs], place[ours]] += 1
    return matrix


def kappa(matrix: NDArray[np.int64], weights: Literal["none", "quadratic"] = "none") -> float | None:
    """Cohen's kappa of a confusion matrix: 1 - sum(w o) / sum(w e).

    o: the matrix; e: what independent judges with the same totals would give; w: 0 on the diagonal and 1 elsewhere (Cohen
    1960), or (i - j)^2 over the places of the grades (Cohen 1968). None where it is not defined: both gave one and the same
    grade to all pairs.

    Args:
        matrix: [labels, labels].
        weights: Which disagreements count how much.
    """
    places = np.arange(len(matrix))
    apart = (places[:, None] - places[None, :]) ** 2
    weight = apart if weights == "quadratic" else (apart > 0).astype(np.int64)
    by_chance = np.outer(matrix.sum(axis=1), matrix.sum(axis=0)) / max(int(matrix.sum()), 1)
    expected = float((weight * by_chance).sum())
    return 1 - float((weight * matrix).sum()) / expected if expected else None


def order_of_systems(human: Judged, llm: Judged, systems: Sequence[str | Path]) -> dict[str, Any]:
    """nDCG@10 of each system under both, over the queries that both have judged, and Kendall's tau-b between the two orders.

    `tau` is None where it is not defined: fewer than two systems, or all of them equal.

    Args:
        human: As in `agreement`.
        llm: As in `agreement`.
        systems: Run files.

    Raises:
        InputError: A run is malformed, or has no judged query.
    """
    from scipy.stats import kendalltau

    shared = [qid for qid in llm if qid in human]
    means = {
        name: [evaluate_run({qid: grades[qid] for qid in shared}, run, [_MEASURE]).means[_MEASURE] for run in systems]
        for name, grades in (("human", human), ("llm", llm))
    }
    found = kendalltau(means["human"], means["llm"]) if len(systems) > 1 else None
    defined = found is not None and bool(np.isfinite(found.statistic))
    rows = zip(systems, means["human"], means["llm"], strict=True)
    return {
        "measure": _MEASURE,
        "queries": len(shared),
        "runs": [{"run": str(run), "human": _rounded(a), "llm": _rounded(b)} for run, a, b in rows],
        "tau": _rounded(float(found.statistic)) if found is not None and defined else None,
        "p": _rounded(float(found.pvalue)) if found is not None and defined else None,
    }


def report(found: Mapping[str, Any]) -> str:
    """The agreement as a table for people."""
    labels = found["grades"]
    lines = [f"{found['pairs']:,} pairs with two grades, {found['equal']:.1%} of them equal"]
    lines += [f"down: {found['grades_are']}; across: by the LLM", ""]
    lines.append(" " * 11 + "".join(f"{label:>9}" for label in labels))
    for label, row in zip(labels, found["confusion"], strict=True):
        lines.append(f"{label:>11}" + "".join(f"{count:>9,}" for count in row))
    lines += ["", f"Cohen's kappa             {_shown(found['kappa'])}"]
    lines.append(f"Cohen's kappa, quadratic  {_shown(found['kappa_quadratic'])}")
    systems = found.get("systems")
    if systems:
        lines += ["", f"{systems['measure']} over {systems['queries']:,} queries   human     LLM"]
        lines += [f"  {Path(one['run']).name:<24}{one['human']:>9.4f}{one['llm']:>9.4f}" for one in systems["runs"]]
        lines.append(f"Kendall's tau             {_shown(systems['tau'])} (p = {_shown(systems['p'])})")
    return "\n".join(lines)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)


def _shown(value: float | None) -> str:
    return "not defined" if value is None else f"{value:.4f}"
