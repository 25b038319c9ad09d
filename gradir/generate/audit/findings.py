"""What stands out in an audit, in words."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Any

_LENGTHS = (0.35, 0.65)  # AUC outside of which a length is called a leak
_BM25 = 0.95
_CHANCE = 0.01  # p of the sign test from which on grades are called not told apart


def findings(summary: dict[str, Any]) -> list[str]:
    """Sentences, the worst first."""
    total, found = summary["records"], []
    for reason, of in (summary.get("contamination") or {}).items():
        what = reason.removeprefix("near_").replace("_", " ")
        how = "nearly repeat" if reason.startswith("near_") else "share a run of words with"
        found.append(f"{_part(of['records'], total)} records {how} a {what}.")
    found += _leak_findings(summary.get("leak") or {})
    found += _order_findings(summary)
    defects = Counter({reason: of["records"] for reason, of in summary["defects"].items()})
    found += [f"{_part(count, total)} texts: {reason}." for reason, count in defects.most_common()]
    cut_off = summary["cut_off"]["records"]
    if cut_off:
        found.append(f"{_part(cut_off, total)} texts were cut off at --max-tokens.")
    duplicates = summary["duplicates"]
    count = duplicates.get("near", duplicates["exact"])
    if count:
        found.append(f"{_part(count, total)} texts are near duplicates of another one.")
    wrong = summary["language"]["wrong"]
    if wrong:
        expected = summary["language"]["expected"]
        found.append(f"{_part(wrong, total)} texts seem to be in another language than {expected}.")
    return found


def _part(count: int, total: int) -> str:
    return f"{count:,} of {total:,} ({count / total:.1%})"


def _order_findings(summary: dict[str, Any]) -> list[str]:
    found = []
    for one in (summary.get("monotone") or {}).get("levels", ()):
        if one["adjacent"] and one["p"] is not None and one["p"] >= _CHANCE:
            share = f"{one['share']:.1%} of the pairs, p = {one['p']:.2g}"
            found.append(f"The reranker does not tell grade {one['high']} from grade {one['low']} ({share}).")
    means = [(grade, of["mean"]) for grade, of in summary["by_grade"].get("overlap", {}).items() if of["n"]]
    for (low, less), (high, more) in pairwise(means):
        if more < less:
            found.append(
                f"The share of query words in the document falls from grade {low} ({less:.2f}) to grade {high} ({more:.2f})."
            )
    return found


def _leak_findings(told: dict[str, Any]) -> list[str]:
    """What is to be worried about, in words."""
    found = []
    for name, of in told.items():
        area, low, high = (of["within"]["auc"][part] for part in ("value", "low", "high"))
        if area is None or low <= 0.5 <= high:  # may well be chance
            continue
        if name.endswith("words") and not _LENGTHS[0] <= area <= _LENGTHS[1]:
            longer = "longer" if area > 0.5 else "shorter"
            found.append(
                f"Length alone tells the grade: the relevant text is {longer} in {_percent(area)} of the pairs."
            )
        if name == "bm25" and area > _BM25:
            found.append(f"BM25 alone tells the grade in {area:.1%} of the pairs: little else is left to be learned.")
    return found


def _percent(area: float) -> str:
    return f"{max(area, 1 - area):.1%}"
