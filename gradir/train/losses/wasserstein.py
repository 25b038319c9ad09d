"""SyCL's loss: the batch's predicted and wanted distributions as two Gaussians, and the distance between them.

What to know of it:

- It is not aligned by rows. It compares the mean and the covariance of the B predicted rows with those of the B wanted ones, so
  perfect rows that are exchanged among queries still have a loss of 0: it alone cannot tell which query belongs to which list,
  and works from an encoder that already can. Add a little InfoNCE, or take a loss per query (`wasserstein_rows`, `listnet`).
- What it aims at depends on the batch. Documents of other queries have grade 0, like the own irrelevant ones. A list with
  grades 3, 2, 1, 0 keeps .53 of the target's mass with 8 queries in the batch, .34 with 16, .11 with 64 and .03 with 256; grade 3
  alone has .34, .22, .07 and .02. `label_temperature`, `gain` and `in_batch_label` counter that.
- With one query there is no covariance, and only the distance of the means is left.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from gradir.train.losses.common import Gain, at_least_float32, gains, softmax


def wasserstein(
    scores: Tensor,
    target: Tensor,
    mask: Tensor,
    temperature: float | Tensor = 1.0,
    label_temperature: float = 1.0,
    gain: Gain = "linear",
) -> Tensor:
    """The squared 2-Wasserstein distance of two Gaussians (Esfandiarpoor et al. 2025, SyCL, arXiv 2503.23239).

    With P the softmax of scores / temperature and T that of gain(grade) / label_temperature, per row, over the N documents of the
    batch; m their means over the B rows and E the rows less their mean; f = 1 / (B - 1):
    `|m_P - m_T|^2 + tr C_P + tr C_T - 2 tr (C_P C_T)^(1/2)
    = |m_P - m_T|^2 + f (|E_P|^2 + |E_T|^2) - 2 f |E_P E_T^T|_*`,
    the last being a nuclear norm, the sum of singular values. The left form is the published one, by eigenvalues of a matrix
    that is not symmetric; the right one needs those of a symmetric [B, B] matrix, and neither rounding up nor complex numbers. Its
    gradient is U V^T of the singular vectors; where singular values are 0 (one always is, the rows being centred) the part of
    U V^T that belongs to them is left out, which is the shortest of the subgradients.

    Args:
        scores: Of every query and document, any float [B, N].
        target: Grades, float [B, N].
        mask: Which documents take part, bool [B, N]; others have no mass. Rows without any are no samples.
        temperature: Scores are divided by it before the softmax.
        label_temperature: The same for what the grades are worth.
        gain: What a grade l is worth: l (`linear`), or 2^l - 1 (`exponential`).

    Returns:
        A scalar, float64 (float32 on devices that lack it).
    """
    held: Tensor | None = None  # all
    if not bool(mask.all()):
        usable = mask.any(1)
        scores, target, held = at_least_float32(scores, mask)[usable], target[usable], mask[usable]
    elif scores.dtype not in (torch.float32, torch.float64):
        scores = scores.float()
    scaled = scores if isinstance(temperature, int | float) and temperature == 1 else scores / temperature
    if not len(scaled):
        return scaled.sum()
    precise = torch.float32 if scores.device.type == "mps" else torch.float64
    worth = gains(target.to(precise), gain)
    wanted = softmax(worth if label_temperature == 1 else worth / label_temperature, held)
    with torch.autocast(scores.device.type, enabled=False):
        loss: Tensor = _GaussianDistance.apply(scaled, held, wanted)
    return loss


class _GaussianDistance(torch.autograd.Function):
    """The squared distance of the Gaussians of two samples: the softmax of scores, [B, N], and the wanted one, float [B, N].

    One function from scores to loss that finds their gradient while it is at it: as separate steps it takes half as long again.
    """

    @staticmethod
    def forward(ctx: Any, scores: Tensor, mask: Tensor | None, wanted: Tensor) -> Tensor:
        rows = len(scores)
        factor = 1 / (rows - 1) if rows > 1 else 1.0
        shares = softmax(scores, mask)
        found = shares.to(wanted.dtype)
        each = found.new_full((rows,), 1 / rows)
        centre, wanted_centre = each @ found, each @ wanted  # means, [N]
        found, wanted, shift = found - centre, wanted - wanted_centre, centre - wanted_centre
        products = found @ wanted.T  # [B, B]
        polar = polar_factor(products)
        gap = (found - wanted).flatten()  # |E_P|^2 + |E_T|^2 = |E_P - E_T|^2 + 2 tr E_P E_T^T, which does not cancel
        excess = products.trace() - polar.flatten().dot(products.flatten())
        narrow = (one.to(shares.dtype) for one in (found, polar, wanted))
        slope = torch.addmm(*narrow, beta=2 * factor, alpha=-2 * factor).add_(shift.to(shares.dtype), alpha=2 / rows)
        # of the softmax P, whose own gradient is P (slope - P . slope)
        ctx.save_for_backward((slope - torch.linalg.vecdot(shares, slope).unsqueeze(1)).mul_(shares))
        return torch.dot(gap, gap).add_(excess, alpha=2).mul_(factor).add_(torch.dot(shift, shift))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradients[0].to(gradient.dtype) * gradient, None, None


def polar_factor(matrix: Tensor) -> Tensor:
    """U V^T of the singular value decomposition U S V^T, without the parts whose singular value is 0.

    It is the gradient of the sum of the singular values, and its product with the matrix is that sum. From the eigenvectors of
    the symmetric A A^T, which takes half the time of the decomposition itself. Singular values below the root of the precision
    cannot be told from 0 that way: they are shrunk towards it.

    Args:
        matrix: float64 (or float32) [B, B]. NaN throughout if it is not finite.
    """
    if not bool(matrix.sum().isfinite()):
        return torch.full_like(matrix, torch.nan)
    squares, vectors = torch.linalg.eigh(matrix @ matrix.T)  # ascending
    precision = torch.finfo(matrix.dtype)
    least = squares[-1] * (len(matrix) * precision.eps) + precision.tiny
    inverse = torch.maximum(squares, least).rsqrt()
    return (vectors * inverse) @ (vectors.T @ matrix)
