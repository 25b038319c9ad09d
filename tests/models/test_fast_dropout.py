"""Dropout by integers laid over numbers: its share, its scale, its seeds, and the same mask on the way back."""

from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gradir.models.fast_dropout import Drop, dropped, seeds

KINDS = [torch.bfloat16, torch.float16, torch.float32, torch.float64]
ANY = settings(deadline=None, max_examples=100, database=None)
SEEDS = st.integers(0, 2**62)


def kept(drop: Drop, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """1 for a number that is kept, 0 for one that is dropped, float64."""
    return drop.masks()(torch.ones(*shape, dtype=dtype)).double()


def formula(drop: Drop, x: Tensor) -> Tensor:
    """`x * mask / (1 - p)`, in float64 where there is no gradient to follow."""
    return x * drop.masks()(torch.ones_like(x, memory_format=torch.contiguous_format)) / (1 - drop.probability)


@ANY
@given(st.floats(0.001, 0.999), SEEDS, st.sampled_from(KINDS))
def test_the_share_that_is_kept(probability: float, seed: int, dtype: torch.dtype) -> None:
    number = 40_000
    share = kept(Drop(probability, seed), number, dtype=dtype)
    assert set(share.unique().tolist()) <= {0.0, 1.0}
    deviation = (probability * (1 - probability) / number) ** 0.5
    assert abs(float(share.mean()) - (1 - probability)) < 6 * deviation + 2e-5


@pytest.mark.parametrize("probability", [0.1, 0.5])
@pytest.mark.parametrize("dtype", KINDS)
def test_every_place_is_dropped_alike_and_by_itself(dtype: torch.dtype, probability: float) -> None:
    rows = kept(Drop(probability, 3), 50_000, 8, dtype=dtype).numpy()  # eight places are two words of 64 bits or more
    variance = probability * (1 - probability)
    most = 5 / len(rows) ** 0.5
    assert np.abs(rows.mean(0) - (1 - probability)).max() < most * variance**0.5
    for one, other in combinations((rows - rows.mean(0)).T, 2):
        assert abs((one * other).mean()) < most * variance


@ANY
@given(st.floats(0.0, 0.99), SEEDS)
def test_the_mean_stays(probability: float, seed: int) -> None:
    x = torch.randn(20_000, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) + 1
    after = dropped(x, Drop(probability, seed))
    deviation = float(x.square().mean() * probability / (1 - probability) / len(x)) ** 0.5
    assert abs(float(after.mean() - x.mean())) <= 6 * deviation + 1e-12
    assert bool(((after == 0) | (after - x / (1 - probability)).abs().lt(1e-12)).all())


@ANY
@given(st.lists(st.integers(0, 9), min_size=1, max_size=3), st.sampled_from(KINDS), st.floats(0.05, 0.95), SEEDS)
def test_the_value_and_its_gradient_by_the_formula(
    shape: list[int], dtype: torch.dtype, probability: float, seed: int
) -> None:
    drop = Drop(probability, seed)
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(*shape, generator=generator).to(dtype).requires_grad_()
    share = torch.randn(*shape, generator=generator).to(dtype)
    ours, theirs = dropped(x, drop), formula(drop, x)
    assert ours.dtype == dtype
    torch.testing.assert_close(ours, theirs)
    found, expected = (torch.autograd.grad((one * share).sum(), x)[0] for one in (ours, theirs))
    assert torch.equal(found == 0, expected == 0)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(dropped(x.detach(), drop), ours.detach(), atol=0.0, rtol=0.0)


def test_what_is_not_contiguous() -> None:
    drop = Drop(0.5, 4)
    x = torch.randn(6, 5, dtype=torch.float64).T.requires_grad_()
    share = torch.randn(6, 5, dtype=torch.float64).T
    assert not x.is_contiguous()
    for weights in (share, torch.ones(1, dtype=torch.float64).expand(5, 6)):
        ours, theirs = dropped(x, drop), formula(drop, x)
        torch.testing.assert_close(ours, theirs)
        found, expected = (torch.autograd.grad(one, x, weights)[0] for one in (ours, theirs))
        torch.testing.assert_close(found, expected)


def test_the_gradient_by_finite_differences() -> None:
    x = torch.randn(4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda one: dropped(one, Drop(0.3, 5)), x)


@pytest.mark.parametrize("wrong", [torch.nan, torch.inf])
def test_what_is_no_number_is_dropped_as_any_other(wrong: float) -> None:
    drop = Drop(0.5, 1)
    after = dropped(torch.full((100,), wrong), drop)
    assert torch.equal(after.isfinite(), kept(drop, 100) == 0)
    assert 0 < int((after == 0).sum()) < 100


def test_without_dropout_nothing_is_done() -> None:
    x = torch.randn(3, 4)
    for drop in (Drop(0.0, 0), Drop(0.0, 9)):
        assert dropped(x, drop) is x
        assert drop.masks()(x) is x
        assert drop.scale == 1.0


@ANY
@given(SEEDS, SEEDS, st.sampled_from(KINDS))
def test_a_seed_is_a_mask(one: int, other: int, dtype: torch.dtype) -> None:
    first, again, second = (kept(Drop(0.5, seed), 256, dtype=dtype) for seed in (one, one, other))
    assert torch.equal(first, again)
    assert torch.equal(first, second) == (one == other)


def test_a_mask_draws_anew_each_time_and_a_new_one_from_the_start() -> None:
    drop, x = Drop(0.5, 8), torch.ones(64)
    mask, again = drop.masks(), drop.masks()
    drawn = [mask(x.clone()) for _ in range(4)]
    assert all(not torch.equal(left, right) for left, right in combinations(drawn, 2))
    assert all(torch.equal(one, again(x.clone())) for one in drawn)


def test_a_mask_is_laid_in_place() -> None:
    x = torch.randn(50)
    before = x.clone()
    assert Drop(0.5, 2).masks()(x) is x
    assert torch.equal(x, before * kept(Drop(0.5, 2), 50).float())


def test_the_seeds_follow_torch() -> None:
    def drawn() -> list[int]:
        seed = seeds()
        return [seed() for _ in range(5)]

    torch.manual_seed(6)
    state = torch.get_rng_state()
    first, second = drawn(), drawn()
    torch.manual_seed(6)
    assert [drawn(), drawn()] == [first, second]
    torch.set_rng_state(state)
    assert drawn() == first
    torch.manual_seed(7)
    assert drawn() != first
    assert len({*first, *second}) == 10  # each dropout of each pass has a mask of its own
    many = sorted(drawn()[0] for _ in range(200))
    assert min(b - a for a, b in pairwise(many)) > 1000
