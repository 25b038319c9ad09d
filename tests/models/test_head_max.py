"""SPLADE's max pooling of many blocks at once, whole tiles and active terms alone, against the formula with [B, S, V] in memory."""

from __future__ import annotations

from typing import Any, NamedTuple
from unittest import mock

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from gradir.models import head_max
from gradir.models.head_max import max_weights

WAYS = {"whole tiles": -1.0, "active terms": 2.0, "both": 0.5}
EXACT: Any = {"atol": 1e-11, "rtol": 1e-9}


class Head(NamedTuple):
    """Arguments of `max_weights`; states float64 [T, H], with a few rows after the last block."""

    states: Tensor
    shapes: list[tuple[int, int]]
    weight: Tensor
    bias: Tensor | None
    tile: int
    twice: bool

    def run(self, states: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return max_weights(states, self.shapes, weight, bias, self.tile, self.twice)

    def naive(self, states: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """`log1p(relu(h E^T + b))`, once or twice, and then the largest of each text, [B, V]."""
        row, found = 0, []
        for texts, tokens in self.shapes:
            logits = states[row : row + texts * tokens].view(texts, tokens, -1) @ weight.T
            weights = torch.log1p(torch.relu(logits if bias is None else logits + bias))
            found.append((torch.log1p(weights) if self.twice else weights).amax(1))
            row += texts * tokens
        return torch.cat(found)


def head(shapes: list[tuple[int, int]], size: int, terms: int, seed: int = 0, **others: Any) -> Head:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    rows = sum(texts * tokens for texts, tokens in shapes) + others.get("further", 2)
    bias = normal(terms) + others.get("shift", 0.0)
    bias = None if others.get("shift", 0.0) is None else bias
    return Head(normal(rows, size), shapes, normal(terms, size), bias, others["tile"], others.get("twice", False))


@st.composite
def heads(draw: st.DrawFn) -> Head:
    """Blocks, tiles and shares of active terms of any size."""
    shapes = draw(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 6)), min_size=1, max_size=4))
    terms = draw(st.integers(1, 23))
    made = head(
        shapes,
        draw(st.integers(1, 6)),
        terms,
        draw(st.integers(0, 2**31)),
        further=draw(st.integers(0, 3)),
        shift=draw(st.sampled_from([0.0, 3.0, -1.0, -2.5, -1e4])),  # -1e4: no term is active
        tile=draw(st.integers(1, terms + 2)),
        twice=draw(st.booleans()),
    )
    return made if draw(st.booleans()) else made._replace(bias=None)


def results(function: Any, made: Head, needed: tuple[bool, bool, bool]) -> list[Tensor | None]:
    """Weights, and the gradients of what needs one, of a random loss that leaves some terms out, as top-k does."""
    given = [one if one is None else one.clone() for one in (made.states, made.weight, made.bias)]
    for one, need in zip(given, needed, strict=True):
        if one is not None:
            one.requires_grad_(need)
    found = function(*given)
    generator = torch.Generator().manual_seed(1)
    share = torch.randn(found.shape, generator=generator, dtype=torch.float64)
    (found * share * (torch.rand(found.shape, generator=generator) < 0.8)).sum().backward()
    return [found.detach(), *(None if one is None else one.grad for one in given)]


NEEDED = [(True, True, True), (True, False, True), (True, False, False), (False, True, False), (False, False, True)]


@settings(deadline=None, max_examples=200, database=None)
@given(heads(), st.sampled_from(list(WAYS.values())), st.sampled_from(NEEDED), st.sampled_from([1, 300, 2**20]))
def test_weights_and_gradients_are_those_of_the_formula(
    made: Head, dense: float, needed: tuple[bool, bool, bool], piece: int
) -> None:
    assume(made.bias is not None or any(needed[:2]))
    with mock.patch.object(head_max, "DENSE", dense), mock.patch.object(head_max, "_PIECE", {"cpu": piece}):
        ours = results(made.run, made, needed)
    theirs = results(made.naive, made, needed)
    assert ours[0] is not None
    assert ours[0].dtype == torch.float64
    for mine, other, need in zip(ours, theirs, (True, *needed), strict=True):
        assert (mine is None) == (other is None)
        if mine is not None and need:
            torch.testing.assert_close(mine, other, **EXACT)


@pytest.mark.parametrize("twice", [False, True])
@pytest.mark.parametrize("dense", WAYS.values(), ids=WAYS.keys())
def test_the_gradient_by_finite_differences(dense: float, twice: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head_max, "DENSE", dense)
    made = head([(2, 3), (1, 2)], 3, 7, tile=3, twice=twice)
    inputs = [one.requires_grad_() for one in (made.states, made.weight, made.bias) if one is not None]
    assert torch.autograd.gradcheck(made.run, inputs)


def ways_taken(made: Head) -> set[str]:
    taken = set()

    def watched(name: str) -> Any:
        function = getattr(head_max, name)

        def run(*given: Any) -> Any:
            taken.add(name)
            return function(*given)

        return mock.patch.object(head_max, name, run)

    with watched("_dense"), watched("_sparse"):
        results(made.run, made, (True, True, True))
    return taken


