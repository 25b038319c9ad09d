"""The pooling heads against their textbook forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gradir.models.heads import dense_pool, max_products, splade_pool

TEXTBOOK = settings(deadline=None, max_examples=150, database=None)


def naive_splade(hidden: Tensor, mask: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """`max_t log(1 + relu(logits)) * mask`, as Pyserini computes it, with [B, S, V] in memory."""
    logits = hidden @ weight.T + bias
    return (torch.log(1 + torch.relu(logits)) * mask.unsqueeze(-1)).amax(1)


@st.composite
def heads(draw: st.DrawFn) -> tuple[Tensor, Tensor, Tensor, Tensor, int]:
    """(hidden, mask, weight, bias, tile) of any shape, padding garbage included."""
    texts, tokens, size, terms = (draw(st.integers(1, most)) for most in (4, 7, 6, 23))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    lengths = torch.tensor([draw(st.integers(1, tokens)) for _ in range(texts)])
    mask = (torch.arange(tokens) < lengths.unsqueeze(1)).long()
    hidden = normal(texts, tokens, size)
    hidden = torch.where(mask.unsqueeze(-1).bool(), hidden, hidden * 1000)  # what stands on padding must not count
    shift = draw(st.sampled_from([0.0, -1e4, 3.0]))  # -1e4: all logits are below 0
    bias = normal(terms) + shift
    for place in draw(st.lists(st.integers(0, terms - 1), max_size=3)):
        bias[place] = draw(st.sampled_from([-1e30, -torch.inf, -100.0]))
    return hidden, mask, normal(terms, size), bias, draw(st.integers(1, terms + 2))


@TEXTBOOK
@given(heads())
def test_splade_pool_is_the_naive_formula(head: tuple[Tensor, Tensor, Tensor, Tensor, int]) -> None:
    hidden, mask, weight, bias, tile = head
    pooled = splade_pool(hidden, mask, weight, bias, tile)
    assert pooled.dtype == torch.float32
    torch.testing.assert_close(pooled, naive_splade(hidden, mask, weight, bias), atol=1e-5, rtol=1e-5)
    assert (pooled >= 0).all()


@TEXTBOOK
@given(heads())
def test_the_gradient_is_that_of_the_naive_formula(head: tuple[Tensor, Tensor, Tensor, Tensor, int]) -> None:
    hidden, mask, weight, bias, tile = head
    share = torch.randn(len(hidden), len(weight), generator=torch.Generator().manual_seed(1))

    def gradients(pool: str) -> list[Tensor]:
        inputs = [one.clone().requires_grad_() for one in (hidden, weight, bias)]
        h, w, b = inputs
        pooled = splade_pool(h, mask, w, b, tile) if pool == "tiled" else naive_splade(h, mask, w, b)
        (pooled * share).sum().backward()
        return [one.grad for one in inputs if one.grad is not None]

    ours, theirs = gradients("tiled"), gradients("naive")
    assert len(ours) == 3
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, atol=1e-4, rtol=1e-4)


def test_the_gradient_by_finite_differences() -> None:
    torch.manual_seed(0)
    hidden, weight = (torch.randn(*shape, dtype=torch.float64, requires_grad=True) for shape in ((2, 4, 3), (7, 3)))
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
    assert torch.autograd.gradcheck(lambda h, w: max_products(h, mask, w, 3), (hidden, weight))


def test_the_gradient_under_autocast_keeps_the_dtype_of_its_inputs() -> None:
    torch.manual_seed(0)
    hidden, weight = torch.randn(2, 4, 8, requires_grad=True), torch.randn(9, 8, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        pooled = splade_pool(hidden, torch.ones(2, 4), weight, torch.zeros(9), 4)
    pooled.sum().backward()
    assert hidden.grad is not None
    assert weight.grad is not None
    assert hidden.grad.dtype == weight.grad.dtype == torch.float32
    exact = torch.autograd.grad(naive_splade(hidden, torch.ones(2, 4), weight, torch.zeros(9)).sum(), hidden)[0]
    torch.testing.assert_close(hidden.grad, exact, atol=0.1, rtol=0.1)


def test_a_head_without_bias() -> None:
    hidden, weight = torch.randn(2, 3, 4), torch.randn(5, 4)
    expected = naive_splade(hidden, torch.ones(2, 3), weight, torch.zeros(5))
    torch.testing.assert_close(splade_pool(hidden, torch.ones(2, 3), weight), expected)


@pytest.mark.parametrize("wrong", [torch.nan, torch.inf])
def test_nan_and_infinity_come_through_pooling(wrong: float) -> None:
    hidden = torch.ones(2, 3, 4)
    hidden[1, 2, 0] = wrong
    pooled = splade_pool(hidden, torch.ones(2, 3), torch.ones(5, 4), torch.zeros(5), 2)
    assert torch.isfinite(pooled[0]).all()
    assert not torch.isfinite(pooled[1]).any()


@pytest.mark.parametrize("normalize", [True, False])
def test_dense_pooling_in_plain_numpy(normalize: bool) -> None:
    hidden = torch.randn(3, 5, 8, generator=torch.Generator().manual_seed(3))
    lengths = [5, 1, 3]
    mask = (torch.arange(5) < torch.tensor(lengths).unsqueeze(1)).long()
    rows = hidden.numpy()
    for pooling, expected in (
        ("mean", np.stack([row[:n].mean(0) for row, n in zip(rows, lengths, strict=True)])),
        ("cls", rows[:, 0]),
    ):
        if normalize:
            expected = expected / np.linalg.norm(expected, axis=1, keepdims=True)
        pooled = dense_pool(hidden, mask, pooling, normalize)  # type: ignore[arg-type]
        np.testing.assert_allclose(pooled.numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_dense_pooling_in_sentence_transformers(pooling: str) -> None:
    from sentence_transformers.sentence_transformer.modules import Pooling

    hidden = torch.randn(3, 5, 8, generator=torch.Generator().manual_seed(4))
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 0, 0, 0, 0], [1, 1, 1, 0, 0]])
    theirs = Pooling(8, pooling_mode=pooling)({"token_embeddings": hidden, "attention_mask": mask})  # type: ignore[arg-type]
    ours = dense_pool(hidden, mask, pooling, normalize=False)  # type: ignore[arg-type]
    torch.testing.assert_close(ours, theirs["sentence_embedding"])


def test_dense_pooling_in_half_precision_is_summed_in_float32() -> None:
    hidden = torch.full((1, 1000, 2), 1.01, dtype=torch.bfloat16)
    pooled = dense_pool(hidden, torch.ones(1, 1000), "mean", normalize=False)
    assert pooled.dtype == torch.float32
    torch.testing.assert_close(pooled, hidden[:, 0].float())


def test_a_zero_vector_stays_zero_when_normalised() -> None:
    assert dense_pool(torch.zeros(1, 2, 3), torch.ones(1, 2), "mean", normalize=True).tolist() == [[0, 0, 0]]
