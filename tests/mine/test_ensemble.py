"""Normalisation and spread against plain Python."""

from __future__ import annotations

import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradir.mine.ensemble import Spread, like, min_max, z_score

numbers = st.floats(-1e3, 1e3).map(lambda x: round(x, 3))
rows = st.integers(1, 3).flatmap(lambda n: st.lists(st.lists(numbers, min_size=n, max_size=n), min_size=1, max_size=4))


@given(rows)
def test_rows_are_normalised_alone(table: list[list[float]]) -> None:
    scaled, standard = min_max(np.array(table)), z_score(np.array(table))
    for row, ours, theirs in zip(table, scaled.tolist(), standard.tolist(), strict=True):
        low, high = min(row), max(row)
        assert ours == pytest.approx([(x - low) / (high - low) if high > low else 0 for x in row])
        mean, deviation = statistics.fmean(row), statistics.pstdev(row)
        assert theirs == pytest.approx([(x - mean) / deviation if high > low else 0 for x in row], abs=1e-6)


@given(st.lists(st.lists(numbers, max_size=5), max_size=5))
def test_spread_in_pieces_is_spread_at_once(pieces: list[list[float]]) -> None:
    spread, flat = Spread(), [x for piece in pieces for x in piece]
    for piece in pieces:
        spread.add(np.array(piece))
    assert spread.number == len(flat)
    if flat:
        assert spread.mean == pytest.approx(statistics.fmean(flat), abs=1e-9)
        assert spread.deviation == pytest.approx(statistics.pstdev(flat), abs=1e-6)


def test_like_another() -> None:
    own, other = Spread(), Spread()
    mine, theirs = np.array([0.0, 0.5, 1.0]), np.array([-8.0, 2.0, 9.0, 4.0])
    own.add(mine)
    other.add(theirs)
    moved = like(mine, own, other)
    assert moved.mean() == pytest.approx(theirs.mean())
    assert moved.std() == pytest.approx(theirs.std())
    flat = Spread()
    flat.add(np.ones(3))
    assert like(np.ones(3), flat, other).tolist() == pytest.approx([theirs.mean()] * 3)
