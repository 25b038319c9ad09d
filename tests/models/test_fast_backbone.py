"""The packed backbone of training against Hugging Face's own module: states and the gradient of every parameter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from packed_oracles import FAMILIES, Blocks, assert_same, gradients, known_dropout, random_blocks, rough
from torch import Tensor, nn
from torch.nn import functional

from gradir.models import fast_attention
from gradir.models.fast_attention import attention
from gradir.models.fast_backbone import is_fast, states
from gradir.models.fast_dropout import Drop
from gradir.models.fast_layers import add_norm, feed_forward

EXACT: Any = {"atol": 1e-9, "rtol": 1e-9}
LENGTHS = {
    "one block": [[5, 5, 5]],
    "one text": [[7]],
    "whole": [[3, 3], [9, 9, 9], [1]],
    "padded": [[4, 2, 1], [6, 6], [9, 11, 8]],
    "rows of a multiple of 64": [[16, 16, 16], [8, 8]],
}
NONE = Drop(0.0, 0)


def real_states(rows: Tensor, blocks: Blocks) -> Tensor:
    """The states of all tokens that are no padding, [tokens, H]."""
    return rows[: sum(ids.numel() for ids, _ in blocks)][torch.cat([mask.flatten() for _, mask in blocks]).bool()]


def hugging_face(backbone: Any, blocks: Blocks, before: Callable[[], None] = lambda: None) -> Tensor:
    """The same from Hugging Face's module, a block at a time."""
    found = []
    for ids, mask in blocks:
        before()
        hidden = backbone(input_ids=ids, attention_mask=mask).last_hidden_state
        found.append(hidden[mask.bool()])
    return torch.cat(found)


@pytest.mark.parametrize("lean", [False, True])
@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS.keys())
@pytest.mark.parametrize("family", [*FAMILIES, "xlm-roberta"])
def test_states_and_gradients_are_those_of_hugging_face(tiny: Any, family: str, lengths: Any, lean: bool) -> None:
    backbone = rough(tiny(family))
    blocks = random_blocks(lengths, backbone.config.pad_token_id)
    theirs = hugging_face(backbone, blocks)
    ours = real_states(states(backbone, blocks, lean), blocks)
    torch.testing.assert_close(ours, theirs, **EXACT)
    assert_same(gradients(backbone, ours), gradients(backbone, theirs), **EXACT)


@pytest.mark.parametrize("family", FAMILIES)
def test_texts_padded_on_the_left(tiny: Any, family: str) -> None:
    backbone = rough(tiny(family))
    blocks = random_blocks([[4, 2, 7], [3, 3]], backbone.config.pad_token_id, left=True)
    theirs, ours = hugging_face(backbone, blocks), real_states(states(backbone, blocks), blocks)
    torch.testing.assert_close(ours, theirs, **EXACT)
    assert_same(gradients(backbone, ours), gradients(backbone, theirs), **EXACT)


@pytest.fixture(scope="module")
def small(tiny: Any) -> Any:
    return rough(tiny("bert", num_hidden_layers=1))


@settings(deadline=None, max_examples=30, database=None)
@given(
    st.lists(st.lists(st.integers(1, 12), min_size=1, max_size=4), min_size=1, max_size=4),
    st.booleans(),
    st.sampled_from([1, 2**21]),
    st.integers(0, 2**31),
)
def test_blocks_of_any_shape(small: Any, lengths: Any, left: bool, piece: int, seed: int) -> None:
    blocks = random_blocks(lengths, small.config.pad_token_id, left, seed)
    theirs = hugging_face(small, blocks)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fast_attention, "_WEIGHTS", piece)
        ours = real_states(states(small, blocks), blocks)
        torch.testing.assert_close(ours, theirs, **EXACT)
        assert_same(gradients(small, ours), gradients(small, theirs), **EXACT)


