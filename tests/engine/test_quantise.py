"""Impacts against a slow version with dictionaries."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gradir.engine.quantise import UnsoundVector, quantise


def slow(weights: list[list[float]], scale: float, top_k: int | None) -> list[dict[int, int]]:
    """One dictionary a text; Python's round goes to the even number from a half."""
    rows = []
    for row in weights:
        ranked = sorted(range(len(row)), key=lambda term: (-row[term], term))[:top_k]
        impacts = {term: round(float(np.float32(row[term]) * np.float32(scale))) for term in sorted(ranked)}
        rows.append({term: impact for term, impact in impacts.items() if impact})
    return rows


# Few values, many ties: halves of 1/4 x 2 fall between whole numbers.
WEIGHTS = st.sampled_from([0.0, 0.25, 0.75, 1.25, 1.0, 0.004, 3.5])


@settings(deadline=None, max_examples=200, database=None)
@given(st.data())
def test_quantise_is_the_slow_version(data: st.DataObject) -> None:
    terms = data.draw(st.integers(1, 9))
    weights = data.draw(st.lists(st.lists(WEIGHTS, min_size=terms, max_size=terms), min_size=1, max_size=5))
    scale = data.draw(st.sampled_from([2.0, 51.2, 1.0]))
    top_k = data.draw(st.none() | st.integers(1, terms + 1))
    vectors = quantise(torch.tensor(weights), scale, top_k)
    assert vectors.terms.dtype == vectors.impacts.dtype == np.int32
    ours = [dict(zip(*(part.tolist() for part in vectors.row(i)), strict=True)) for i in range(len(vectors))]
    assert ours == slow(weights, scale, top_k)
    assert [list(row) for row in ours] == [sorted(row) for row in ours]


def test_halves_go_to_the_even_number() -> None:
    vectors = quantise(torch.tensor([[0.5, 1.5, 2.5, 3.5]]), 1.0)
    assert dict(zip(*(part.tolist() for part in vectors.row(0)), strict=True)) == {1: 2, 2: 2, 3: 4}


def test_the_lower_term_id_wins_a_tie() -> None:
    vectors = quantise(torch.tensor([[1.0, 2.0, 1.0, 2.0, 1.0]]), 10.0, top_k=3)
    assert vectors.row(0)[0].tolist() == [0, 1, 3]


def test_rows_without_weights() -> None:
    vectors = quantise(torch.tensor([[0.0, 0.0], [0.0, 1.0], [0.001, 0.0]]), 51.2)
    assert vectors.indptr.tolist() == [0, 0, 1, 1]
    assert quantise(torch.zeros(0, 5), 51.2).indptr.tolist() == [0]


@pytest.mark.parametrize("top_k", [None, 1])
@pytest.mark.parametrize("wrong", [torch.nan, torch.inf, 1e9])
def test_what_is_no_impact_is_refused(wrong: float, top_k: int | None) -> None:
    weights = torch.tensor([[1.0, 2.0], [2.0, wrong]])
    with pytest.raises(UnsoundVector) as caught:
        quantise(weights, 51.2, top_k)
    assert caught.value.row == 1


def test_negative_weights_are_refused() -> None:
    with pytest.raises(UnsoundVector):
        quantise(torch.tensor([[-1.0]]), 51.2)


def test_the_largest_impact() -> None:
    assert quantise(torch.tensor([[2.0**31 - 128]]), 1.0).impacts.tolist() == [2**31 - 128]
