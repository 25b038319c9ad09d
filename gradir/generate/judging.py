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
_SAID = re.compile(r"(?<![\w.,/-])([0-3])(?![\w/]|[.,]\d)")


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
    with the last grade that it names, and has no probabilities: its first token is not the grade.
    """
    text = choice.text.strip()
    found = [text] if text in NAMES else _SAID.findall(text)
    if not found:
        return None
    grade = int(found[-1])
    shares = probabilities(replace(choice, text=text))
    if shares is None:
        return Judgement(grade, float(grade), None)
    return Judgement(
        grade, round(expected_grade(shares), _DECIMALS), {g: round(p, _DECIMALS) for g, p in shares.items()}
    )


def probabilities(choice: Choice) -> dict[str, float] | None:
    """The probability of each grade, renormalised over the grades; None where the answer does not tell."""
    if not choice.top or choice.logprobs is None or choice.text not in NAMES:
        return None
    return choice_distribution(choice, NAMES)


def expected_grade(shares: Mapping[str, float]) -> float:
    """Sum of grade times probability."""
    return math.fsum(int(grade) * share for grade, share in shares.items())
