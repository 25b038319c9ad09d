"""SyCL's loss against its published form, and where that has no usable gradient."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gradir.train.losses import wasserstein
from gradir.train.losses.wasserstein import polar_factor


def published(scores: Tensor, grades: Tensor, guard: float = 1e-15) -> Tensor:
    """The formula as it is published: the root's trace by the eigenvalues of a product that is not symmetric.

    Args:
        scores: [B, N].
        grades: [B, G], of each query's own documents, which stand one after another among the N.
        guard: Added to the eigenvalues, whose root has no gradient at 0. The published one is not small beside those of a
            model that hardly tells documents apart: its gradient is then off by some percent.
    """
    labels = torch.block_diag(*grades)  # [B, N]
    found, wanted = scores.softmax(1).double(), labels.double().softmax(1)
    scale = 1 / (len(scores) - 1) if len(scores) > 1 else 1.0
    means = found.mean(0), wanted.mean(0)
    left, right = (found - means[0]).T, (wanted - means[1]).T  # [N, B]
    product = (left.T @ right) @ (right.T @ left) * scale**2  # [B, B], with the eigenvalues of C_P C_T
    root = (torch.linalg.eigvals(product) + guard).sqrt().abs().sum()
    traces = scale * (left.square().sum() + right.square().sum())
    return (means[0] - means[1]).square().sum() + traces - 2 * root


def block(grades: Tensor) -> tuple[Tensor, Tensor]:
    """Target and mask [B, N] of grades [B, G]."""
    target = torch.block_diag(*grades)
    return target, torch.ones_like(target, dtype=torch.bool)


def gradient(scores: Tensor, grades: Tensor, guard: float | None = None) -> Tensor:
    """Of our loss, or of the published one with this guard."""
    leaf = scores.clone().requires_grad_()
    (wasserstein(leaf, *block(grades)) if guard is None else published(leaf, grades, guard)).backward()
    assert leaf.grad is not None
    return leaf.grad


@settings(deadline=None, max_examples=60, database=None)
@given(st.integers(2, 24), st.integers(1, 6), st.sampled_from([0.1, 1.0, 4.0]), st.integers(0, 2**31))
def test_it_is_the_published_loss(queries: int, documents: int, spread: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(queries, queries * documents, generator=generator) * spread
    grades = torch.randint(0, 4, (queries, documents), generator=generator).float()
    ours, theirs = wasserstein(scores, *block(grades)), published(scores, grades)
    assert ours.dtype == torch.float64
    # what is added to each of their eigenvalues weighs up to its root
    assert abs(ours - theirs) <= 2 * queries * math.sqrt(1e-15) + 1e-9


@pytest.mark.parametrize(("spread", "guard"), [(2.0, 1e-15), (6.0, 1e-15), (0.3, 1e-22), (0.03, 1e-22)])
@pytest.mark.parametrize(("queries", "documents"), [(8, 4), (64, 4), (16, 7), (3, 2)])
def test_so_is_the_gradient(spread: float, guard: float, queries: int, documents: int) -> None:
    generator = torch.Generator().manual_seed(queries)
    scores = torch.randn(queries, queries * documents, generator=generator) * spread
    grades = torch.stack([torch.randperm(documents, generator=generator).float() for _ in range(queries)])
    ours, theirs = gradient(scores, grades), gradient(scores, grades, guard)
    assert theirs.isfinite().all()
    assert (ours - theirs).abs().max() <= 1e-4 * theirs.abs().max()


def test_perfect_rows_have_no_loss_and_no_gradient() -> None:
    grades = torch.tensor([[3.0, 2, 1, 0]]).repeat(8, 1)
    target, mask = block(grades)
    assert abs(wasserstein(target, target, mask)) < 1e-15
    assert gradient(target, grades).abs().max() < 1e-7
    assert gradient(target.double(), grades).abs().max() < 1e-9


def test_perfect_rows_among_the_wrong_queries_have_none_either() -> None:
    target, mask = block(torch.tensor([[3.0, 2, 1, 0]]).repeat(8, 1))
    assert abs(wasserstein(target.roll(1, 0), target, mask)) < 1e-15


@pytest.mark.parametrize("queries", [1, 2, 5])
def test_with_equal_rows_only_means_are_left(queries: int) -> None:
    """Without covariance on the one side the root is 0: what is left is |m_P - m_T|^2 + tr C_T."""
    scores = torch.randn(1, queries * 3, generator=torch.Generator().manual_seed(0)).repeat(queries, 1)
    grades = torch.tensor([[2.0, 1, 0]]).repeat(queries, 1)
    target, mask = block(grades)
    found, wanted = scores.softmax(1).double(), target.double().softmax(1)
    trace = wanted.T.cov().trace() if queries > 1 else 0.0
    expected = (found.mean(0) - wanted.mean(0)).square().sum() + trace
    torch.testing.assert_close(wasserstein(scores, target, mask), expected, atol=1e-12, rtol=1e-9)
    assert gradient(scores, grades).isfinite().all()


def test_some_equal_rows_have_a_gradient_that_goes_down() -> None:
    scores = torch.randn(6, 18, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    scores[3] = scores[1]
    scores[4] = scores[1]
    grades = torch.tensor([[2.0, 1, 0]]).repeat(6, 1)
    slope = gradient(scores, grades)
    assert slope.isfinite().all()
    assert slope.abs().max() > 1e-3
    target, mask = block(grades)
    before, after = wasserstein(scores, target, mask), wasserstein(scores - 0.05 * slope, target, mask)
    assert after < before


def test_one_hot_predictions_have_a_finite_gradient() -> None:
    scores = torch.eye(8).repeat_interleave(4, 1) * 1e4
    assert gradient(scores, torch.tensor([[3.0, 2, 1, 0]]).repeat(8, 1)).isfinite().all()


def test_training_on_it_alone_reaches_the_target_from_an_aligned_start() -> None:
    grades = torch.tensor([[3.0, 2, 1, 0]]).repeat(6, 1)
    target, mask = block(grades)
    scores = (0.5 * target + 0.1 * torch.randn(6, 24, generator=torch.Generator().manual_seed(0))).requires_grad_()
    optimizer = torch.optim.Adam([scores], 0.05)
    for _ in range(300):
        optimizer.zero_grad()
        wasserstein(scores, target, mask).backward()
        optimizer.step()
    assert (scores.softmax(1) - target.softmax(1)).abs().max() < 0.01


@pytest.mark.parametrize(("queries", "own", "third"), [(8, 0.527, 0.339), (16, 0.342, 0.220), (64, 0.110, 0.071)])
def test_the_target_depends_on_the_size_of_the_batch_as_documented(queries: int, own: float, third: float) -> None:
    target, _ = block(torch.tensor([[3.0, 2, 1, 0]]).repeat(queries, 1))
    wanted = target[0].softmax(0)
    assert wanted[:4].sum().item() == pytest.approx(own, abs=6e-4)
    assert wanted[0].item() == pytest.approx(third, abs=6e-4)


def test_gain_and_label_temperature_shape_the_target() -> None:
    """Scores that are the wanted logarithms have no loss."""
    grades = torch.tensor([[3.0, 2, 0], [1, 0, 2]])
    target, mask = block(grades)
    exponential = (2**target - 1) / 1.5
    assert wasserstein(exponential, target, mask, label_temperature=1.5, gain="exponential") < 1e-13
    assert wasserstein(exponential * 4, target, mask, temperature=4, label_temperature=1.5, gain="exponential") < 1e-13
    assert wasserstein(exponential, target, mask) > 1e-3


def test_masked_documents_have_no_mass_and_empty_rows_are_no_samples() -> None:
    generator = torch.Generator().manual_seed(4)
    scores, grades = torch.randn(4, 12, generator=generator), torch.randint(0, 4, (4, 3), generator=generator).float()
    expected = wasserstein(scores, *block(grades))
    more = torch.cat([scores, torch.full((4, 2), 50.0)], 1)
    more = torch.cat([more, torch.randn(1, 14, generator=generator)])
    target = torch.zeros(5, 14)
    target[:4, :12], mask = torch.block_diag(*grades), torch.zeros(5, 14, dtype=torch.bool)
    mask[:4, :12] = True
    torch.testing.assert_close(wasserstein(more, target, mask), expected)


@settings(deadline=None, max_examples=40, database=None)
@given(st.integers(1, 12), st.integers(0, 12), st.integers(0, 2**31))
def test_the_polar_factor_is_that_of_the_singular_vectors(size: int, rank: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)

    def orthogonal() -> Tensor:
        return torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64)).Q

    left, right = orthogonal(), orthogonal()
    values = torch.linspace(1, 1e-3, size, dtype=torch.float64)
    values[rank:] = 0  # of these the factor holds nothing
    factor = polar_factor((left * values) @ right)
    torch.testing.assert_close(factor, (left * (values > 0)) @ right, atol=1e-7, rtol=0)
    assert (factor * ((left * values) @ right)).sum().item() == pytest.approx(values.sum().item(), rel=1e-9)


def test_autocast_does_not_lower_its_products() -> None:
    generator = torch.Generator().manual_seed(8)
    scores, grades = torch.randn(8, 24, generator=generator), torch.tensor([[2.0, 1, 0]]).repeat(8, 1)
    expected = gradient(scores, grades)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(gradient(scores, grades), expected, atol=0, rtol=0)