@pytest.mark.parametrize("saving", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_dropout_is_that_of_hugging_face_where_the_same_numbers_are_dropped(
    tiny: Any, family: str, saving: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fast_attention, "_WEIGHTS", 100)  # several pieces of a block
    backbone = rough(tiny(family), hidden=0.3, attention=0.45)
    blocks = random_blocks(LENGTHS["padded"], backbone.config.pad_token_id)
    with known_dropout(family) as next_block:
        theirs = hugging_face(backbone, blocks, next_block)
        expected = gradients(backbone, theirs)
        if saving:
            backbone.gradient_checkpointing_enable({"use_reentrant": False})
        ours = real_states(states(backbone, blocks), blocks)
        torch.testing.assert_close(ours, theirs, **EXACT)
        assert_same(gradients(backbone, ours), expected, **EXACT)
    with torch.no_grad():
        still = real_states(states(backbone.eval(), blocks), blocks)
    torch.testing.assert_close(still, hugging_face(backbone, blocks), **EXACT)  # nothing is dropped in evaluation
    assert not torch.allclose(still, theirs)


def test_only_what_is_not_frozen_has_a_gradient(tiny: Any) -> None:
    backbone = rough(tiny("bert"))
    blocks = random_blocks(LENGTHS["padded"], 0)
    names = [name for name, _ in backbone.named_parameters() if "pooler" not in name]
    for first in range(3):
        frozen = set(names[first::3])
        for name, parameter in backbone.named_parameters():
            parameter.requires_grad_(name not in frozen)
        ours = gradients(backbone, real_states(states(backbone, blocks), blocks))
        assert set(ours) == set(names) - frozen
        assert_same(ours, gradients(backbone, hugging_face(backbone, blocks)), **EXACT)


@pytest.mark.parametrize("family", FAMILIES)
def test_autocast_loses_no_more_than_hugging_face_loses(tiny: Any, family: str) -> None:
    backbone = rough(tiny(family)).float()
    blocks = random_blocks(LENGTHS["padded"], backbone.config.pad_token_id)
    exact = hugging_face(backbone, blocks)
    with torch.autocast("cpu", torch.bfloat16):
        theirs = hugging_face(backbone, blocks)
        ours = real_states(states(backbone, blocks), blocks)
    assert ours.dtype == torch.float32
    assert 1e-3 < (ours - exact).norm() / exact.norm() < 1.3 * (theirs - exact).norm() / exact.norm()
    expected, others, found = (gradients(backbone, one) for one in (exact, theirs, ours))
    assert set(found) == set(expected)
    for name, true in expected.items():
        assert found[name].dtype == torch.float32
        if "key.bias" not in name and "k_lin.bias" not in name:  # what they add to a row of scores, softmax takes away
            error, allowed = (found[name] - true).norm(), (others[name] - true).norm()
            assert error < 1.5 * allowed + 0.01 * true.norm(), name


def test_parameters_in_bfloat16(tiny: Any) -> None:
    backbone = rough(tiny("bert"))
    blocks = random_blocks(LENGTHS["padded"], 0)
    exact = gradients(backbone, hugging_face(backbone, blocks))
    backbone.bfloat16()
    ours = real_states(states(backbone, blocks), blocks)
    assert ours.dtype == torch.bfloat16
    for name, found in gradients(backbone, ours).items():
        assert found.dtype == torch.bfloat16
        if "key.bias" not in name:
            assert functional.cosine_similarity(found.double().flatten(), exact[name].flatten(), 0) > 0.97, name


def kept_bytes(result: Callable[[], Any]) -> int:
    """Bytes of the different tensors that a pass keeps for the gradient."""
    kept = {}

    def pack(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result()
    return sum(one.untyped_storage().nbytes() for one in kept.values())


def test_checkpointing_changes_nothing_but_what_is_kept(tiny: Any) -> None:
    backbone = rough(tiny("bert", num_hidden_layers=6), hidden=0.2, attention=0.1)
    blocks = random_blocks([[30] * 20, [9, 12]], 0)

    def run(lean: bool = False) -> Tensor:
        torch.manual_seed(4)
        return real_states(states(backbone, blocks, lean), blocks)

    plain, kept, lean = run(), kept_bytes(run), kept_bytes(lambda: run(lean=True))
    expected = gradients(backbone, plain)
    backbone.gradient_checkpointing_enable({"use_reentrant": False})
    saving = run()
    torch.testing.assert_close(saving, plain, atol=0.0, rtol=0.0)
    assert_same(gradients(backbone, saving), expected, **EXACT)
    assert kept_bytes(run) < 0.5 * kept
    assert lean < 0.9 * kept


@pytest.mark.parametrize("family", [*FAMILIES, "xlm-roberta"])
def test_bert_like_encoders_are_taken(tiny: Any, family: str) -> None:
    assert is_fast(rough(tiny(family)))
    assert is_fast(rough(tiny(family), head=True).base_model)
    with torch.autocast("cpu", torch.bfloat16):
        assert is_fast(rough(tiny(family)))
    with torch.autocast("cpu", torch.float16):
        assert not is_fast(rough(tiny(family)))


@pytest.mark.parametrize("family", ["mpnet", "modernbert", "qwen2"])
def test_other_architectures_are_not(tiny: Any, family: str) -> None:
    assert not is_fast(rough(tiny(family)))


@pytest.mark.parametrize(
    ("family", "setting"),
    [
        ("bert", {"hidden_act": "relu"}),
        ("bert", {"hidden_act": "gelu_new"}),
        ("roberta", {"hidden_act": "silu"}),
        ("distilbert", {"activation": "relu"}),
        ("bert", {"is_decoder": True}),
    ],
)
def test_other_activations_and_decoders_are_not(tiny: Any, family: str, setting: dict[str, Any]) -> None:
    assert not is_fast(rough(tiny(family, **setting)))


def test_other_positions_and_halves_are_not(tiny: Any) -> None:
    backbone = rough(tiny("bert"))
    assert not is_fast(backbone.half())
    assert is_fast(backbone.float())
    backbone.config.position_embedding_type = "relative_key"
    assert not is_fast(backbone)


def test_adapters_are_not(tiny: Any) -> None:
    from peft import LoraConfig, inject_adapter_in_model

    for modules in (["query"], ["output.dense"]):
        backbone = rough(tiny("bert"))
        inject_adapter_in_model(LoraConfig(target_modules=modules), backbone)
        assert not is_fast(backbone)


@pytest.mark.parametrize("where", ["", "encoder.layer.1.output.dense", "embeddings"])
def test_hooks_are_not(tiny: Any, where: str) -> None:
    backbone = rough(tiny("bert"))
    module = backbone.get_submodule(where)
    for register in (
        lambda: module.register_forward_hook(lambda *_: None),
        lambda: module.register_forward_pre_hook(lambda *_: None),
        lambda: module.register_full_backward_hook(lambda *_: None),
        lambda: module.register_full_backward_pre_hook(lambda *_: None),
    ):
        handle = register()
        assert not is_fast(backbone)
        handle.remove()
        assert is_fast(backbone)


def test_a_hook_on_the_word_embeddings_runs(tiny: Any) -> None:
    backbone = rough(tiny("bert"))
    blocks = random_blocks(LENGTHS["padded"], 0)
    backbone.embeddings.word_embeddings.register_forward_hook(lambda _, __, output: 2 * output)
    assert is_fast(backbone)
    theirs, ours = hugging_face(backbone, blocks), real_states(states(backbone, blocks), blocks)
    torch.testing.assert_close(ours, theirs, **EXACT)
    assert_same(gradients(backbone, ours), gradients(backbone, theirs), **EXACT)


@pytest.mark.parametrize("family", FAMILIES)
def test_gradient_checkpointing_is(tiny: Any, family: str) -> None:
    backbone, mlm = rough(tiny(family)), rough(tiny(family, head=True), head=True)
    for model in (backbone, mlm):
        model.gradient_checkpointing_enable({"use_reentrant": False})
        assert is_fast(model.base_model)


def test_a_weight_that_is_computed_is_not(tiny: Any) -> None:
    backbone = rough(tiny("bert"))
    nn.utils.parametrizations.weight_norm(backbone.encoder.layer[0].intermediate.dense)
    assert not is_fast(backbone)


def test_attention_in_torch() -> None:
    torch.manual_seed(0)
    shapes, heads = [(3, 5), (2, 4)], 2
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [0, 0, 1, 1, 1]]).bool()
    together = torch.randn(3 * 5 + 2 * 4 + 2, 3 * 6, dtype=torch.float64)  # with two further rows
    found = attention(together, shapes, [mask, None], heads, NONE)
    for rows, part, seen in ((slice(15), (3, 5), mask[:, None, None]), (slice(15, 23), (2, 4), None)):
        parts = (one.unflatten(0, part).unflatten(2, (heads, 3)) for one in together[rows].chunk(3, 1))
        query, key, value = (one.transpose(1, 2) for one in parts)  # [B, heads, S, d] each
        expected = functional.scaled_dot_product_attention(query, key, value, seen)
        torch.testing.assert_close(found[rows], expected.transpose(1, 2).flatten(2).flatten(0, 1), **EXACT)
    assert (found[23:] == 0).all()


