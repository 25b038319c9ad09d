"""The known causes for which two runs differ, each a rule over the differences of all queries.

A verdict is `yes` (it explains every query that differs), `part` (some), `no`, or `?` (possible; the runs alone cannot tell).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from gradir.evaluate.differences import Difference

# What a ratio of scores may come from.
_FACTORS = {
    "51.2 for 100 on one side": 51.2 / 100,
    "100 for 51.2 on one side": 100 / 51.2,
    "51.2 for 100 on both sides": (51.2 / 100) ** 2,
    "100 for 51.2 on both sides": (100 / 51.2) ** 2,
}
_NEAR = 0.03  # rounding impacts to integers leaves ratios this far from exact


@dataclass(frozen=True)
class Verdict:
    """What is to be said of one cause.

    Attributes:
        cause: Its name.
        qids: The queries that it explains, or may explain.
        evidence: Numbers and an example, a line.
        certain: Whether it explains them, and does not only look so.
        advice: What would tell, where the runs alone cannot.
    """

    cause: str
    qids: list[str] = field(default_factory=list)
    evidence: str = ""
    certain: bool = True
    advice: str = ""

    def word(self, differing: int) -> Literal["yes", "part", "no", "?"]:
        """The verdict, given how many queries differ."""
        if not self.qids:
            return "?" if self.advice else "no"
        if not self.certain:
            return "?"
        return "yes" if len(self.qids) == differing else "part"


def missing_queries(differences: Sequence[Difference]) -> Verdict:
    """Queries that one run has no line of: not searched, without hits, or with ids written in another way."""
    only_a = [d.qid for d in differences if not d.sizes[1]]
    only_b = [d.qid for d in differences if not d.sizes[0]]
    evidence = f"{len(only_a)} only in A, {len(only_b)} only in B; first: {(only_a + only_b + [''])[0]}"
    numbers = {qid.lstrip("0") for qid in only_b}
    renamed = [qid for qid in only_a if qid.isdigit() and qid.lstrip("0") in numbers]
    if renamed:
        evidence += f"; {len(renamed)} are the same number with other zeros (Pyserini reads ids of digits as numbers)"
    return Verdict("queries missing", only_a + only_b, evidence)


def removed_query(differences: Sequence[Difference]) -> Verdict:
    """`--remove-query`: the document whose id is the query's is in one run only, and nothing else has changed."""
    found = [d for d in differences if d.own[0] != d.own[1] and not d.changed and all(d.sizes)]
    in_a = sum(d.own[0] for d in found)
    return _verdict("removed query", found, f"the document of the query's own id is only in {'A' if in_a else 'B'}")


def hits(differences: Sequence[Difference]) -> Verdict:
    """`--hits`: one run is the beginning of the other."""
    found = [d for d in differences if d.is_cut and not d.changed]
    longest = [max((d.sizes[run] for d in found), default=0) for run in (0, 1)]
    return _verdict("hits", found, f"at most {longest[0]} documents in A, {longest[1]} in B, the same ones first")


def ties(differences: Sequence[Difference]) -> Verdict:
    """Equal scores in another order. trec_eval reads equal scores by docid descending, whatever the file's order."""
    found = [d for d in differences if d.scores_equal and d.only_ties and (d.reordered or _common(d) < d.sizes[0])]
    return _verdict("ties", found, "scores are equal, but documents of equal score stand in another order")


def rounding(differences: Sequence[Difference]) -> Verdict:
    """Scores written with fewer decimals, or moved by single precision alone."""
    digits = [max((d.decimals[run] for d in differences), default=0) for run in (0, 1)]
    fewer = min(digits)
    half = 0.5 * 10.0**-fewer + 1e-6
    found = [d for d in differences if d.scores_equal and d.only_ties and not d.reordered and not d.same]
    found = [d for d in found if _common(d) == d.sizes[0]]
    if digits[0] != digits[1]:
        found += [d for d in differences if d.changed and d.largest <= half]
    words = f"scores have {digits[0]} decimals in A, {digits[1]} in B, and differ by at most half of the last one"
    return _verdict("rounding of scores", found, words)


def number_format(differences: Sequence[Difference]) -> Verdict:
    """bfloat16 or int8 for float32, or other batches: small differences in both directions."""
    found = [d for d in differences if d.changed and _is_noise(d)]
    largest = max((float(np.abs(d.ratios - 1).max(initial=0)) for d in found), default=0.0)
    return _verdict("number format", found, f"scores are at most {largest:.2%} apart, some higher and some lower")


