"""What holds for every loss: it is its formula, its gradient is right, and what is masked or empty does no harm."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import loss_oracles as slow
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gradir.train import losses
from gradir.train.losses import LOSSES

SOME = settings(deadline=None, max_examples=25, database=None)

# name: (the loss, its loop version for one query)
BY_ROW: dict[str, tuple[Callable[..., Tensor], Callable[..., float | None]]] = {
    "infonce": (losses.infonce, slow.infonce),
    "infonce first": (partial(losses.infonce, positives="first"), partial(slow.infonce, positives="first")),
    "infonce any": (partial(losses.infonce, positives="any"), partial(slow.infonce, positives="any")),
    "infonce guard": (
        partial(losses.infonce, guard=0.3, temperature=0.5),
        partial(slow.infonce, guard=0.3, tau=0.5),
    ),
    "wasserstein_rows": (losses.wasserstein_rows, slow.wasserstein_rows),
    "wasserstein_rows 2": (partial(losses.wasserstein_rows, power=2), partial(slow.wasserstein_rows, power=2)),
    "listnet": (losses.listnet, slow.listnet),
    "kl_labels": (losses.kl_labels, slow.kl_labels),
    "listmle": (losses.listmle, slow.listmle),
    "ranknet": (losses.ranknet, slow.ranknet),
    "graded_margin_mse": (losses.graded_margin_mse, slow.graded_margin_mse),
    "lambda_loss": (losses.lambda_loss, slow.lambda_loss),
    "lambda_loss at 2": (partial(losses.lambda_loss, k=2), partial(slow.lambda_loss, k=2)),
    "lambdarank at 3": (
        partial(losses.lambda_loss, weighting="lambdarank", k=3),
        partial(slow.lambda_loss, weighting="lambdarank", k=3),
    ),
    "lambda_loss ++": (
        partial(losses.lambda_loss, weighting="ndcg2++"),
        partial(slow.lambda_loss, weighting="ndcg2++"),
    ),
    "approx_ndcg": (losses.approx_ndcg, slow.approx_ndcg),
    "margin_mse all": (partial(losses.margin_mse, pairs="all"), slow.margin_mse_all),
    "kl": (partial(losses.kl, temperature=2.0), partial(slow.kl, tau=2.0)),
}
ALL: dict[str, Callable[..., Tensor]] = {name: loss for name, (loss, _) in BY_ROW.items()} | {
    "infonce each": partial(losses.infonce, positives="each"),
    "infonce symmetric": partial(losses.infonce, symmetric=True),
    "wasserstein": losses.wasserstein,
    "wasserstein options": partial(losses.wasserstein, temperature=0.5, label_temperature=2.0, gain="exponential"),
    "margin_mse": losses.margin_mse,
    "bce": losses.bce,
}


class Case(NamedTuple):
    """Scores float64, target float32, mask, all [B, N]."""

    scores: Tensor
    target: Tensor
    mask: Tensor


@st.composite
def cases(draw: st.DrawFn, least: int = 1) -> Case:
    """Grades full of ties; rows without any document; scores that differ, as nearly equal ones have no usable differences."""
    rows, columns = draw(st.integers(least, 5)), draw(st.integers(1, 7))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    scores = torch.randn(rows, columns, generator=generator, dtype=torch.float64) * draw(st.sampled_from([0.3, 2.0]))
    target = torch.randint(0, 4, (rows, columns), generator=generator).float()
    mask = torch.rand(rows, columns, generator=generator) < draw(st.sampled_from([0.3, 0.8, 1.1]))
    mask[0] = True  # a batch without any document is another matter
    return Case(scores, target, mask)


@pytest.mark.parametrize("name", BY_ROW)
@SOME
@given(case=cases())
def test_it_is_the_mean_of_its_formula_over_rows(name: str, case: Case) -> None:
    loss, formula = BY_ROW[name]
    rows = []
    for scores, target, mask in zip(*case, strict=True):
        row = formula(scores[mask].tolist(), target[mask].tolist()) if mask.any() else None
        rows += [] if row is None else [row]
    expected = sum(rows) / len(rows) if rows else 0.0
    assert loss(*case).item() == pytest.approx(expected, rel=1e-6, abs=1e-7)


@pytest.mark.parametrize("name", ALL)
@settings(deadline=None, max_examples=12, database=None)
@given(case=cases())
def test_the_gradient_is_that_of_finite_differences(name: str, case: Case) -> None:
    scores = case.scores.requires_grad_()
    if name == "wasserstein" and len(case.scores) > 1:
        distinct = torch.linalg.svdvals(case.scores.softmax(1).masked_fill(~case.mask, 0))[-1]
        if distinct < 1e-3:
            return  # rows (nearly) dependent: the nuclear norm has an edge there; see test_wasserstein
    if name.startswith("wasserstein") and not name.startswith("wasserstein_rows") and (case.mask.sum(1) < 3).any():
        return  # the same: rows of one document are constants, those of two may coincide
    assert torch.autograd.gradcheck(lambda s: ALL[name](s, case.target, case.mask), scores, eps=1e-6, atol=1e-5)


@pytest.mark.parametrize("name", ALL)
@SOME
@given(case=cases(), garbage=st.sampled_from([float("nan"), float("inf"), -1e30]))
def test_what_takes_no_part_has_no_influence_and_no_gradient(name: str, case: Case, garbage: float) -> None:
    scores = case.scores.masked_fill(~case.mask, garbage).requires_grad_()
    loss = ALL[name](scores, case.target.masked_fill(~case.mask, 3.0), case.mask)
    loss.backward()
    assert scores.grad is not None
    torch.testing.assert_close(loss, ALL[name](case.scores, case.target, case.mask))
    assert scores.grad.isfinite().all()
    assert (scores.grad[~case.mask] == 0).all()


@pytest.mark.parametrize("name", ALL)
@SOME
@given(case=cases(), seed=st.integers(0, 1000))
def test_the_order_of_queries_does_not_matter(name: str, case: Case, seed: int) -> None:
    order = torch.randperm(len(case.scores), generator=torch.Generator().manual_seed(seed))
    moved = (value[order] for value in case)
    torch.testing.assert_close(ALL[name](*moved), ALL[name](*case), atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("name", ALL)
@SOME
@given(case=cases(), seed=st.integers(0, 1000))
def test_the_order_of_documents_does_not_matter(name: str, case: Case, seed: int) -> None:
    if name in ("infonce first", "margin_mse"):
        return  # the first document is another one
    order = torch.randperm(case.scores.shape[1], generator=torch.Generator().manual_seed(seed))
    moved = (value[:, order] for value in case)
    torch.testing.assert_close(ALL[name](*moved), ALL[name](*case), atol=1e-7, rtol=1e-6)


@pytest.mark.parametrize("name", sorted(set(ALL) - {"bce", "infonce symmetric"}))
@SOME
@given(case=cases(), shift=st.integers(-20, 20))
def test_adding_to_all_scores_of_a_query_changes_nothing(name: str, case: Case, shift: int) -> None:
    scores = case.scores + shift * torch.arange(1, len(case.scores) + 1).unsqueeze(1)
    torch.testing.assert_close(ALL[name](scores, case.target, case.mask), ALL[name](*case), atol=1e-7, rtol=1e-6)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_scores_of_few_bits_are_computed_with_in_many(name: str, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(3)
    scores = (torch.randn(6, 8, generator=generator) * 4).to(dtype)
    target, mask = torch.randint(0, 4, (6, 8), generator=generator).float(), torch.ones(6, 8, dtype=torch.bool)
    found = ALL[name](scores.requires_grad_(), target, mask)
    assert found.dtype in (torch.float32, torch.float64)
    torch.testing.assert_close(found.double(), ALL[name](scores.double(), target, mask).double(), atol=1e-5, rtol=1e-5)
    found.backward()
    assert scores.grad is not None
    assert scores.grad.dtype == dtype
    assert scores.grad.isfinite().all()


@pytest.mark.parametrize("name", sorted(set(ALL) - {"kl", "margin_mse", "margin_mse all"}))
def test_a_batch_without_documents_costs_nothing(name: str) -> None:
    scores = torch.randn(3, 4).requires_grad_()
    loss = ALL[name](scores, torch.zeros(3, 4), torch.zeros(3, 4, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0
    assert scores.grad is not None
    assert (scores.grad == 0).all()


@pytest.mark.parametrize("name", ALL)
def test_scores_that_are_no_numbers_give_a_loss_that_is_none(name: str) -> None:
    scores = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    scores[1] = torch.nan
    target = torch.tensor([[3.0, 2, 0, 0]]).repeat(3, 1)
    assert ALL[name](scores, target, torch.ones(3, 4, dtype=torch.bool)).isnan()


@pytest.mark.parametrize("name", ALL)
def test_large_scores_do_not_overflow(name: str) -> None:
    generator = torch.Generator().manual_seed(1)
    scores = (torch.randn(4, 6, generator=generator) * 1000).requires_grad_()
    target = torch.randint(0, 4, (4, 6), generator=generator).float()
    loss = ALL[name](scores, target, torch.ones(4, 6, dtype=torch.bool))
    loss.backward()
    assert loss.isfinite()
    assert scores.grad is not None
    assert scores.grad.isfinite().all()


def test_every_registered_loss_is_tested() -> None:
    functions = {getattr(loss, "func", loss) for loss in ALL.values()}
    assert {kind.function for kind in LOSSES.values()} == functions
