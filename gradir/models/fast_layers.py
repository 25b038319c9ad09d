"""What stands between the products of a Transformer layer, each as one operation that keeps little for its gradient."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from gradir.models.fast_dropout import Drop


def add_norm(change: Tensor, residual: Tensor, norm: nn.LayerNorm, drop: Drop) -> tuple[Tensor, Tensor]:
    """`norm(residual + dropout(change))`.

    Args:
        change: What a sublayer adds, in the dtype of the products, [T, H].
        residual: Its input, in the dtype of the norm, [T, H].
        norm: The layer norm.
        drop: Dropout.

    Returns:
        The states in the dtype of the residual and in that of the products, [T, H] each.
    """
    wide, low = _AddNorm.apply(change, residual, norm.weight, norm.bias, norm.eps, drop)
    return wide, low if low is not None else wide


class _AddNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, change: Tensor, residual: Tensor, gain: Tensor, shift: Tensor, eps: float, drop: Drop
    ) -> tuple[Tensor, Tensor | None]:
        kept = drop.masks()(change.clone()) if drop.probability else change
        total = residual.clone().add_(kept, alpha=drop.scale)
        wide, mean, deviation = torch.native_layer_norm(total, gain.shape, gain, shift, eps)
        # Its gradient is in the dtype of the products sooner or later, and so may be what this is computed from.
        ctx.save_for_backward(total.to(change.dtype), mean, deviation, gain, shift)
        ctx.drop, ctx.dtype = drop, change.dtype
        ctx.set_materialize_grads(False)
        return wide, None if wide.dtype == change.dtype else wide.to(change.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        total, mean, deviation, gain, shift = ctx.saved_tensors
        total = total.to(gain.dtype)
        gradient, low = gradients
        if gradient is None:
            gradient = torch.zeros_like(total) if low is None else low.to(total.dtype)
        elif low is not None:
            gradient = gradient.add(low)
        needed = [True, gain.requires_grad, shift.requires_grad]
        inner, for_gain, for_shift = torch.ops.aten.native_layer_norm_backward(
            gradient.contiguous(), total, gain.shape, mean, deviation, gain, shift, needed
        )
        change = inner.to(ctx.dtype) if ctx.dtype != inner.dtype else inner.clone()
        if ctx.drop.probability:
            ctx.drop.masks()(change).mul_(ctx.drop.scale)
        return change, inner, for_gain, for_shift, None, None


def feed_forward(x: Tensor, up: tuple[Tensor, Tensor], down: tuple[Tensor, Tensor], lean: bool) -> Tensor:
    """`gelu(x U^T + u) D^T + d`; the activated states are computed again on the way back.

    Args:
        x: [T, H].
        up: Weight and bias of the first product, [M, H] and [M], in the dtype of `x`.
        down: Those of the second, [H, M] and [H].
        lean: Compute the first product again as well, rather than keep [T, M].
    """
    states: Tensor = _FeedForward.apply(x, *up, *down, lean)
    return states


class _FeedForward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, up: Tensor, u: Tensor, down: Tensor, d: Tensor, lean: bool) -> Tensor:
        inner = functional.linear(x, up, u)  # [T, M]
        ctx.save_for_backward(x, up, u, down, None if lean else inner)
        return functional.linear(functional.gelu(inner), down, d)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, up, u, down, inner = ctx.saved_tensors
        (gradient,), needed = gradients, ctx.needs_input_grad
        if inner is None:
            inner = functional.linear(x, up, u)
        for_down = gradient.T @ functional.gelu(inner) if needed[3] else None
        for_inner = torch.ops.aten.gelu_backward(gradient @ down, inner)  # [T, M]
        for_up = for_inner.T @ x if needed[1] else None
        for_u = for_inner.sum(0) if needed[2] else None
        for_d = gradient.sum(0) if needed[4] else None
        return for_inner @ up, for_up, for_u, for_down, for_d, None
