"""The masked-language loss against Hugging Face's own and against textbook forms; nothing as large as [B, S, V]."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from gradir.models.encoders import SpladeEncoder
from gradir.train.mlm_loss import masked_loss
from gradir.train.mlm_masking import IGNORED
from gradir.train.mlm_model import MaskedObjective, measure
from gradir.train.regularisers import flops
from gradir.train.sparsity import Schedule

FAMILIES = ["bert", "distilbert", "roberta", "modernbert"]


def make_batch(vocab: int, texts: int = 4, length: int = 24) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(5)
    ids = torch.randint(5, vocab, (texts, length), generator=draw)
    lengths = torch.tensor([length, length - 3, 7, 1])[:texts]
    mask = (torch.arange(length) < lengths.unsqueeze(1)).long()
    chosen = (torch.rand(texts, length, generator=draw) < 0.3) & mask.bool()
    return {"input_ids": ids, "attention_mask": mask, "labels": ids.masked_fill(~chosen, IGNORED)}


def load(folder: Any) -> Any:
    from transformers import AutoModelForMaskedLM

    return AutoModelForMaskedLM.from_pretrained(folder, dtype="float32").eval()


@pytest.mark.parametrize("family", FAMILIES)
def test_loss_and_gradients_are_those_of_the_model_itself(tiny: Any, family: str) -> None:
    theirs, ours = load(tiny(family, head=True)), load(tiny(family, head=True))
    batch = make_batch(theirs.config.vocab_size)
    loss = theirs(**batch).loss
    loss.backward()
    encoder = SpladeEncoder(ours, [])
    mine = MaskedObjective(encoder, 0.0, Schedule())(batch)
    mine["loss"].backward()
    assert mine["loss"].item() == pytest.approx(loss.item(), abs=1e-5)
    assert mine["mlm"].item() == pytest.approx(loss.item(), abs=1e-5)
    with encoder.whole() as whole:
        gradients = {name: one.grad for name, one in whole.named_parameters()}
    expected = {name: one.grad for name, one in theirs.named_parameters()}
    assert gradients.keys() == expected.keys()
    assert sum(one is not None for one in expected.values()) > 15
    for name, gradient in expected.items():
        torch.testing.assert_close(gradients[name], gradient, atol=1e-5, rtol=1e-4)


def textbook(states: Tensor, targets: Tensor, weight: Tensor, bias: Tensor | None, sparse: bool) -> Tensor:
    logits = torch.nn.functional.linear(states, weight, bias)
    loss = torch.nn.functional.cross_entropy(logits, targets, reduction="sum")
    if sparse:
        weights = torch.log(1 + torch.relu(logits))
        loss = loss - weights.log_softmax(1).gather(1, targets[:, None]).sum()
    return loss


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("tile", [1, 3, 7, 100])
def test_tiles_of_any_size_give_the_textbook_form(sparse: bool, biased: bool, tile: int) -> None:
    draw = torch.Generator().manual_seed(tile)
    values = [torch.randn(*shape, generator=draw) * 2 for shape in ((7, 5), (11, 5), (11,))]
    targets = torch.randint(0, 11, (7,), generator=draw)

    def gradients(ours: bool) -> tuple[Tensor, list[Tensor | None]]:
        states, weight, bias = (one.clone().requires_grad_() for one in values)
        shift = bias if biased else None
        if ours:
            loss, plain = masked_loss(states, targets, weight, shift, sparse, tile)
            assert not plain.requires_grad
            torch.testing.assert_close(plain, textbook(states, targets, weight, shift, False).detach())
        else:
            loss = textbook(states, targets, weight, shift, sparse)
        (loss / 3).backward()
        return loss.detach(), [states.grad, weight.grad, bias.grad]

    (ours, mine), (theirs, other) = gradients(True), gradients(False)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    for a, b in zip(mine, other, strict=True):
        assert (a is None) == (b is None)
        if a is not None and b is not None:
            torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def test_in_bfloat16_the_gradient_points_the_same_way() -> None:
    draw = torch.Generator().manual_seed(1)
    states, weight = (torch.randn(n, 32, generator=draw, requires_grad=True) for n in (40, 300))
    targets = torch.randint(0, 300, (40,), generator=draw)
    masked_loss(states, targets, weight, None, True)[0].backward()
    assert states.grad is not None
    assert weight.grad is not None
    exact = states.grad.clone(), weight.grad.clone()
    states.grad = weight.grad = None
    with torch.autocast("cpu", torch.bfloat16):
        masked_loss(states, targets, weight, None, True)[0].backward()
    for ours, want in zip((states.grad, weight.grad), exact, strict=True):
        assert ours.dtype == torch.float32
        assert torch.nn.functional.cosine_similarity(ours.flatten(), want.flatten(), dim=0) > 0.999


@pytest.mark.parametrize("sparse", [False, True])
def test_nothing_masked_costs_nothing_and_gives_no_nan(tiny: Any, sparse: bool) -> None:
    objective = MaskedObjective(SpladeEncoder(load(tiny("bert", head=True)), []), 1e-3 * sparse, Schedule())
    batch = make_batch(200) | {"labels": torch.full((4, 24), IGNORED)}
    parts = objective(batch)
    assert parts["mlm"] == 0
    assert torch.isfinite(parts["loss"])
    parts["loss"].backward()


def test_flops_of_the_pooled_weights_grows_as_a_square(tiny: Any) -> None:
    """Against the formula, with [B, S, V] in memory."""
    mlm = load(tiny("bert", head=True))
    batch = make_batch(mlm.config.vocab_size)
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    with torch.no_grad():
        weights = torch.log(1 + torch.relu(mlm(**inputs).logits)) * batch["attention_mask"].unsqueeze(-1)
    weights = weights.amax(1)  # [B, V]
    weights[:, [0, 3]] = 0.0
    expected = sum(float(weights[:, j].mean()) ** 2 for j in range(weights.shape[1]))
    assert float(flops(weights.mean(0))) == pytest.approx(expected, rel=1e-5)
    objective = MaskedObjective(SpladeEncoder(mlm, [0, 3]), 0.5, Schedule("quadratic", 4)).eval()
    without = objective.sums(batch).learnt / (batch["labels"] != IGNORED).sum()
    for objective.step, share in enumerate((0.0, 1 / 16, 4 / 16, 9 / 16, 1.0, 1.0)):
        parts = objective(batch)
        assert float(parts["flops"]) == pytest.approx(expected, rel=1e-5)
        assert float(parts["terms"]) == pytest.approx(float((weights > 0).sum() / 4))
        assert float(parts["loss"].detach()) == pytest.approx(
            float(without.detach()) + 0.5 * share * expected, rel=1e-5
        )


class LargestTensor(TorchDispatchMode):
    """Notes the size of the largest result of any operation."""

    largest = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        for one in found if isinstance(found, (tuple, list)) else [found]:
            if isinstance(one, Tensor):
                self.largest = max(self.largest, one.numel())
        return found


@pytest.mark.parametrize("weight", [0.0, 1e-3])
def test_no_tensor_of_a_step_comes_near_the_logits_of_all_tokens(tiny: Any, weight: float) -> None:
    rows, texts, length = 6000, 32, 48
    mlm = load(tiny("bert", head=True, rows=rows)).train()
    draw = torch.Generator().manual_seed(2)
    ids = torch.randint(5, 150, (texts, length), generator=draw)
    labels = ids.masked_fill(torch.rand(texts, length, generator=draw) > 0.15, IGNORED)
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}
    with LargestTensor() as plain:
        mlm(**batch).loss.backward()
    assert plain.largest >= texts * length * rows  # the watch works
    with LargestTensor() as ours:
        MaskedObjective(SpladeEncoder(mlm, []), weight, Schedule())(batch)["loss"].backward()
    assert ours.largest < texts * length * rows / 4


def test_measuring_takes_means_over_tokens_without_dropout(tiny: Any) -> None:
    mlm = load(tiny("bert", head=True)).train()
    batches = [make_batch(200), make_batch(200, texts=2, length=12)]
    want = [float(load(tiny("bert", head=True))(**batch).loss.detach()) for batch in batches]
    masked = [int((batch["labels"] != IGNORED).sum()) for batch in batches]
    objective = MaskedObjective(SpladeEncoder(mlm, []), 0.0, Schedule()).train()
    loss, terms = measure(objective, batches)
    assert loss == pytest.approx(sum(a * b for a, b in zip(want, masked, strict=True)) / sum(masked), rel=1e-5)
    assert terms is None
    assert objective.training
