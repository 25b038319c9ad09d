"""Distillation against sentence-transformers, and with scores missing."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from gradir.errors import GradirError
from gradir.train.losses import kl, margin_mse

QUERIES, DOCUMENTS, SIZE = 5, 4, 6


def vectors() -> tuple[Tensor, Tensor, Tensor]:
    """Queries [B, H], documents [B, G, H], teacher's scores [B, G]."""
    generator = torch.Generator().manual_seed(7)
    drawn = (
        torch.randn(*shape, generator=generator)
        for shape in ((QUERIES, SIZE), (QUERIES, DOCUMENTS, SIZE), (QUERIES, DOCUMENTS))
    )
    queries, documents, teacher = drawn
    return queries, documents, teacher * 3


def theirs(name: str, **options: Any) -> Tensor:
    """The loss of this name in sentence-transformers, of the same vectors by inner product."""
    losses: Any = pytest.importorskip("sentence_transformers.sentence_transformer.losses")
    from sentence_transformers.util import dot_score, pairwise_dot_score

    queries, documents, teacher = vectors()
    similarity = pairwise_dot_score if name in ("MarginMSELoss", "DistillKLDivLoss") else dot_score
    loss = getattr(losses, name)(torch.nn.Identity(), similarity_fct=similarity, **options)
    found: Tensor = loss.compute_loss_from_embeddings([queries, *documents.unbind(1)], teacher)
    return found


def ours() -> tuple[Tensor, Tensor, Tensor]:
    queries, documents, teacher = vectors()
    scores = torch.einsum("bh,bgh->bg", queries, documents)
    return scores, teacher, torch.ones_like(scores, dtype=torch.bool)


def test_margin_mse_is_that_of_sentence_transformers() -> None:
    torch.testing.assert_close(margin_mse(*ours()), theirs("MarginMSELoss"))


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_kl_is_that_of_sentence_transformers(temperature: float) -> None:
    torch.testing.assert_close(
        kl(*ours(), temperature=temperature), theirs("DistillKLDivLoss", temperature=temperature)
    )


def test_kl_with_two_temperatures_too() -> None:
    found = kl(*ours(), temperature=2.0, teacher_temperature=4.0)
    torch.testing.assert_close(found, theirs("DistillKLDivLoss", student_temperature=2.0, teacher_temperature=4.0))


@pytest.mark.parametrize("loss", [kl, margin_mse])
def test_a_teacher_who_agrees_but_for_a_constant_is_satisfied(loss: Any) -> None:
    scores, _, mask = ours()
    assert loss(scores, scores + torch.arange(QUERIES).unsqueeze(1), mask).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("loss", [kl, margin_mse])
def test_documents_without_a_score_are_left_out(loss: Any) -> None:
    scores, teacher, mask = ours()
    expected = loss(scores[:, :3], teacher[:, :3], mask[:, :3])
    teacher[:, 3] = torch.nan
    torch.testing.assert_close(loss(scores, teacher, mask), expected)


@pytest.mark.parametrize("loss", [kl, margin_mse])
def test_lists_without_any_score_are_left_out(loss: Any) -> None:
    scores, teacher, mask = ours()
    expected = loss(scores[1:], teacher[1:], mask[1:])
    teacher[0] = torch.nan
    leaf = scores.requires_grad_()
    found = loss(leaf, teacher, mask)
    torch.testing.assert_close(found, expected)
    found.backward()
    assert leaf.grad is not None
    assert (leaf.grad[0] == 0).all()
    assert leaf.grad.isfinite().all()


@pytest.mark.parametrize("loss", [kl, margin_mse])
def test_without_any_score_there_is_nothing_to_learn(loss: Any) -> None:
    scores, teacher, mask = ours()
    with pytest.raises(GradirError, match="needs teacher scores"):
        loss(scores, torch.full_like(teacher, torch.nan), mask)


def test_margins_of_several_positives() -> None:
    scores, teacher = torch.tensor([[1.0, 2, 4]]), torch.zeros(1, 3)
    mask, relevant = torch.ones(1, 3, dtype=torch.bool), torch.tensor([[False, True, True]])
    assert margin_mse(scores, teacher, mask, relevant=relevant).item() == pytest.approx((1 + 9) / 2)
    assert margin_mse(scores, teacher, mask).item() == pytest.approx((1 + 9) / 2)
    all_pairs = (2 * (1 + 9 + 4) + 0) / 9  # both ways, and each with itself
    assert margin_mse(scores, teacher, mask, pairs="all").item() == pytest.approx(all_pairs)


def test_margins_on_the_students_scale() -> None:
    scores, teacher, mask = ours()
    plain = margin_mse(scores, teacher, mask)
    torch.testing.assert_close(margin_mse(6 * scores, teacher, mask, teacher_scale=6.0), 36 * plain)
    assert margin_mse(6 * teacher, teacher, mask, teacher_scale=6.0).item() == pytest.approx(0.0, abs=1e-9)
