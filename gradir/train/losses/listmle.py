"""The likelihood of the order that the grades give."""

from __future__ import annotations

import torch
from torch import Tensor

from gradir.train.losses.common import at_least_float32, mean_of_rows


def listmle(scores: Tensor, target: Tensor, mask: Tensor, temperature: float | Tensor = 1.0) -> Tensor:
    """ListMLE (Xia et al. 2008, "Listwise Approach to Learning to Rank"): Plackett and Luce's likelihood of the right order.

    Without ties: `sum_i log(sum of exp(s_j) over j graded no higher than i) - s_i`, s the scores / temperature. Grades are full of
    ties, and the order within them is not known. The k-th of m documents of one grade (k from 0), whose exp(s) add up to E, is
    drawn from `rest + (1 - k / m) E`: the rest, graded lower, and what is left of the tie on average (Efron 1977, "The Efficiency
    of Cox's Likelihood Function for Censored Data"; Plackett and Luce's likelihood is Cox's). The lowest grade, in whichever
    order, has a probability of 1 and adds nothing: with one relevant document it is `infonce`. Mean over queries whose grades
    differ.

    Args:
        scores: Any float [B, N].
        target: Grades, float [B, N].
        mask: Which documents take part, bool [B, N].
        temperature: Scores are divided by it.

    Returns:
        A scalar, float32 or float64.
    """
    scaled = at_least_float32(scores, mask) / temperature
    both = mask.unsqueeze(2) & mask.unsqueeze(1)  # [B, N, N]
    tied = both & (target.unsqueeze(2) == target.unsqueeze(1))
    lower = both & (target.unsqueeze(2) > target.unsqueeze(1))
    counts = lower.any(2)  # [B, N]: not of the lowest grade
    before = tied.tril(-1).sum(2)  # k
    left = 1 - before / tied.sum(2).clamp(min=1)  # 1 - k / m
    remaining = torch.logaddexp(_logsumexp(scaled, lower), _logsumexp(scaled, tied) + left.to(scaled.dtype).log())
    return mean_of_rows((remaining - scaled).masked_fill(~counts, 0.0).sum(1), counts.any(1))


def _logsumexp(scores: Tensor, taken: Tensor) -> Tensor:
    """log of the sum of exp(s_j) over the j taken by each i, [B, N]."""
    lowest = torch.finfo(scores.dtype).min / 4  # what is added to it must not overflow
    return scores.unsqueeze(1).expand(taken.shape).masked_fill(~taken, lowest).logsumexp(2)
