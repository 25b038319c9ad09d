"""A judgement from an answer: the grade that was written, and the grade that is expected from its log-probabilities."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from gradir.llm.records import Choice
from gradir.llm.structured import choice_distribution

NAMES = ("0", "1", "2", "3")
_DECIMALS = 6  # what is written; engines do not agree on more
# "Grade: 2", "a score of 1": the word and the number after it, whatever it is
_NAMED = re.compile(
    r"\b(?:grade|score|rating)\b[^\w\n]*(?:(?:is|of|as)\b[^\w\n]*)?(\d+(?:[.,/]\d+)?)(?!\w)", re.IGNORECASE
)
# a line that holds a digit alone, or after a label: "2", "**Judgement:** 2", "Relevance: 2 out of 3"
_LINE = re.compile(
    r"^[^\w\n]*(?:[^\W\d][^:\n]{0,40}:[^\w\n]*)?([0-3](?:/3)?)(?: (?:out )?of 3)?[^\w\n/]*$", re.MULTILINE
)


class Judgement(NamedTuple):
    """What a model thinks of a document.

    Attributes:
        grade: The grade that it wrote.
        expected: The grade expected under its probabilities; without them the grade itself.
        probabilities: Of each grade, as text; None where there were no log-probabilities.
    """

    grade: int
    expected: float
    probabilities: Mapping[str, float] | None


def judgement(choice: Choice) -> Judgement | None:
    """The judgement that an answer is; None of an answer without a grade.

    The expected grade is sum over g of g p(g), where p(g) is the probability of g as the answer, renormalised over the grades: what
    UMBRELA's scale (arXiv 2406.06519) becomes as a soft label, by the way of G-Eval (arXiv 2303.16634). An answer in words counts
    with the last grade that it names, and has no probabilities: its first token is not the grade. A number that is not named
    as the grade is none: "lists 3 causes", or the scale in "Grade: 1 (of 0 to 3)".
    """
    text = choice.text.strip()
    written = text if text in NAMES else _named(text)
    if written not in NAMES:
        return None
    grade = int(written)
    shares = probabilities(replace(choice, text=text))
    if shares is None:
        return Judgement(grade, float(grade), None)
    return Judgement(
        grade, round(expected_grade(shares), _DECIMALS), {g: round(p, _DECIMALS) for g, p in shares.items()}
    )


def _named(text: str) -> str:
    """What the last grade in an answer is, a digit or what else stands in its place; empty where it names none."""
    found = [*_NAMED.finditer(text), *_LINE.finditer(text)]
    return max(found, key=lambda one: one.end(1))[1].removesuffix("/3") if found else ""


def probabilities(choice: Choice) -> dict[str, float] | None:
    """The probability of each grade, renormalised over the grades; None where the answer does not tell."""
    if not choice.top or choice.logprobs is None or choice.text not in NAMES:
        return None
    return choice_distribution(choice, NAMES)


def expected_grade(shares: Mapping[str, float]) -> float:
    """Sum of grade times probability."""
    return math.fsum(int(grade) * share for grade, share in shares.items())
