"""Blocks of texts encoded together, as a training step does, against the encoder called on each block by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from packed_oracles import FAMILIES, Blocks, assert_same, gradients, known_dropout, random_blocks, rough
from torch import Tensor, nn

from gradir.models import fast_backbone, head_max, together
from gradir.models.encoders import DenseEncoder, SpladeEncoder, StaticEncoder, occurrence
from gradir.models.together import encode_blocks

EXACT: Any = {"atol": 1e-9, "rtol": 1e-9}
SINGLE: Any = {"atol": 3e-5, "rtol": 3e-5}  # a pooled vector is float32
LENGTHS = {"one": [[5, 3, 5]], "whole": [[3, 3], [8, 8, 8]], "several": [[4, 2, 1], [6, 6], [9, 11, 8]]}
DROPPED = [0, 1, 2, 3, 4, 30]


def dense(tiny: Any, family: str = "bert", pooling: Any = "mean", **options: Any) -> DenseEncoder:
    layers = options.pop("layers", ())
    return DenseEncoder(rough(tiny(family), **options), pooling, False, layers).train()


def splade(
    tiny: Any, family: str = "bert", hidden: float = 0.0, attention: float = 0.0, **options: Any
) -> SpladeEncoder:
    return SpladeEncoder(rough(tiny(family, head=True), True, hidden, attention), DROPPED, **options).train()


def random_texts(encoder: Any, lengths: Any = LENGTHS["several"], **options: Any) -> Blocks:
    backbone = encoder.backbone if isinstance(encoder, DenseEncoder) else encoder.mlm
    return random_blocks(lengths, backbone.config.pad_token_id, **options)


def one_by_one(encoder: Any, blocks: Blocks, before: Callable[[], None] = lambda: None) -> Tensor:
    found = []
    for ids, mask in blocks:
        before()
        found.append(encoder(ids, mask))
    return torch.cat(found)


def textbook(encoder: SpladeEncoder, blocks: Blocks, before: Callable[[], None] = lambda: None) -> Tensor:
    """`max_i log(1 + relu(logits_i))` of Hugging Face's whole model, with [B, S, V] in memory."""
    found = []
    with encoder.whole() as mlm:
        for ids, mask in blocks:
            before()
            weights = torch.log1p(torch.relu(mlm(input_ids=ids, attention_mask=mask).logits))
            weights = torch.log1p(weights) if encoder.activation == "log1p_relu" else weights
            pooled = weights.masked_fill(~mask.bool().unsqueeze(-1), 0.0).amax(1)
            if not encoder.expansion:
                pooled = pooled * occurrence(ids, mask, pooled.shape[1])
            found.append(pooled.index_fill(1, torch.tensor(DROPPED), 0.0))
    return torch.cat(found)


@contextmanager
def packed(encoder: Any) -> Iterator[None]:
    """Within it Hugging Face's own module must not run."""
    backbone = encoder.backbone if isinstance(encoder, DenseEncoder) else encoder.mlm
    with mock.patch.object(type(backbone), "forward", side_effect=AssertionError("not packed")):
        yield


@contextmanager
def not_packed() -> Iterator[None]:
    """Within it nothing must go through the packed layers."""
    with mock.patch.object(fast_backbone, "states", side_effect=AssertionError("packed")):
        yield


@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS.keys())
@pytest.mark.parametrize("pooling", ["mean", "cls", "max", "last"])
@pytest.mark.parametrize("family", FAMILIES)
def test_dense_vectors_and_gradients(tiny: Any, family: str, pooling: str, lengths: Any) -> None:
    encoder = dense(tiny, family, pooling)
    blocks = random_texts(encoder, lengths)
    theirs = one_by_one(encoder, blocks)
    with packed(encoder):
        ours = encode_blocks(encoder, blocks)
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours, theirs, **SINGLE)
    assert_same(gradients(encoder, ours), gradients(encoder, theirs), **SINGLE)


@pytest.mark.parametrize("pooling", ["mean", "cls", "max", "last"])
def test_dense_with_padding_on_the_left_and_all_that_may_follow(tiny: Any, pooling: Any) -> None:
    torch.manual_seed(0)
    layers = [nn.Linear(32, 12), nn.Tanh()]
    encoder = DenseEncoder(rough(tiny("bert")), pooling, True, layers, dimensions=9, skipped=2).train()
    blocks = random_texts(encoder, [[4, 3, 7], [5, 5]], left=True)
    theirs = one_by_one(encoder, blocks)
    with packed(encoder):
        ours = encode_blocks(encoder, blocks)
    assert ours.shape == (5, 9)
    torch.testing.assert_close(ours, theirs, **SINGLE)
    assert_same(gradients(encoder, ours), gradients(encoder, theirs), **SINGLE)