def scale(differences: Sequence[Difference]) -> Verdict:
    """Impacts of another scale: scores are proportional. Or Lucene's dense scores, (1 + s) / 2."""
    some = [d for d in differences if d.changed]
    halves = [d for d in some if np.allclose(d.scores[1], (1 + d.scores[0]) / 2, atol=2e-4)]
    halves += [d for d in some if np.allclose(d.scores[0], (1 + d.scores[1]) / 2, atol=2e-4)]
    if halves:
        return _verdict("scale", halves, "scores are (1 + s) / 2 of the other run's: Lucene's dense scores")
    ratios = np.concatenate([d.ratios for d in some]) if some else np.zeros(0)
    middle = float(np.median(ratios)) if len(ratios) else 1.0
    if middle <= 0 or abs(middle - 1) <= _NEAR:
        return Verdict("scale")
    found = [d for d in some if len(d.ratios) and _spread(d, middle) <= _NEAR]
    named = [name for name, factor in _FACTORS.items() if abs(middle / factor - 1) <= _NEAR]
    return _verdict(
        "scale", found, f"scores in B are {middle:.4f} times those in A" + "".join(f" ({n})" for n in named)
    )


def special_tokens(differences: Sequence[Difference]) -> Verdict:
    """[CLS], [SEP] as terms: they stand in every document, so they add about the same to all scores of a query."""
    found = [d for d in differences if d.changed and _one_sign(d) and np.std(d.shift) <= 0.3 * abs(np.mean(d.shift))]
    means = [float(np.mean(d.shift)) for d in found]
    words = (
        f"all scores of a query differ by about the same, {min(means, default=0):.4g} to {max(means, default=0):.4g}"
    )
    return _verdict("special tokens", found, words, certain=False, advice=_NEEDS)


def min_idf(differences: Sequence[Difference]) -> Verdict:
    """Terms that occur in every document, which Pyserini leaves out where min_idf is 0: scores are lower in one run."""
    found = [d for d in differences if d.changed and _one_sign(d)]
    higher = sum(float(np.mean(d.shift)) < 0 for d in found)
    words = f"no score of a query is higher in the other run (A is higher in {higher} queries)"
    return _verdict("min_idf", found, words, certain=False, advice=_NEEDS)


def document_lengths(differences: Sequence[Difference]) -> Verdict:
    """Documents cut at 256 or 512 tokens: the differences belong to some documents, in whatever query."""
    changed, unchanged = documents(differences)
    concerned = changed - unchanged
    share = len(changed) / max(1, len(changed | unchanged))
    found = [d for d in differences if d.changed and share < 0.7 and _mostly(d.changed, concerned)]
    words = f"{len(changed)} of {len(changed | unchanged)} documents differ, {len(concerned)} of them in every query"
    return _verdict(
        "lengths of documents", found, words, certain=False, advice="--corpus tells whether they are the long ones"
    )


def documents(differences: Sequence[Difference]) -> tuple[set[str], set[str]]:
    """(documents whose score differs in some query, those whose score is equal in some)."""
    changed = {docid for d in differences for docid in d.changed}
    return changed, {docid for d in differences for docid in d.unchanged}


_NEEDS = "--topics, --index and --encoder would tell"
CAUSES: tuple[Callable[[Sequence[Difference]], Verdict], ...] = (
    missing_queries,
    removed_query,
    hits,
    ties,
    rounding,
    scale,
    number_format,
    document_lengths,
    special_tokens,
    min_idf,
)


def _verdict(cause: str, found: Sequence[Difference], words: str, certain: bool = True, advice: str = "") -> Verdict:
    if not found:
        return Verdict(cause)
    example = f"; query {found[0].qid}: {_example(found[0])}"
    return Verdict(cause, [d.qid for d in found], words + example, certain, advice)


def _example(d: Difference) -> str:
    """The first document whose score differs most, or the lengths."""
    common = _common(d)
    if not d.largest or not common:
        return f"{d.sizes[0]} documents in A, {d.sizes[1]} in B"
    place = int(np.argmax(np.abs(d.shift)))
    return f"{d.scores[0][place]:.6g} in A, {d.scores[1][place]:.6g} in B"


def _common(d: Difference) -> int:
    return len(d.changed) + len(d.unchanged)


def _spread(d: Difference, middle: float) -> float:
    """How far the ratios of most documents lie from the middle one, relative to it."""
    return float(np.quantile(np.abs(d.ratios / middle - 1), 0.9))


def _one_sign(d: Difference) -> bool:
    """Whether no score is lower in B, or none is higher, but by what counts as equal."""
    slack = 1e-4 * np.abs(d.scores[0])
    return bool((d.shift >= -slack).all() or (d.shift <= slack).all())


def _is_noise(d: Difference) -> bool:
    near = bool((np.abs(d.ratios - 1) <= _NEAR).all())
    return near and not (len(d.changed) > 3 and _one_sign(d))


def _mostly(docids: Sequence[str], known: set[str]) -> bool:
    return sum(docid in known for docid in docids) >= 0.8 * len(docids)
