"""Losses made after nDCG."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import softplus

from gradir.train.losses.common import at_least_float32, differences, gains, mean_of_rows, preferences

Weighting = Literal["ndcg2", "ndcg2++", "lambdarank"]


def lambda_loss(
    scores: Tensor,
    target: Tensor,
    mask: Tensor,
    weighting: Weighting = "ndcg2",
    sigma: float = 1.0,
    k: int | None = None,
    mu: float = 10.0,
) -> Tensor:
    """LambdaLoss (Wang et al. 2018, "The LambdaLoss Framework for Ranking Metric Optimization", CIKM), by default NDCG-Loss2.

    `sum over pairs with l_i > l_j of w_ij |G_i - G_j| log2(1 + exp(-sigma (s_i - s_j)))`, mean over queries whose grades differ.
    G = (2^l - 1) / the largest possible DCG, D(r) = log2(1 + r), r the ranks by score; w_ij is, for a weighting,

    - `ndcg2`: `|1 / D(|r_i - r_j|) - 1 / D(|r_i - r_j| + 1)|`;
    - `lambdarank`: `|1 / D(r_i) - 1 / D(r_j)|` (Burges et al. 2006);
    - `ndcg2++`: the second + mu x the first.

    Weights have no gradient. Of documents with equal scores the lower graded one counts as ranked first.

    Args:
        scores: Any float [B, N].
        target: Grades l, float [B, N].
        mask: Which documents take part, bool [B, N].
        weighting: Of pairs.
        sigma: Steepness.
        k: Cut-off of the nDCG: pairs with neither document among the first k are left out, 1 / D is 0 beyond k.
        mu: Of `ndcg2++`.

    Returns:
        A scalar, float32 or float64.
    """
    wide = at_least_float32(scores, mask)
    worth = _share_of_ideal(target.to(wide.dtype), mask, k)  # [B, N]
    ranks = _ranks(wide.detach(), target, mask)
    weights = torch.zeros_like(differences(wide))
    if weighting != "ndcg2":
        weights = differences(_discount(ranks, k)).abs()
    if weighting != "lambdarank":
        apart = differences(ranks).abs().clamp(min=1)
        second = _discount(apart, None) - _discount(apart + 1, None)
        weights = weights + (second if weighting == "ndcg2" else mu * second)
    pairs = preferences(target, mask)
    usable = pairs.any(2).any(1)
    if k is not None:
        pairs = pairs & ((ranks <= k).unsqueeze(2) | (ranks <= k).unsqueeze(1))
    losses = softplus(-sigma * differences(wide)) / math.log(2)
    weighed = (weights * differences(worth).abs() * losses).masked_fill(~pairs, 0.0)
    return mean_of_rows(weighed.sum((1, 2)), usable)


def approx_ndcg(scores: Tensor, target: Tensor, mask: Tensor, temperature: float = 0.1) -> Tensor:
    """ApproxNDCG (Qin et al. 2010, "A general approximation framework for direct optimization of information retrieval measures").

    `1 - sum_i (2^l_i - 1) / log2(1 + r_i) / ideal DCG`, with the smooth rank `r_i = 1 + sum over j of
    sigmoid((s_j - s_i) / temperature)`; mean over queries whose grades differ.

    Args:
        scores: Any float [B, N].
        target: Grades l, float [B, N].
        mask: Which documents take part, bool [B, N].
        temperature: Differences of scores are divided by it: towards 0 ranks become the real ones, and gradients vanish.

    Returns:
        A scalar, float32 or float64.
    """
    wide = at_least_float32(scores, mask)
    worth = _share_of_ideal(target.to(wide.dtype), mask, None)
    above = (-differences(wide) / temperature).sigmoid()  # [B, N, N]: j above i
    others = mask.unsqueeze(1) & ~torch.eye(mask.shape[1], dtype=torch.bool, device=mask.device)
    ranks = 1 + above.masked_fill(~others, 0.0).sum(2)
    return mean_of_rows(1 - (worth / torch.log2(1 + ranks)).sum(1), preferences(target, mask).any(2).any(1))


def _share_of_ideal(grades: Tensor, mask: Tensor, k: int | None) -> Tensor:
    """(2^l - 1) / DCG of the best order, [B, N]; 0 for who takes no part, and in lists without any gain."""
    worth = gains(grades, "exponential").masked_fill(~mask, 0.0)
    places = torch.arange(1, grades.shape[1] + 1, device=grades.device, dtype=grades.dtype)
    ideal = (worth.sort(dim=1, descending=True).values * _discount(places, k)).sum(1, keepdim=True)
    return torch.where(ideal > 0, worth / ideal, 0.0)


def _discount(ranks: Tensor, k: int | None) -> Tensor:
    """1 / log2(1 + rank), 0 beyond k."""
    discount = 1 / torch.log2(1 + ranks)
    return discount if k is None else discount.masked_fill(ranks > k, 0.0)


def _ranks(scores: Tensor, grades: Tensor, mask: Tensor) -> Tensor:
    """Rank by score from 1, [B, N], as numbers of the scores' type; the lower grade first among equals, who takes no part last."""
    by_grade = grades.argsort(dim=1, stable=True)
    filled = scores.masked_fill(~mask, -torch.inf).gather(1, by_grade)
    order = by_grade.gather(1, filled.argsort(dim=1, descending=True, stable=True))
    return (order.argsort(dim=1) + 1).to(scores.dtype)