@pytest.mark.parametrize("dense_from", [-1.0, 2.0], ids=["whole tiles", "active terms"])
@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS.keys())
@pytest.mark.parametrize("family", [*FAMILIES, "xlm-roberta"])
def test_splade_weights_and_gradients(
    tiny: Any, family: str, lengths: Any, dense_from: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(head_max, "DENSE", dense_from)
    monkeypatch.setattr(together, "VOCAB_TILE", 50)
    encoder = splade(tiny, family)
    blocks = random_texts(encoder, lengths)
    theirs = textbook(encoder, blocks)
    with packed(encoder):
        ours = encode_blocks(encoder, blocks)
    torch.testing.assert_close(ours, theirs, **EXACT)
    assert (ours[:, DROPPED] == 0).all()
    assert_same(gradients(encoder, ours), gradients(encoder, theirs), **EXACT)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("options", [{"expansion": False}, {"activation": "log1p_relu"}])
def test_splade_of_other_kinds(tiny: Any, family: str, options: dict[str, Any]) -> None:
    encoder = splade(tiny, family, **options)
    blocks = random_texts(encoder)
    theirs = textbook(encoder, blocks)
    with packed(encoder):
        ours = encode_blocks(encoder, blocks)
    torch.testing.assert_close(ours, theirs, **EXACT)
    assert 0 < int((ours > 0).sum()) < ours.numel()
    assert_same(gradients(encoder, ours), gradients(encoder, theirs), **EXACT)


@pytest.mark.parametrize("saving", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_splade_with_dropout_where_the_same_numbers_are_dropped(tiny: Any, family: str, saving: bool) -> None:
    encoder = splade(tiny, family, hidden=0.3, attention=0.2)
    blocks = random_texts(encoder)
    with known_dropout(family) as next_block:
        theirs = textbook(encoder, blocks, next_block)
        expected = gradients(encoder, theirs)
        if saving:
            encoder.mlm.gradient_checkpointing_enable({"use_reentrant": False})
        with packed(encoder):
            ours = encode_blocks(encoder, blocks)
            found = gradients(encoder, ours)
    torch.testing.assert_close(ours, theirs, **EXACT)
    assert_same(found, expected, **EXACT)


@pytest.fixture(scope="module")
def small(tiny: Any) -> list[tuple[Any, dict[str, float]]]:
    return [(dense(tiny, pooling="max"), SINGLE), (splade(tiny), EXACT)]


@settings(deadline=None, max_examples=25, database=None)
@given(st.lists(st.lists(st.integers(1, 10), min_size=1, max_size=4), min_size=1, max_size=4), st.integers(0, 2**31))
def test_blocks_of_any_shape_through_both_kinds(small: Any, lengths: Any, seed: int) -> None:
    for encoder, tolerance in small:
        blocks = random_texts(encoder, lengths, seed=seed)
        ours = encode_blocks(encoder, blocks)
        theirs = textbook(encoder, blocks) if isinstance(encoder, SpladeEncoder) else one_by_one(encoder, blocks)
        torch.testing.assert_close(ours, theirs, **tolerance)
        assert_same(gradients(encoder, ours), gradients(encoder, theirs), **tolerance)


def made(tiny: Any, kind: str, family: str) -> Any:
    return (dense if kind == "dense" else splade)(tiny, family, hidden=0.2, attention=0.1).float()


@pytest.mark.parametrize("low", [False, True], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("saving", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", ["dense", "splade"])
def test_the_pass_without_gradients_drops_the_same(tiny: Any, kind: str, family: str, saving: bool, low: bool) -> None:
    """GradCache encodes without gradients, and again with them from the random state it kept."""
    encoder = made(tiny, kind, family)
    if saving:
        (encoder.backbone if kind == "dense" else encoder.mlm).gradient_checkpointing_enable({"use_reentrant": False})
    blocks = random_texts(encoder)
    torch.manual_seed(5)
    state = torch.get_rng_state()
    with packed(encoder), torch.autocast("cpu", torch.bfloat16, enabled=low):
        with torch.no_grad():
            first, second = (encode_blocks(encoder, blocks) for _ in range(2))
        torch.set_rng_state(state)
        again, after = (encode_blocks(encoder, blocks) for _ in range(2))
    assert again.requires_grad
    assert torch.equal(first, again)
    assert torch.equal(second, after)  # as far on in the random state
    assert not torch.allclose(first, second, atol=1e-2)
    torch.manual_seed(5)
    with torch.autocast("cpu", torch.bfloat16, enabled=low):
        repeated = encode_blocks(encoder, blocks)
    for one, other in zip(gradients(encoder, again).values(), gradients(encoder, repeated).values(), strict=True):
        assert torch.equal(one, other)


def test_in_evaluation_there_is_no_dropout(tiny: Any) -> None:
    for kind in ("dense", "splade"):
        encoder = made(tiny, kind, "bert").eval()
        blocks = random_texts(encoder)
        with torch.no_grad(), not_packed():
            still = encode_blocks(encoder, blocks)  # the encoder itself, as everywhere in evaluation
        with packed(encoder):
            learning = encode_blocks(encoder, blocks)
        assert learning.requires_grad
        torch.testing.assert_close(learning, still, atol=1e-4, rtol=1e-4)
        with torch.no_grad():
            torch.testing.assert_close(still, one_by_one(encoder, blocks), atol=0.0, rtol=0.0)


@pytest.mark.parametrize("kind", ["dense", "splade"])
def test_autocast_is_as_near_as_hugging_face(tiny: Any, kind: str) -> None:
    encoder = (dense if kind == "dense" else splade)(tiny).float()
    blocks = random_texts(encoder)
    exact = one_by_one(encoder, blocks)
    with torch.autocast("cpu", torch.bfloat16):
        theirs = one_by_one(encoder, blocks)
        with packed(encoder):
            ours = encode_blocks(encoder, blocks)
    assert ours.dtype == torch.float32
    assert bool((ours - exact).norm() < 1.3 * (theirs - exact).norm())
    expected, others, found = (gradients(encoder, one) for one in (exact, theirs, ours))
    assert set(found) == set(expected)

    def distance(those: dict[str, Tensor]) -> float:
        return sum(float((those[name] - true).square().sum()) for name, true in expected.items()) ** 0.5

    assert distance(found) < 1.3 * distance(others)


def falls_back(encoder: Any) -> None:
    """Nothing is packed, and the result is that of the encoder on each block."""
    blocks = random_texts(encoder)
    with not_packed():
        ours = encode_blocks(encoder, blocks)
        theirs = one_by_one(encoder, blocks)
        torch.testing.assert_close(ours, theirs, atol=0.0, rtol=0.0)
        assert_same(gradients(encoder, ours), gradients(encoder, theirs), atol=0.0, rtol=0.0)


@pytest.mark.parametrize("family", ["mpnet", "modernbert"])
def test_other_architectures_go_through_themselves(tiny: Any, family: str) -> None:
    falls_back(dense(tiny, family))
    falls_back(splade(tiny, family))


def test_a_sum_goes_through_the_encoder(tiny: Any) -> None:
    falls_back(splade(tiny, pooling="sum"))


def test_other_activations_go_through_the_encoder(tiny: Any) -> None:
    falls_back(DenseEncoder(rough(tiny("bert", hidden_act="relu")), "mean", False).train())
    falls_back(SpladeEncoder(rough(tiny("bert", head=True, hidden_act="relu"), True), DROPPED).train())


@pytest.mark.parametrize("kind", ["dense", "splade"])
def test_adapters_go_through_the_encoder_and_learn(tiny: Any, kind: str) -> None:
    from peft import LoraConfig, inject_adapter_in_model

    encoder: Any = (dense if kind == "dense" else splade)(tiny)
    encoder.requires_grad_(False)
    settings = LoraConfig(r=4, target_modules=["query", "intermediate.dense"], init_lora_weights=False)
    inject_adapter_in_model(settings, encoder.backbone if kind == "dense" else encoder.mlm)
    encoder.double()
    falls_back(encoder)
    found = gradients(encoder, encode_blocks(encoder, random_texts(encoder)))
    assert found.keys() == {name for name, _ in encoder.named_parameters() if "lora_" in name}


def test_hooks_run(tiny: Any) -> None:
    inside = ((dense, ""), (dense, "backbone"), (splade, ""), (splade, "mlm"), (splade, "mlm.bert.encoder.layer.0"))
    for kind, name in inside:
        encoder: Any = kind(tiny)
        seen: list[bool] = []
        encoder.get_submodule(name).register_forward_hook(lambda *_, seen=seen: seen.append(True))
        blocks = random_texts(encoder)
        with not_packed():
            encode_blocks(encoder, blocks)
        assert len(seen) == len(blocks)


def test_a_table_of_query_terms(tiny: Any) -> None:
    encoder = StaticEncoder(torch.rand(60)).train()
    blocks = random_blocks(LENGTHS["several"], 0)
    ours, theirs = encode_blocks(encoder, blocks), one_by_one(encoder, blocks)
    torch.testing.assert_close(ours, theirs, atol=0.0, rtol=0.0)
    assert_same(gradients(encoder, ours), gradients(encoder, theirs), atol=0.0, rtol=0.0)


def test_a_decoder_that_is_frozen_or_has_no_bias(tiny: Any) -> None:
    encoder = splade(tiny)
    encoder.decoder.weight.requires_grad_(False)  # tied: the word embeddings as well
    blocks = random_texts(encoder)
    ours, theirs = encode_blocks(encoder, blocks), textbook(encoder, blocks)
    assert_same(gradients(encoder, ours), gradients(encoder, theirs), **EXACT)
    encoder.decoder.register_parameter("bias", None)
    ours, theirs = encode_blocks(encoder, blocks), textbook(encoder, blocks)
    torch.testing.assert_close(ours, theirs, **EXACT)
    assert_same(gradients(encoder, ours), gradients(encoder, theirs), **EXACT)