@pytest.mark.parametrize("drop", [NONE, Drop(0.4, 7)])
@pytest.mark.parametrize("piece", [1, 2**21])
def test_gradient_of_attention_by_finite_differences(drop: Drop, piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fast_attention, "_WEIGHTS", piece)
    torch.manual_seed(0)
    mask = torch.tensor([[1, 1, 1], [1, 0, 0]]).bool()
    together = torch.randn(2 * 3 + 2 * 2 + 1, 3 * 4, dtype=torch.float64, requires_grad=True)
    shapes = [(2, 3), (2, 2)]
    assert torch.autograd.gradcheck(lambda x: attention(x, shapes, [mask, None], 2, drop), together)


@pytest.mark.parametrize("drop", [NONE, Drop(0.4, 7)])
def test_gradient_of_add_norm_by_finite_differences(drop: Drop) -> None:
    torch.manual_seed(0)
    change, residual = (torch.randn(5, 4, dtype=torch.float64, requires_grad=True) for _ in range(2))
    norm = nn.LayerNorm(4).double()
    nn.init.normal_(norm.weight)

    def run(x: Tensor, y: Tensor, *_: Tensor) -> Tensor:
        return add_norm(x, y, norm, drop)[0]

    assert torch.autograd.gradcheck(run, (change, residual, norm.weight, norm.bias))
    mask = drop.masks()(torch.ones(5, 4, dtype=torch.float64)) * drop.scale
    wide, low = add_norm(change, residual, norm, drop)
    torch.testing.assert_close(wide, norm(residual + change * mask), **EXACT)
    assert low is wide


