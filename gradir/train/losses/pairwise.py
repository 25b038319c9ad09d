"""Losses over the pairs of a list in which one document is graded higher than the other."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import softplus

from gradir.train.losses.common import at_least_float32, differences, mean_of_pairs, preferences


def ranknet(scores: Tensor, target: Tensor, mask: Tensor, temperature: float = 1.0) -> Tensor:
    """RankNet (Burges et al. 2005, "Learning to Rank using Gradient Descent").

    `log(1 + exp(-(s_i - s_j) / temperature))`, the mean over the pairs of a list with l_i > l_j, then over lists that have any.

    Args:
        scores: Any float [B, N].
        target: Grades l, float [B, N].
        mask: Which documents take part, bool [B, N].
        temperature: Differences of scores are divided by it.

    Returns:
        A scalar, float32 or float64.
    """
    wide = at_least_float32(scores, mask)
    return mean_of_pairs(softplus(-differences(wide) / temperature), preferences(target, mask))


def graded_margin_mse(scores: Tensor, target: Tensor, mask: Tensor, margin: float = 1.0) -> Tensor:
    """MarginMSE (Hofstätter et al. 2020, arXiv 2010.02666) with the gap between grades in the place of a teacher's margin.

    `((s_i - s_j) - margin (l_i - l_j))^2`, the mean over the pairs of a list with l_i > l_j, then over lists that have any.

    Args:
        scores: Any float [B, N].
        target: Grades l, float [B, N].
        mask: Which documents take part, bool [B, N].
        margin: By how much scores shall differ for each grade.

    Returns:
        A scalar, float32 or float64.
    """
    wide = at_least_float32(scores, mask)
    wanted = differences(target.to(wide.dtype)) * margin
    return mean_of_pairs((differences(wide) - wanted).square(), preferences(target, mask))
