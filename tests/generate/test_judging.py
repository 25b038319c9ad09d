"""Judgements from answers and their log-probabilities."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradir.generate.judging import expected_grade, judgement, probabilities
from gradir.llm.records import Choice


def logs(**shares: float) -> dict[str, float]:
    return {name.removeprefix("g"): math.log(share) for name, share in shares.items()}


def answer(text: str, *tops: dict[str, float]) -> Choice:
    """An answer with the likeliest tokens at each place."""
    first = tops[0].get(text.strip(), -1.0)
    return Choice(text, logprobs=(first, *(0.0 for _ in tops[1:])), top=tops)


def test_expected_grade_over_what_is_left_after_renormalising() -> None:
    found = judgement(answer("2", logs(g0=0.1, g1=0.2, g2=0.3, other=0.4)))
    assert found is not None
    assert found.grade == 2
    assert found.probabilities == {"0": 0.166667, "1": 0.333333, "2": 0.5, "3": 0.0}
    assert found.expected == pytest.approx((0.2 * 1 + 0.3 * 2) / 0.6, abs=1e-6)


def test_only_the_first_token_counts() -> None:
    found = judgement(answer(" 1\n", logs(g1=1.0), logs(g3=1.0)))
    assert found is not None
    assert found.expected == 1


def test_without_log_probabilities_the_grade_itself() -> None:
    assert judgement(Choice(" 3\n")) == (3, 3.0, None)
    assert judgement(Choice("3", top=({"3": -0.1},))) == (3, 3.0, None)


@pytest.mark.parametrize(
    ("text", "grade"),
    [
        ("The passage answers it.\nGrade: 3", 3),
        ("Point 1 holds, point 2 does not. Grade: 0.", 0),
        ("**Grade: 2**", 2),
        ("Grade 1", 1),
        ("Grade: 1 out of 3", 1),
        ("Grade: 2 (on a scale from 0 to 3)", 2),
        ("It lists 3 causes.\n\n**Judgement:** 1", 1),
        ("A grade of 3 would ask for more; this deserves a score of 2.", 2),
        ("Relevance: 0/3", 0),
        ("Two of 3 parts are there.\n2\n", 2),
    ],
)
def test_the_last_grade_of_an_answer_in_words(text: str, grade: int) -> None:
    # The likeliest first tokens of such an answer say nothing of the grade.
    assert judgement(answer(text, logs(g0=0.9, The=0.1))) == (grade, float(grade), None)


UNTOLD = [
    "The passage lists 3 causes and then goes on to",  # cut off before the grade
    "The person wants 2 things. Grade: 5",
    "Grade: 1.5",
    "Grade: 2/5",
    "Grade: 10",
    "1. The person asks why. 2. The passage does not say",
]


@pytest.mark.parametrize("text", ["", "relevant", "Grade: 4", "In 2024 it was 1.5 or 10 of 30", "3/5", *UNTOLD])
def test_an_answer_without_a_grade(text: str) -> None:
    assert judgement(Choice(text)) is None


@given(st.lists(st.floats(-50, 0), min_size=4, max_size=4))
def test_probabilities_sum_to_one_and_bound_the_grade(values: list[float]) -> None:
    found = probabilities(answer("0", dict(zip("0123", values, strict=True))))
    assert found is not None
    assert sum(found.values()) == pytest.approx(1)
    assert 0 <= expected_grade(found) <= 3
    softmax = [math.exp(v) / sum(map(math.exp, values)) for v in values]
    assert list(found.values()) == pytest.approx(softmax)
