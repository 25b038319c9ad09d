"""BERT-like backbones in training on a processor: the same mathematics as Hugging Face's module, from its own parameters.

Blocks of texts of like length go through one after another as rows of one matrix: every product is of all tokens of all blocks,
queries and documents alike, and only attention looks at one block at a time. Query, key and value are one product; dropout,
residual and norm are one operation; little is kept for the gradient. `compact` of `gradir.engine` does the like for inference.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from gradir.models.bert_layers import Layer, embedded, heads_of, layers_of
from gradir.models.fast_attention import attention
from gradir.models.fast_dropout import Drop, dropped, seeds
from gradir.models.fast_layers import add_norm, feed_forward

Blocks = Sequence[tuple[Tensor, Tensor]]  # (input_ids, attention_mask), int64 [B, S] each, of every block
# Rows are filled up to multiples of this: oneDNN compiles a product for every new shape, and keeps it.
_ROWS = 64
_DTYPES = (torch.bfloat16, torch.float32, torch.float64)
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def is_fast(backbone: Any) -> bool:
    """Whether `states` takes this Hugging Face model as it is now: a BERT-like encoder on a processor, its layers without
    adapters, and no hooks on what is not called here."""
    layers = layers_of(backbone)
    if not layers or not isinstance(getattr(backbone, "embeddings", None), nn.Module):
        return False
    weight = layers[0].out.weight
    plain = all(type(linear) is nn.Linear and linear.bias is not None for layer in layers for linear in layer.linears())
    words = getattr(backbone.embeddings, "word_embeddings", None)  # called; gradient checkpointing puts a hook there
    silent = any(hooked(module) for module in backbone.modules() if module is not words)
    return plain and not silent and weight.device.type == "cpu" and _dtype(weight) in _DTYPES


def hooked(module: nn.Module) -> bool:
    """Whether something else runs, too, when this very module is called."""
    return any(getattr(module, hooks) for hooks in _HOOKS)


def states(backbone: Any, blocks: Blocks, lean: bool = False) -> Tensor:
    """Last hidden states of all tokens, block after block, [T, H], in the dtype of the parameters.

    What stands on padding is garbage, and so are further rows after the last block.

    Products are in the dtype of autocast where it is on. Dropout as the backbone's own modules have it, in training mode.

    Args:
        backbone: What `is_fast` takes.
        blocks: Texts of like length, padded, with masks of 1 for a token and 0 for padding.
        lean: Take some 7% longer and keep a quarter less for the gradient.
    """
    layers, heads = layers_of(backbone) or [], heads_of(backbone)
    shapes = shapes_of(blocks)
    masks = [None if bool(mask.all()) else mask.bool() for _, mask in blocks]
    drop = _drops(backbone.training)
    saving = (
        bool(getattr(backbone, "is_gradient_checkpointing", False)) and backbone.training and torch.is_grad_enabled()
    )
    embeddings = backbone.embeddings
    dtype = _dtype(layers[0].out.weight)
    with torch.autocast("cpu", enabled=False):
        summed = [embedded(backbone, ids).flatten(0, 1) for ids, _ in blocks]
        missing = -sum(map(len, summed)) % _ROWS
        wide = embeddings.LayerNorm(torch.cat([*summed, summed[0].new_zeros(missing, summed[0].shape[1])]))  # [T, H]
        wide = dropped(wide, drop(embeddings.dropout))
        low = wide.to(dtype)
        for layer in layers:
            run = partial(_through, layer, shapes, masks, heads, [drop(one) for one in layer.dropouts], lean)
            wide, low = checkpoint(run, wide, low, use_reentrant=False) if saving else run(wide, low)
    return wide


def shapes_of(blocks: Blocks) -> list[tuple[int, int]]:
    """(texts, tokens of each) of every block."""
    return [(ids.shape[0], ids.shape[1]) for ids, _ in blocks]


def _through(
    layer: Layer,
    shapes: Sequence[tuple[int, int]],
    masks: Sequence[Tensor | None],
    heads: int,
    drops: Sequence[Drop],
    lean: bool,
    wide: Tensor,
    low: Tensor,
) -> tuple[Tensor, Tensor]:
    """States [T, H] after one layer, in the dtype of the parameters and in that of the products."""
    dtype = low.dtype
    weight = torch.cat([linear.weight.to(dtype) for linear in layer.projections])  # [3 H, H]
    bias = torch.cat([linear.bias.to(dtype) for linear in layer.projections])
    seen = attention(functional.linear(low, weight, bias), shapes, masks, heads, drops[0])
    wide, low = add_norm(_linear(layer.out, seen), wide, layer.out_norm, drops[1])
    up, down = ((one.weight.to(dtype), one.bias.to(dtype)) for one in (layer.up, layer.down))
    change = feed_forward(low, up, down, lean)
    return add_norm(change, wide, layer.down_norm, drops[2])


def _linear(linear: nn.Linear, x: Tensor) -> Tensor:
    return functional.linear(x, linear.weight.to(x.dtype), linear.bias.to(x.dtype))


def _dtype(weight: Tensor) -> torch.dtype:
    return torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else weight.dtype


def _drops(training: bool) -> Callable[[nn.Dropout | None], Drop]:
    """From a dropout module to what it drops in this pass, each with a seed of its own."""
    if not training:
        return lambda _: Drop(0.0, 0)
    seed = seeds()
    return lambda module: Drop(module.p if module is not None else 0.0, seed())
