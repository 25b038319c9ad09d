"""The pooling heads against their textbook forms."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gradir.models.heads import dense_pool, splade_pool

TEXTBOOK = settings(deadline=None, max_examples=150, database=None)


def naive_splade(hidden: Tensor, mask: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """`max_t log(1 + relu(logits)) * mask`, as Pyserini computes it, with [B, S, V] in memory."""
    logits = hidden @ weight.T + bias
    return (torch.log(1 + torch.relu(logits)) * mask.unsqueeze(-1)).amax(1)


def naive_sum(hidden: Tensor, mask: Tensor, weight: Tensor, bias: Tensor, activation: str = "relu") -> Tensor:
    """`sum_t log(1 + relu(logits)) * mask`, with [B, S, V] in memory."""
    weights = torch.log(1 + torch.relu(hidden @ weight.T + bias))
    weights = torch.log(1 + weights) if activation == "log1p_relu" else weights
    return (weights * mask.unsqueeze(-1)).sum(1)


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


@TEXTBOOK
@given(heads(), st.sampled_from(["relu", "log1p_relu"]))
def test_sum_pooling_and_its_gradient_are_those_of_the_naive_formula(
    head: tuple[Tensor, Tensor, Tensor, Tensor, int], activation: Any
) -> None:
    hidden, mask, weight, bias, tile = head
    share = torch.randn(len(hidden), len(weight), generator=torch.Generator().manual_seed(1))

    def results(tiled: bool) -> list[Tensor]:
        inputs = [one.clone().requires_grad_() for one in (hidden, weight, bias)]
        h, w, b = inputs
        pooled = splade_pool(h, mask, w, b, tile, "sum", activation) if tiled else naive_sum(h, mask, w, b, activation)
        (pooled * share).sum().backward()
        return [pooled.detach(), *(one.grad for one in inputs if one.grad is not None)]

    ours, theirs = results(tiled=True), results(tiled=False)
    assert len(ours) == 4
    assert ours[0].dtype == torch.float32
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, atol=1e-5, rtol=1e-5)
    with torch.inference_mode():
        torch.testing.assert_close(splade_pool(hidden, mask, weight, bias, tile, "sum", activation), ours[0])


@pytest.mark.parametrize("pooling", ["max", "sum"])
def test_both_activations_in_sentence_transformers(pooling: Any) -> None:
    from sentence_transformers.sparse_encoder.modules import SpladePooling

    torch.manual_seed(5)
    hidden, weight, bias = torch.randn(3, 5, 4), torch.randn(9, 4), torch.randn(9)
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 0, 0, 0, 0], [1, 1, 1, 0, 0]])
    for activation in ("relu", "log1p_relu"):
        theirs = SpladePooling(pooling, activation).eval()  # type: ignore[arg-type]
        expected = theirs({"token_embeddings": hidden @ weight.T + bias, "attention_mask": mask})["sentence_embedding"]
        ours = splade_pool(hidden, mask, weight, bias, 4, pooling, activation)  # type: ignore[arg-type]
        torch.testing.assert_close(ours, expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("pooling", ["max", "sum"])
def test_no_tensor_of_texts_by_tokens_by_terms_is_ever_made(pooling: Any) -> None:
    from torch.utils._python_dispatch import TorchDispatchMode

    class Largest(TorchDispatchMode):
        numbers = 0

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = func(*args, **(kwargs or {}))
            for one in result if isinstance(result, tuple) else (result,):
                self.numbers = max(self.numbers, one.numel() if isinstance(one, Tensor) else 0)
            return result

    hidden, weight = torch.randn(4, 16, 8, requires_grad=True), torch.randn(320, 8, requires_grad=True)
    with Largest() as largest:
        splade_pool(hidden, torch.ones(4, 16), weight, torch.zeros(320), 32, pooling).sum().backward()
    assert 0 < largest.numbers <= max(4 * 16 * 32, 320 * 8)
    assert largest.numbers < 4 * 16 * 320


def test_the_gradient_by_finite_differences() -> None:
    torch.manual_seed(0)
    hidden, weight = (torch.randn(*shape, dtype=torch.float64, requires_grad=True) for shape in ((2, 4, 3), (7, 3)))
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
    bias = torch.randn(7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda h, w, b: splade_pool(h, mask, w, b, 3), (hidden, weight, bias))


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
        ("max", np.stack([row[:n].max(0) for row, n in zip(rows, lengths, strict=True)])),
        ("last", np.stack([row[n - 1] for row, n in zip(rows, lengths, strict=True)])),
        ("mean", np.stack([row[:n].mean(0) for row, n in zip(rows, lengths, strict=True)])),
        ("cls", rows[:, 0]),
    ):
        if normalize:
            expected = expected / np.linalg.norm(expected, axis=1, keepdims=True)
        pooled = dense_pool(hidden, mask, pooling, normalize)  # type: ignore[arg-type]
        np.testing.assert_allclose(pooled.numpy(), expected, atol=1e-6)


@st.composite
def padded(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    """(hidden, mask) of any shape, padded on either side."""
    texts, tokens, size = (draw(st.integers(1, most)) for most in (4, 7, 6))
    lengths = torch.tensor([draw(st.integers(1, tokens)) for _ in range(texts)])
    mask = (torch.arange(tokens) < lengths.unsqueeze(1)).long()
    hidden = torch.randn(texts, tokens, size, generator=torch.Generator().manual_seed(draw(st.integers(0, 2**31))))
    return hidden, mask.flip(1) if draw(st.booleans()) else mask


@TEXTBOOK
@given(padded(), st.sampled_from(["mean", "cls", "max", "last"]))
def test_dense_pooling_in_sentence_transformers(texts: tuple[Tensor, Tensor], pooling: Any) -> None:
    from sentence_transformers.sentence_transformer.modules import Pooling

    hidden, mask = texts
    theirs = Pooling(hidden.shape[-1], pooling_mode="lasttoken" if pooling == "last" else pooling)
    expected = theirs({"token_embeddings": hidden, "attention_mask": mask})["sentence_embedding"]
    torch.testing.assert_close(dense_pool(hidden, mask, pooling, normalize=False), expected)


def test_dense_pooling_in_half_precision_is_summed_in_float32() -> None:
    hidden = torch.full((1, 1000, 2), 1.01, dtype=torch.bfloat16)
    pooled = dense_pool(hidden, torch.ones(1, 1000), "mean", normalize=False)
    assert pooled.dtype == torch.float32
    torch.testing.assert_close(pooled, hidden[:, 0].float())


def test_a_zero_vector_stays_zero_when_normalised() -> None:
    assert dense_pool(torch.zeros(1, 2, 3), torch.ones(1, 2), "mean", normalize=True).tolist() == [[0, 0, 0]]