def test_the_share_of_active_terms_decides_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = [(3, 4), (2, 2)]
    assert ways_taken(head(shapes, 4, 12, tile=5, shift=9.0)) == {"_dense"}
    assert ways_taken(head(shapes, 4, 12, tile=5, shift=-5.0)) == {"_sparse"}
    mixed = head(shapes, 4, 12, tile=5, shift=9.0)
    assert mixed.bias is not None
    mixed.bias[5:] = -6.0  # the first tile is active, the others hardly
    assert ways_taken(mixed) == {"_dense", "_sparse"}
    last = head(shapes, 4, 12, tile=5, shift=9.0)
    assert last.bias is not None
    last.bias[:10] = -6.0  # only the last tile, which is not a whole one
    for made in (mixed, last):
        for ours, theirs in zip(*(results(f, made, (True,) * 3) for f in (made.run, made.naive)), strict=True):
            torch.testing.assert_close(ours, theirs, **EXACT)


@pytest.mark.parametrize("dense", WAYS.values(), ids=WAYS.keys())
def test_of_tokens_that_tie_one_has_the_whole_gradient(dense: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head_max, "DENSE", dense)
    made = head([(3, 4)], 5, 30, tile=8)
    rows = made.states[:12].view(3, 4, 5)
    copies = torch.stack([rows[:, 0], rows[:, 1], rows[:, 0], rows[:, 1]], 1)  # every maximum is there twice
    once = made._replace(states=rows[:, :2].flatten(0, 1), shapes=[(3, 2)])
    twofold = made._replace(states=copies.flatten(0, 1))
    ours, theirs = results(twofold.run, twofold, (True,) * 3), results(once.naive, once, (True,) * 3)
    assert ours[1] is not None
    ours[1] = ours[1].view(3, 2, 2, 5).sum(1).view(6, 5)  # of both copies
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, **EXACT)


@pytest.mark.parametrize("dense", [-1.0, 2.0])
def test_all_tokens_tie(dense: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head_max, "DENSE", dense)
    states = torch.ones(4, 2, dtype=torch.float64, requires_grad=True)
    weight = torch.ones(1, 2, dtype=torch.float64, requires_grad=True)
    max_weights(states, [(1, 4)], weight, None, 8).sum().backward()
    assert states.grad is not None
    assert weight.grad is not None
    assert sorted(states.grad[:, 0].tolist()) == pytest.approx([0, 0, 0, 1 / 3])  # the logit is 2
    assert weight.grad.tolist() == [pytest.approx([1 / 3, 1 / 3])]


@pytest.mark.parametrize("dense", WAYS.values(), ids=WAYS.keys())
def test_under_autocast_products_are_in_its_dtype_and_gradients_in_that_of_the_inputs(
    dense: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(head_max, "DENSE", dense)
    made = head([(3, 9), (2, 5)], 32, 200, tile=64)
    low = made._replace(states=made.states.float(), weight=made.weight.float(), bias=made.bias.float())  # type: ignore[union-attr]
    with torch.autocast("cpu", torch.bfloat16):
        ours = results(low.run, low, (True,) * 3)
    # The same products with rounded inputs, in float64: what is left is the rounding of products and shares.
    rounded = made._replace(states=made.states.bfloat16().double(), weight=made.weight.bfloat16().double())
    theirs = results(rounded.naive, rounded, (True,) * 3)
    for mine, other in zip(ours, theirs, strict=True):
        assert mine is not None
        assert other is not None
        assert mine.dtype == torch.float32
        assert float((mine - other).norm()) < 0.15 * float(other.norm())  # some maxima move to another token
    assert ours[0] is not None
    torch.testing.assert_close(ours[0].double(), theirs[0], atol=0.02, rtol=0.02)


@pytest.mark.parametrize("dense", WAYS.values(), ids=WAYS.keys())
def test_the_same_gradient_when_asked_twice(dense: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head_max, "DENSE", dense)
    made = head([(2, 3), (1, 5)], 4, 20, tile=6)
    states, weight = made.states.requires_grad_(), made.weight.requires_grad_()
    total = made.run(states, weight, made.bias).square().sum()
    first = torch.autograd.grad(total, [states, weight], retain_graph=True)
    for one, again in zip(first, torch.autograd.grad(total, [states, weight]), strict=True):
        assert torch.equal(one, again)


def test_without_a_gradient_to_come_no_places_are_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head_max, "DENSE", -1.0)
    made = head([(2, 3)], 4, 20, tile=6)
    expected = made.naive(made.states, made.weight, made.bias)
    states = made.states.requires_grad_()
    with mock.patch.object(head_max, "_places", side_effect=AssertionError):
        with torch.no_grad():
            torch.testing.assert_close(made.run(states, made.weight, made.bias), expected, **EXACT)
        torch.testing.assert_close(made.run(states.detach(), made.weight, made.bias), expected, **EXACT)


def test_active_terms_alone_are_multiplied_on_the_way_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """No tensor is larger than the embeddings, the weights, or a piece of work."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Largest(TorchDispatchMode):
        numbers = 0

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = func(*args, **(kwargs or {}))
            for one in result if isinstance(result, tuple) else (result,):
                self.numbers = max(self.numbers, one.numel() if isinstance(one, Tensor) else 0)
            return result

    piece = 2 * 128 * 16  # two texts, their active terms filled up to 128, 16 tokens each
    monkeypatch.setattr(head_max, "_PIECE", {"cpu": piece})
    made = head([(40, 16)], 8, 3000, shift=-11.0, tile=64)
    states, weight = made.states.requires_grad_(), made.weight.requires_grad_()
    weights = made.run(states, weight, made.bias)
    active = (weights > 0).sum(1)
    assert 0 < int(active.max()) <= 128
    with Largest() as largest:
        weights.sum().backward()
    assert largest.numbers <= max(40 * 3000, 3000 * 8, piece)
    assert int(active.sum()) * 8 < 40 * 3000
