"""InfoNCE and its options by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import cross_entropy

from gradir.train.losses import infonce, listmle


def everything(scores: torch.Tensor) -> torch.Tensor:
    return torch.ones_like(scores, dtype=torch.bool)


def test_with_one_positive_it_is_cross_entropy() -> None:
    scores = torch.randn(5, 15, generator=torch.Generator().manual_seed(0))
    places = torch.arange(0, 15, 3)
    target = torch.nn.functional.one_hot(places, 15).float()
    expected = cross_entropy(scores / 0.7, places)
    torch.testing.assert_close(infonce(scores, target, everything(scores), temperature=0.7), expected)
    torch.testing.assert_close(listmle(scores, target, everything(scores), temperature=0.7), expected)


def test_two_positives_are_no_negatives_of_each_other() -> None:
    scores, target = torch.tensor([[1.0, 2.0, 0.0]]), torch.tensor([[1.0, 1.0, 0.0]])
    first, second = math.log(1 + math.exp(-1)), math.log(1 + math.exp(-2))
    mask = everything(scores)
    assert infonce(scores, target, mask).item() == pytest.approx((first + second) / 2)
    assert infonce(scores, target, mask, positives="first").item() == pytest.approx(first)
    both = math.exp(1) + math.exp(2)
    assert infonce(scores, target, mask, positives="any").item() == pytest.approx(math.log((both + 1) / both), rel=1e-5)


def test_each_positive_counts_or_each_query() -> None:
    scores = torch.zeros(2, 4)
    target = torch.tensor([[1.0, 1, 1, 0], [1, 0, 0, 0]])  # log 2, three times; log 4
    mask = everything(scores)
    assert infonce(scores, target, mask, positives="each").item() == pytest.approx((3 * math.log(2) + math.log(4)) / 4)
    assert infonce(scores, target, mask).item() == pytest.approx((math.log(2) + math.log(4)) / 2)


def test_the_grade_of_positives_is_a_choice() -> None:
    scores, target = torch.zeros(1, 4), torch.tensor([[3.0, 2, 1, 0]])
    mask = everything(scores)
    assert infonce(scores, target, mask).item() == pytest.approx(math.log(2))
    assert infonce(scores, target, mask, positive_grade=3).item() == pytest.approx(math.log(4))
    assert infonce(scores, target, mask, positive_grade=4).item() == 0


@pytest.mark.parametrize(("guard", "left"), [(None, [3.0, 1.1, 0.9]), (0.0, [0.9]), (0.2, [1.1, 0.9]), (-0.2, [])])
def test_the_guard_drops_who_scores_above_the_positive(guard: float | None, left: list[float]) -> None:
    scores, target = torch.tensor([[1.0, 3.0, 1.1, 0.9]], requires_grad=True), torch.tensor([[1.0, 0, 0, 0]])
    loss = infonce(scores, target, everything(scores), temperature=0.5, guard=guard)
    below = sum(math.exp(value / 0.5) for value in left)
    assert loss.item() == pytest.approx(math.log(1 + below / math.exp(1.0 / 0.5)), rel=1e-5)
    loss.backward()
    assert scores.grad is not None
    kept = [value in left for value in (3.0, 1.1, 0.9)]
    assert (scores.grad[0, 1:] > 0).tolist() == kept


def test_symmetric_is_the_mean_of_both_directions() -> None:
    scores = torch.randn(4, 4, generator=torch.Generator().manual_seed(1))
    expected = (cross_entropy(scores, torch.arange(4)) + cross_entropy(scores.T, torch.arange(4))) / 2
    torch.testing.assert_close(infonce(scores, torch.eye(4), everything(scores), symmetric=True), expected)


def test_the_temperature_learns() -> None:
    scores = torch.randn(4, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    target = torch.eye(4).repeat_interleave(2, 1)
    temperature = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda t: infonce(scores, target, everything(scores), temperature=t), temperature)
