"""Each rule on hand-made scores."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradir.mine.limits import Limits, relative_limit

finite = st.floats(-1e6, 1e6)


def limit(positive: float, margin: float) -> float:
    return float(relative_limit(np.array([positive]), margin)[0])


@pytest.mark.parametrize(
    ("positive", "margin", "expected"),
    [
        (10.0, 0.95, 9.5),
        (-10.0, 0.95, -10.5),
        (0.0, 0.95, 0.0),
        (10.0, 1.0, 10.0),
        (-10.0, 1.0, -10.0),
        (4.0, 1.5, 6.0),
    ],
)
def test_relative_limit(positive: float, margin: float, expected: float) -> None:
    assert limit(positive, margin) == pytest.approx(expected)


@given(finite, finite, st.floats(0.01, 1))
def test_a_lower_positive_never_has_a_higher_limit_than_itself(a: float, b: float, margin: float) -> None:
    assert limit(a, margin) <= a
    if margin >= 0.5:  # falls with the positive, also through zero
        assert limit(min(a, b), margin) <= limit(max(a, b), margin)


@given(finite, st.floats(0.01, 0.99))
def test_it_is_the_published_rule_above_zero_and_its_mirror_below(positive: float, margin: float) -> None:
    assert limit(positive, margin) == pytest.approx(positive - (1 - margin) * abs(positive), abs=1e-6)


def reasons(limits: Limits, scores: list[float], positive: float | None) -> dict[str, list[bool]]:
    """Of two rankings with the same scores; none of the second, which holds no positive, may be dropped by comparison."""
    positives, sizes = np.array([np.nan if positive is None else positive, np.nan]), np.full(2, len(scores))
    found = {reason: mask.tolist() for reason, mask in limits.dropped(np.array(scores * 2), positives, sizes)}
    for reason, mask in found.items():
        assert mask[len(scores) :] == ([False] * len(scores) if "margin" in reason else mask[: len(scores)])
    return {reason: mask[: len(scores)] for reason, mask in found.items()}


def test_every_rule_at_its_border() -> None:
    scores = [10.0, 9.5, 9.4, 8.0, 7.9, 2.0, 1.9]
    found = reasons(Limits(0.95, 2.0, 9.4, 2.0), scores, 10.0)
    assert found["margin"] == [True, True, False, False, False, False, False]  # at or above 9.5
    assert found["absolute_margin"] == [True, True, True, False, False, False, False]  # above 8
    assert found["max_score"] == [True, True, False, False, False, False, False]  # above 9.4
    assert found["min_score"] == [False, False, False, False, False, False, True]  # below 2
    assert reasons(Limits(None), scores, 10.0) == {}
    without = reasons(Limits(0.95, 2.0, 9.4), scores, None)
    assert {reason for reason, mask in without.items() if any(mask)} == {"max_score"}


def test_nan_is_dropped_by_no_rule() -> None:
    found = reasons(Limits(0.95, 2.0, 1.0, 5.0), [float("nan")], 3.0)
    assert not any(mask[0] for mask in found.values())


@pytest.mark.parametrize(
    ("options", "held", "expected"),
    [
        ({}, [3.0, 5.0, 1.0], 5.0),
        ({"against": "lowest"}, [3.0, 5.0, 1.0], 1.0),
        ({"against": "mean"}, [3.0, 5.0, 1.0], 3.0),
        ({}, [], None),
        ({"missing": "keep"}, [], None),
        ({"missing": "lowest"}, [], 0.5),
        ({"missing": "lowest"}, [3.0, 5.0], 5.0),
        ({"missing": "lowest", "against": "lowest"}, [3.0, 5.0], 0.5),
        ({"missing": "lowest", "against": "mean"}, [3.0, 5.5], 3.0),
        ({"missing": "skip", "against": "mean"}, [3.0, 5.0], 4.0),
    ],
)
def test_which_positive_is_compared_with(options: dict[str, Any], held: list[float], expected: float | None) -> None:
    # the first ranking lacks the query, the second is asked about, the third holds one positive of its own
    owners, scores = np.array([1] * len(held) + [2]), np.array([*held, 7.0])
    found = Limits(**options).references(owners, scores, np.array([1, 3, 1]), np.array([np.nan, 0.5, 6.0])).tolist()
    assert found == pytest.approx([np.nan, np.nan if expected is None else expected, 7.0], nan_ok=True)
