"""What several training processes share: rows of all of them, and means over all of them, with gradients that stay right.

Distributed data parallel training averages the gradients of the parameters over the W processes. What one process with the whole
batch would find is dL/dparameter of a single loss L; so each process p must hand back, for its rows x_p, gradients g_p with
`mean over p of g_p dx_p/dparameter = sum over p of dL/dx_p dx_p/dparameter`, that is `g_p = W dL/dx_p`.

Without `torch.distributed`, or with one process, all of these do nothing but what their name says. All processes must call them,
in the same order.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable


def process_count() -> int:
    """The number W of processes that train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def gather_with_grad(tensor: Tensor) -> Tensor:
    """The rows of all processes, in their order; gradients come back from all of them.

    The gradient of a process's own rows is the sum of those that the processes' losses L_p have. It is right in two cases: if every
    process computes the same loss over all rows (L_p = L: the sum is W dL/dx), and if each computes the mean over its own queries
    (L = mean of L_p: the sum is W dL/dx again). Parameters that enter after the rows, such as a temperature, are right as well.

    Args:
        tensor: [b, …]; b may differ between processes, the other sizes not.

    Returns:
        [sum of all b, …].
    """
    return tensor if process_count() == 1 else _apply(tensor, True)


def gather_rows(tensor: Tensor) -> Tensor:
    """The rows of all processes, in their order; a process has the gradient of its own loss by its own rows alone.

    It saves `gather_with_grad`'s sum over the processes where all compute the same loss L from them. The gradient is then dL/dx:
    what it leads to must be multiplied by `process_count()`, but what parameters that enter after the rows get must not.
    Without gradients (labels, counts) there is no difference.

    Args and result as of `gather_with_grad`.
    """
    return tensor if process_count() == 1 else _apply(tensor, False)


def cross_device_mean(weights: Tensor) -> Tensor:
    """The mean over the rows of all processes.

    With n rows in all, m = sum of all rows / n. Every process computes the same R(m), for instance FLOPS, and has the same dR/dm.
    For one process with the whole batch dR/dx_p = dR/dm / n for each row, so the gradient handed back is W dR/dm / n: no second
    exchange is needed. Squaring the mean of each process's own rows instead would give another sum, which grows as they
    have fewer rows. Rows may be vectors that were computed without gradients and get theirs from here (GradCache): the same
    gradients then enter the second pass, and are averaged once.

    Args:
        weights: Any float [B, V]; B may differ between processes.

    Returns:
        float32 [V] (float64 of float64), the same on every process; 0 where there is no row at all.
    """
    wide = weights if weights.dtype == torch.float64 else weights.float()
    if process_count() == 1:
        return wide.sum(0) / max(1, len(wide))
    mean: Tensor = _Mean.apply(wide)
    return mean


def total_rows(tensor: Tensor) -> int:
    """How many rows [b, …] all processes have together."""
    return sum(_row_counts(tensor))


def _row_counts(tensor: Tensor) -> list[int]:
    if process_count() == 1:
        return [len(tensor)]
    mine = torch.tensor([len(tensor)], device=tensor.device)
    counts = [torch.empty_like(mine) for _ in range(process_count())]
    dist.all_gather(counts, mine)
    return [int(count) for count in counts]


def _apply(tensor: Tensor, summed: bool) -> Tensor:
    gathered: Tensor = _Gather.apply(tensor, summed)
    return gathered


class _Gather(torch.autograd.Function):
    """Rows of all processes. Those with fewer send some more, which are cut off again."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, summed: bool) -> Tensor:
        counts = _row_counts(tensor)
        sent = tensor.new_zeros(max(counts), *tensor.shape[1:])
        sent[: len(tensor)] = tensor
        received = [torch.empty_like(sent) for _ in counts]
        dist.all_gather(received, sent)
        before = sum(counts[: dist.get_rank()])
        ctx.rows, ctx.summed = slice(before, before + len(tensor)), summed
        return torch.cat([rows[:count] for rows, count in zip(received, counts, strict=True)])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (gradient,) = gradients
        if ctx.summed:
            gradient = gradient.clone(memory_format=torch.contiguous_format)
            dist.all_reduce(gradient)
        return gradient[ctx.rows], None


class _Mean(torch.autograd.Function):
    """The mean over the rows of all processes."""

    @staticmethod
    def forward(ctx: Any, weights: Tensor) -> Tensor:
        sums = torch.cat([weights.sum(0), weights.new_tensor([len(weights)])])  # [V + 1]
        dist.all_reduce(sums)
        ctx.rows, ctx.factor = weights.shape, process_count() / max(1, int(sums[-1]))
        return sums[:-1] / sums[-1].clamp(min=1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return (gradients[0] * ctx.factor).expand(ctx.rows)
