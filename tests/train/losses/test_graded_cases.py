"""Small lists whose loss can be told by hand."""

from __future__ import annotations

import math
from itertools import permutations

import loss_oracles as slow
import pytest
import torch

from gradir.train.losses import (
    approx_ndcg,
    bce,
    graded_margin_mse,
    lambda_loss,
    listmle,
    listnet,
    ranknet,
    wasserstein_rows,
)


def row(*values: float) -> torch.Tensor:
    return torch.tensor([values], dtype=torch.float64)


def everything(scores: torch.Tensor) -> torch.Tensor:
    return torch.ones_like(scores, dtype=torch.bool)


def test_mass_that_is_two_grades_off_travels_two_grades() -> None:
    """All mass on grade 0 that belongs to grade 2, but for what the softmax leaves."""
    scores, grades = row(-50, 50), row(2, 0)
    found = wasserstein_rows(scores, grades, everything(scores), label_temperature=0.02)
    assert found.item() == pytest.approx(2.0)


def test_exchanged_perfect_rows_are_wrong_where_rows_are_aligned() -> None:
    grades = torch.tensor([[3.0, 2, 1, 0], [0, 1, 2, 3]])
    assert wasserstein_rows(grades, grades, everything(grades)).item() == pytest.approx(0, abs=1e-6)
    assert wasserstein_rows(grades.flip(0), grades, everything(grades)).item() > 1


def test_listmle_is_the_likelihood_of_the_order() -> None:
    """Of all orders of three documents the probabilities add up to 1."""
    scores = row(0.3, -1.0, 2.0)
    total = sum(math.exp(-listmle(scores, row(*order), everything(scores)).item()) for order in permutations((0, 1, 2)))
    assert total == pytest.approx(1.0)


def test_of_a_tie_of_equal_scores_either_order_is_as_likely() -> None:
    """Then Efron's rule is exact: as if one of them were graded higher."""
    scores = row(1.0, 1.0, 0.2, -0.4)
    tied = listmle(scores, row(2, 2, 1, 0), everything(scores))
    torch.testing.assert_close(tied, listmle(scores, row(3, 2, 1, 0), everything(scores)))


def test_listnet_near_label_temperature_0_looks_at_the_best_document_only() -> None:
    scores = row(0.5, 1.5, -1.0)
    found = listnet(scores, row(3, 1, 0), everything(scores), label_temperature=0.01)
    assert found.item() == pytest.approx(-scores.log_softmax(1)[0, 0].item())


def test_ndcg_losses_are_least_for_the_right_order() -> None:
    scores, grades = row(30, 20, 10), row(2, 1, 0)
    mask = everything(scores)
    assert approx_ndcg(scores, grades, mask).item() == pytest.approx(0, abs=1e-9)
    for wrong in permutations((30.0, 20.0, 10.0)):
        if wrong != (30, 20, 10):
            assert approx_ndcg(row(*wrong), grades, mask).item() > 0.03
            assert lambda_loss(row(*wrong), grades, mask).item() > lambda_loss(scores, grades, mask).item() + 0.1


def test_approx_ndcg_towards_temperature_0_is_one_less_ndcg() -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    scores = torch.randn(6, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    grades = torch.randint(0, 4, (6, 9), generator=torch.Generator().manual_seed(1)).double()
    expected = sklearn.ndcg_score((2**grades - 1).numpy(), scores.numpy())
    found = approx_ndcg(scores, grades, everything(scores), temperature=1e-5).item()
    assert 1 - found == pytest.approx(expected, abs=1e-9)


def test_bce_by_hand() -> None:
    scores, grades = row(2.0, -1.0, 0.5), row(2, 1, 0)
    expected = (math.log(1 + math.exp(-2)) + math.log(1 + math.exp(-1)) + math.log(1 + math.exp(0.5))) / 3
    assert bce(scores, grades, everything(scores), positive_grade=2).item() == pytest.approx(expected)


def test_among_equal_scores_the_lower_grade_is_ranked_first_wherever_it_stands() -> None:
    scores, grades = row(1.0, 1.0, 1.0, 0.0), row(3, 0, 1, 2)
    expected = slow.lambda_loss(scores[0].tolist(), grades[0].tolist(), "lambdarank")
    for order in permutations(range(4)):
        moved = scores[:, list(order)], grades[:, list(order)]
        assert lambda_loss(*moved, everything(scores), weighting="lambdarank").item() == pytest.approx(expected)


def test_margins_grow_with_the_gap_between_grades() -> None:
    scores, grades = row(5.0, 3.0, 3.5), row(3, 1, 0)
    expected = ((2 - 2 * 2.5) ** 2 + (1.5 - 3 * 2.5) ** 2 + (-0.5 - 2.5) ** 2) / 3
    assert graded_margin_mse(scores, grades, everything(scores), margin=2.5).item() == pytest.approx(expected)


def test_ranknet_by_hand() -> None:
    scores, grades = row(2.0, 1.0, 0.0), row(1, 0, 0)
    expected = (math.log(1 + math.exp(-1 / 0.5)) + math.log(1 + math.exp(-2 / 0.5))) / 2
    assert ranknet(scores, grades, everything(scores), temperature=0.5).item() == pytest.approx(expected)
