"""Measures of a run, computed by trec_eval's own code (pytrec_eval), averaged over every judged query (`trec_eval -c`).

Names are those of ir_measures (`nDCG@10`, `RR@10` or `MRR@10`, `R@100`, `AP` or `MAP`, `P@5`, `Success@1`; upper and lower
case alike) and those of trec_eval (`ndcg_cut.10`, `ndcg_cut_10`, `recall.5,10`; `P` or `official` stand for all that
trec_eval prints under that name). With g(r) the grade at rank r (unjudged and negative: 0), rel(r) = 1 where g(r) reaches
the minimum grade, R the number of such judged documents, P(k) = sum of rel(r) for r <= k, divided by k:

    nDCG@k     DCG(k) / DCG(k) of the ideal order of all judged documents; DCG(k) = sum of g(r) / log2(r + 1), r <= k.
               The gain is the grade itself, not 2^grade - 1. Järvelin & Kekäläinen, TOIS 2002.
    AP, AP@k   sum of rel(r) P(r), over r <= k, divided by R. Buckley & Voorhees, SIGIR 2000. Its mean is MAP.
    RR, RR@k   1 / (rank of the first relevant document), 0 if that lies beyond k. Voorhees, TREC-8, 1999. Its mean is MRR.
    P@k, R@k   P(k), and k P(k) / R. Cleverdon, Aslib Proceedings 1967.
    Success@k  1 if any of the first k documents is relevant.
    Rprec      P(R). Buckley & Voorhees, in TREC: Experiment and Evaluation, 2005.
    bpref      mean over relevant documents of 1 - min(n, M) / M; n: judged non-relevant documents ranked above,
               M = min(R, number of those). Buckley & Voorhees, SIGIR 2004.
    infAP      AP estimated from a sampled pool. Yilmaz & Aslam, CIKM 2006.
    gm_map     geometric mean of AP, each at least 0.00001. Robertson, CIKM 2006.

trec_eval's rules, tried on the copy inside Anserini 1.7.1, hold here:

- A judged query without results counts as 0, and so does a judged query without any relevant document, found or not.
  Queries of the run that are not judged are left out.
- The rank column is ignored: documents are ordered by score, then by docid descending. Scores are held in *single
  precision*: 17.000001 and 17.000000 are a tie. `Scores.reordered` counts the queries that this concerns.
- A negative grade means "in the pool, but not judged": not relevant, and for bpref not judged either. (trec_eval can crash,
  or run for ever, on a query that has no other grades; here it counts as 0.)
- nDCG does not heed the minimum grade. Counts (`num_ret` …) are summed; the sum of `num_rel` is that of grades above 0,
  whatever the minimum grade, while for single queries `num_rel` heeds it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from gradir.data.records import Hit
from gradir.data.runs import iter_run
from gradir.errors import GradirError, InputError, nearest

DEFAULT_MEASURES = ("nDCG@10", "MRR@10", "R@100", "MAP")
HIGHEST_GRADE = 100_000  # trec_eval reserves memory in proportion to the highest grade

# what others call trec_eval's measures
_SYNONYMS = {"ap": "map", "rr": "recip_rank", "mrr": "recip_rank", "r": "recall", "iprec": "iprec_at_recall"}
_AT = {"ndcg": "ndcg_cut", "map": "map_cut", "recip_rank": "recip_rank"}  # NAME@k is another measure than NAME.k
_DEPTHS = ("5", "10", "15", "20", "30", "100", "200", "500", "1000")
# Measures with parameters, and trec_eval's own choice of them. It ends the process at parameters that it does not like,
# so nothing but these reaches it.
_CUTS = {name: _DEPTHS for name in ("P", "recall", "ndcg_cut", "map_cut", "relative_P")} | {"success": ("1", "5", "10")}
_FRACTIONS = {
    "iprec_at_recall": tuple(f"{step / 10:.2f}" for step in range(11)),
    "Rprec_mult": tuple(f"{step / 5:.2f}" for step in range(1, 11)),
}
_GROUPS = ("official", "set", "all_trec")
_NO_NUMBERS = ("runid", "relstring")
_SHOWN = ("nDCG@10", "MRR@10", "RR@10", "R@100", "Recall@100", "P@5", "MAP", "MAP@100", "AP", "MRR", "Success@1")
_LOWEST = math.log(0.00001)  # trec_eval's floor under the logarithms of a geometric mean


class Measure(NamedTuple):
    """One column of the result.

    Attributes:
        name: Its heading: as the user wrote it, or trec_eval's name where one word stands for several measures.
        family: trec_eval's measure.
        parameter: Its cut-off, or fraction with two decimals; empty where it has none.
    """

    name: str
    family: str
    parameter: str = ""

    @property
    def key(self) -> str:
        """The name under which pytrec_eval returns it; the rank cut-off of reciprocal rank is ours."""
        return f"{self.family}_{self.parameter}" if self.parameter and self.family != "recip_rank" else self.family

    @property
    def is_count(self) -> bool:
        """Whether it is summed over queries, not averaged."""
        return self.family.startswith("num_")


@dataclass(frozen=True)
class Scores:
    """What a run scores.

    Attributes:
        means: The measures over all judged queries.
        per_query: The measures of every judged query, in the order of the qrels; logarithms for gm_map and gm_bpref.
        missing: Judged queries without results.
        unjudged: Queries of the run that are not judged.
        reordered: Queries whose measures may have changed because trec_eval holds scores in single precision.
    """

    means: dict[str, float]
    per_query: dict[str, dict[str, float]]
    missing: int
    unjudged: int
    reordered: int


def evaluate_run(
    qrels: Mapping[str, Mapping[str, int]],
    run: str | Path | Iterable[tuple[str, Sequence[Hit]]],
    measures: Sequence[str] = DEFAULT_MEASURES,
    min_grade: int = 1,
) -> Scores:
    """Measure a run, holding one query's documents at a time.

    Args:
        qrels: `{qid: {docid: grade}}`.
        run: A run file, or (qid, hits) as `iter_run` gives them; the order of hits does not count, their scores do.
        measures: Names of measures (see this module's text).
        min_grade: Lowest grade that counts as relevant (trec_eval's `-l`).

    Raises:
        GradirError: Names of measures that are not known (all of them), or grades that trec_eval cannot take.
        InputError: The run is malformed, or has no query in common with the qrels.
    """
    columns = parse_measures(measures)
    evaluator = _Evaluator(qrels, columns, min_grade)
    found: dict[str, dict[str, float]] = {}
    unjudged = reordered = 0
    for qid, hits in iter_run(run) if isinstance(run, str | Path) else run:
        if qid not in evaluator.qrels:
            unjudged += 1
            continue
        found[qid] = evaluator.one(qid, hits)
        reordered += _reordered(hits, evaluator.qrels[qid])
    if unjudged and not found:
        place = run if isinstance(run, str | Path) else "the run"
        raise InputError(place, "none of its queries is judged", "Do run and qrels belong to the same topics?")
    per_query = {qid: found[qid] if qid in found else evaluator.nothing(qid) for qid in evaluator.qrels}
    means = {column.name: _total(column, per_query) for column in columns}
    relevant = sum(grade > 0 for judged in evaluator.qrels.values() for grade in judged.values())
    means |= {column.name: float(relevant) for column in columns if column.family == "num_rel"}  # as `trec_eval -c -l`
    return Scores(means, per_query, len(per_query) - len(found), unjudged, reordered)


def parse_measures(names: Sequence[str]) -> list[Measure]:
    """The columns that these names stand for, in order, each once.

    Raises:
        GradirError: Names that are not known, or parameters that do not fit; all of them at once.
    """
    columns: dict[str, Measure] = {}
    problems = []
    for name in names:
        try:
            columns |= {column.name: column for column in _columns(name)}
        except ValueError as error:
            problems.append(f"'{name}' {error}")
    if problems:
        raise GradirError("\n  ".join(["measures that gradir does not know:", *problems]))
    if not columns:
        raise GradirError(f"no measures. Name some: {' '.join(DEFAULT_MEASURES)}")
    return list(columns.values())


def _columns(name: str) -> Iterator[Measure]:
    """The columns of one name; ValueError with the reason if there are none."""
    if name in _GROUPS:
        yield from _group(name)
        return
    known = _known()
    suffix = re.search(r"[@._][\d.,]+$", name)
    word = name[: suffix.start()] if suffix else name
    separator, parameters = (suffix[0][0], suffix[0][1:]) if suffix else ("", "")
    family = known.get(word.lower())
    if family is None:
        raise ValueError(f"is no measure{nearest(name.lower(), [*map(str.lower, _SHOWN), *known])}")
    if separator == "@":
        family = _AT.get(family, family)
    defaults = _CUTS.get(family) or _FRACTIONS.get(family)
    if not separator:
        yield from _each(family, defaults) if defaults else [Measure(name, family)]
    elif defaults or (family == "recip_rank" and separator == "@"):
        checked = [_parameter(family, text) for text in parameters.split(",")]
        yield from [Measure(name, family, checked[0])] if len(checked) == 1 else _each(family, checked)
    else:
        raise ValueError(f"takes no '{separator}{parameters}': write {_without(family)}")


def _without(family: str) -> str:
    cut = {"map": "MAP@100", "ndcg": "nDCG@10", "recip_rank": "MRR@10"}.get(family)
    return f"{family}, or {cut} for a cut-off" if cut else family


def _each(family: str, parameters: Iterable[str]) -> list[Measure]:
    return [Measure(f"{family}_{parameter}", family, parameter) for parameter in parameters]


def _group(name: str) -> Iterator[Measure]:
    import pytrec_eval

    for family in sorted(pytrec_eval.supported_nicknames[name] - set(_NO_NUMBERS)):
        yield from _columns(family)


def _known() -> dict[str, str]:
    """trec_eval's measures by every name in lower case."""
    import pytrec_eval

    families = sorted(pytrec_eval.supported_measures - set(_NO_NUMBERS))
    return {family.lower(): family for family in families} | _SYNONYMS


def _parameter(family: str, text: str) -> str:
    """A parameter as trec_eval writes it."""
    if family in _FRACTIONS:
        highest = 1 if family == "iprec_at_recall" else 100
        if not re.fullmatch(r"\d+(\.\d{1,2})?", text) or float(text) > highest:
            raise ValueError(f"needs a fraction of at most {highest} with two decimals, such as {family}.0.50")
        return f"{float(text):.2f}"
    if not re.fullmatch(r"\d{1,9}", text) or int(text) < 1:
        raise ValueError("needs a cut-off of 1 or more")
    return str(int(text))


class _Evaluator:
    """pytrec_eval, one query at a time."""

    def __init__(self, qrels: Mapping[str, Mapping[str, int]], columns: Sequence[Measure], min_grade: int):
        import pytrec_eval

        if min_grade < 1:
            raise GradirError(f"lowest relevant grade {min_grade}: choose 1 or more, 0 means not relevant")
        self.qrels = {qid: _with_a_grade(judged) for qid, judged in qrels.items() if judged}
        self.columns, self.min_grade = columns, min_grade
        highest = max((grade for judged in self.qrels.values() for grade in judged.values()), default=0)
        if not self.qrels or highest > HIGHEST_GRADE:
            problem = f"a grade of {highest}" if self.qrels else "no judgements"
            raise GradirError(f"the qrels hold {problem}. Are they the right ones?")
        self._evaluator = pytrec_eval.RelevanceEvaluator(
            self.qrels, {column.key for column in columns}, relevance_level=min_grade
        )

    def one(self, qid: str, hits: Sequence[Hit]) -> dict[str, float]:
        """The measures of one query."""
        if not hits:
            return self.nothing(qid)
        values = self._evaluator.evaluate({qid: {docid: float(score) for docid, score in hits}})[qid]
        return {column.name: _cut(column, values[column.key]) for column in self.columns}

    def nothing(self, qid: str) -> dict[str, float]:
        """The measures of a query without results."""
        relevant = sum(grade >= self.min_grade for grade in self.qrels[qid].values())
        special = {"num_q": 1.0, "num_rel": float(relevant), "gm_map": _LOWEST, "gm_bpref": _LOWEST}
        return {column.name: special.get(column.family, 0.0) for column in self.columns}


def _with_a_grade(judged: Mapping[str, int]) -> Mapping[str, int]:
    """Judgements with a highest grade of 0 or more: trec_eval ends the process, or never ends, where all are negative.

    The document added changes no measure: without relevant documents all are 0 but for counts of what was retrieved, and
    with white space in its id it is in no run.
    """
    return judged if max(judged.values()) >= 0 else {**judged, " ": 0}


def _cut(column: Measure, value: float) -> float:
    """Reciprocal rank is 0 beyond its cut-off, which trec_eval has only for whole runs (`-M`)."""
    if column.family == "recip_rank" and column.parameter and value < 1 / int(column.parameter):
        return 0.0
    return value


def _total(column: Measure, per_query: Mapping[str, Mapping[str, float]]) -> float:
    """Mean, sum or geometric mean over all queries; added in trec_eval's order, so that the last digit is the same too."""
    total = 0.0
    for qid in sorted(per_query):
        total += per_query[qid][column.name]
    if column.is_count:
        return total
    mean = total / len(per_query)
    return math.exp(mean) if column.family.startswith("gm_") else mean


def _reordered(hits: Sequence[Hit], judged: Mapping[str, int]) -> bool:
    """Whether single precision changes the order of documents with different judgements."""
    import numpy as np

    ordered = sorted(((score, docid) for docid, score in hits), reverse=True)
    exact = np.array([score for score, _ in ordered], dtype=np.float64)
    with np.errstate(over="ignore"):
        single = exact.astype(np.float32)
    if not np.any((single[1:] == single[:-1]) & (exact[1:] != exact[:-1])):
        return False
    rounded = sorted(zip(single.tolist(), (docid for _, docid in ordered), strict=True), reverse=True)
    return [judged.get(docid) for _, docid in rounded] != [judged.get(docid) for _, docid in ordered]