@pytest.mark.parametrize("used", [("wide",), ("low",), ("wide", "low")])
def test_add_norm_with_products_in_bfloat16(used: tuple[str, ...]) -> None:
    torch.manual_seed(0)
    drop, norm = Drop(0.4, 7), nn.LayerNorm(16)
    nn.init.normal_(norm.weight)
    change = torch.randn(9, 16).bfloat16().requires_grad_()
    residual = torch.randn(9, 16, requires_grad=True)
    shares = torch.randn(2, 9, 16)
    mask = drop.masks()(torch.ones(9, 16, dtype=torch.bfloat16)).float() * drop.scale

    def grads(wide: Tensor, low: Tensor) -> list[Tensor]:
        terms = {"wide": wide * shares[0], "low": low * shares[1]}
        total = torch.stack([terms[one] for one in used]).sum()
        return list(torch.autograd.grad(total, [change, residual, *norm.parameters()]))

    wide, low = add_norm(change, residual, norm, drop)
    assert (wide.dtype, low.dtype) == (torch.float32, torch.bfloat16)
    expected = norm(residual + change.float() * mask)
    torch.testing.assert_close(wide, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(low, expected.bfloat16(), atol=1e-2, rtol=1e-2)
    for found, true in zip(grads(wide, low), grads(expected, expected), strict=True):
        assert found.dtype == true.dtype
        torch.testing.assert_close(found, true, atol=0.06, rtol=0.03)


@pytest.mark.parametrize("lean", [False, True])
def test_gradient_of_feed_forward_by_finite_differences(lean: bool) -> None:
    torch.manual_seed(0)
    sizes = ((5, 3), (7, 3), (7,), (3, 7), (3,))
    x, *others = (torch.randn(*size, dtype=torch.float64, requires_grad=True) for size in sizes)
    up, u, down, d = others

    def run(x: Tensor, up: Tensor, u: Tensor, down: Tensor, d: Tensor) -> Tensor:
        return feed_forward(x, (up, u), (down, d), lean)

    expected = functional.gelu(x @ up.T + u) @ down.T + d
    torch.testing.assert_close(run(x, *others), expected, **EXACT)
    assert torch.autograd.gradcheck(run, (x, *others))
