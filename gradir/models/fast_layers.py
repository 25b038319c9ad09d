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
        ctx.save_for_backward(total, mean, deviation, gain, shift)
        ctx.drop, ctx.dtype = drop, change.dtype
        ctx.set_materialize_grads(False)
        return wide, None if wide.dtype == change.dtype else wide.to(change.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        total, mean, deviation, gain, shift = ctx.saved_tensors
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


def gelu_linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """`gelu(x) W^T + b`, [T, M] from [T, N]; the activated states are computed again on the way back.

    Args:
        x: [T, N].
        weight: In the dtype of `x`, [M, N].
        bias: [M].
    """
    states: Tensor = _GeluLinear.apply(x, weight, bias)
    return states


class _GeluLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return functional.linear(functional.gelu(x), weight, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        (gradient,) = gradients
        for_weight = gradient.T @ functional.gelu(x) if ctx.needs_input_grad[1] else None
        for_bias = gradient.sum(0) if ctx.needs_input_grad[2] else None
        for_x = torch.ops.aten.gelu_backward(gradient @ weight, x)
        return for_x, for_weight, for_bias
