"""Regularisers against loops, and their gradients against differences."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gradir.train.regularisers import DocumentFrequency, anti_collapse, df_flops, empty_share, flops, l0, l1


def weights(seed: int = 0, rows: int = 4, terms: int = 9) -> Tensor:
    """About half of them 0."""
    return torch.randn(rows, terms, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).relu().log1p()


def test_each_is_its_formula() -> None:
    rows = weights().tolist()
    columns = list(zip(*rows, strict=True))
    mean = weights().mean(0)
    assert flops(mean).item() == pytest.approx(sum((sum(column) / 4) ** 2 for column in columns))
    assert l1(mean).item() == pytest.approx(sum(sum(row) for row in rows) / 4)
    assert l0(weights()).item() == pytest.approx(sum(sum(value > 0 for value in row) for row in rows) / 4)


def test_flops_of_halves_is_not_flops_of_the_whole() -> None:
    """Why the mean is taken over all devices first: Jensen's inequality, strictly."""
    whole = weights()
    halves = (flops(whole[:2].mean(0)) + flops(whole[2:].mean(0))) / 2
    assert halves > 1.1 * flops(whole.mean(0))


def test_df_flops_is_its_formula() -> None:
    mean, shares = weights().mean(0), torch.linspace(0.001, 0.999, 9, dtype=torch.float64)
    total = 0.0
    for value, share in zip(mean.tolist(), shares.tolist(), strict=True):
        power = share ** (math.log(2) / math.log(0.1))
        total += (value / (1 + (power - 1) ** 10)) ** 2
    assert df_flops(mean, shares).item() == pytest.approx(total)


@pytest.mark.parametrize(("share", "factor"), [(0.0, 0.0), (0.1, 0.5), (1.0, 1.0), (0.01, 0.0)])
def test_df_flops_weighs_terms_by_their_frequency(share: float, factor: float) -> None:
    found = df_flops(torch.ones(1), torch.tensor([share])).item()
    assert found == pytest.approx(factor**2, abs=1e-4)


def test_a_term_in_every_document_counts_as_in_flops() -> None:
    mean = weights().mean(0)
    torch.testing.assert_close(df_flops(mean, torch.ones(9)), flops(mean))


def test_anti_collapse_is_that_of_splade_for_sound_vectors_and_bounded_for_empty_ones() -> None:
    assert anti_collapse(torch.tensor(800.0), torch.tensor(50.0)).item() == pytest.approx(
        1 / 800**2 + 1 / 50**2, rel=5e-3
    )
    total = torch.zeros(2, requires_grad=True)
    value = anti_collapse(*total)
    value.backward()
    assert value.item() == pytest.approx(200)
    assert total.grad is not None
    assert (total.grad < 0).all()
    assert total.grad.isfinite().all()


@pytest.mark.parametrize("name", ["flops", "l1", "df_flops", "anti_collapse"])
def test_gradients_are_those_of_differences(name: str) -> None:
    shares = torch.linspace(0, 1, 9, dtype=torch.float64)
    penalties = {
        "flops": flops,
        "l1": l1,
        "df_flops": lambda mean: df_flops(mean, shares),
        "anti_collapse": lambda mean: anti_collapse(mean.sum() * 4, mean.sum()),
    }
    leaf = weights().requires_grad_()
    assert torch.autograd.gradcheck(lambda rows: penalties[name](rows.mean(0)), leaf)


@settings(deadline=None, max_examples=40, database=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=6), st.integers(0, 100))
def test_frequencies_are_shares_of_all_documents_within_the_window(sizes: list[int], seed: int) -> None:
    batches = [weights(seed + number, size) for number, size in enumerate(sizes)]
    frequency = DocumentFrequency(9, window=1000)
    for batch in batches:
        frequency.update(batch)
    together = torch.cat(batches)
    expected = (together > 0).double().mean(0) if len(together) else torch.zeros(9)
    torch.testing.assert_close(frequency.share.double(), expected.double(), atol=1e-6, rtol=0)
    assert frequency.seen == len(together)


def test_frequencies_forget_what_is_beyond_the_window() -> None:
    frequency = DocumentFrequency(1, window=10)
    for _ in range(20):
        frequency.update(torch.ones(5, 1))
    assert frequency.share.item() == pytest.approx(1.0)
    for _ in range(4):
        frequency.update(torch.zeros(5, 1))
    assert frequency.share.item() == pytest.approx(0.5**4)


def test_frequencies_are_kept_in_checkpoints() -> None:
    one, other = DocumentFrequency(9), DocumentFrequency(9)
    one.update(weights(0))
    other.load_state_dict(one.state_dict())
    torch.testing.assert_close(one.update(weights(1)), other.update(weights(1)), atol=0, rtol=0)


def test_the_share_of_empty_vectors() -> None:
    assert empty_share(torch.tensor([[0.0, 1], [0, 0], [0, 0], [2, 1]])).item() == 0.5
