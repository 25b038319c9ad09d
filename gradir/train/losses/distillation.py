"""Learning from a teacher's scores. Documents without one (NaN) are left out."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from gradir.errors import GradirError
from gradir.train.losses.common import at_least_float32, differences, log_softmax, mean_of_pairs, mean_of_rows


def margin_mse(
    scores: Tensor,
    target: Tensor,
    mask: Tensor,
    relevant: Tensor | None = None,
    pairs: Literal["positives", "all"] = "positives",
    teacher_scale: float = 1.0,
) -> Tensor:
    """MarginMSE (Hofstätter et al. 2020, arXiv 2010.02666): the student's margins shall be the teacher's.

    `((s_i - s_j) - c (t_i - t_j))^2`, the mean over a list's pairs, then over lists with any. Pairs are each positive with each
    negative, or all of two documents, each with itself (0) included, as SPLADE++ has it (Formal et al. 2022, arXiv 2205.04733).

    Args:
        scores: Any float [B, N].
        target: Teacher's scores, float [B, N]; NaN where there is none.
        mask: Which documents take part, bool [B, N].
        relevant: Which are positives, bool [B, N]; None: the first of each row.
        pairs: `positives`, or `all`.
        teacher_scale: c. A student whose margins are many times the teacher's would first shrink all its weights, and lose what it
            knows: c brings the teacher to its scale.

    Returns:
        A scalar, float32 or float64.

    Raises:
        GradirError: No document has a teacher's score.
    """
    mask = mask & known(target, mask, "margin_mse")
    wide = at_least_float32(scores, mask)
    wanted = target.to(wide.dtype).masked_fill(~mask, 0.0) * teacher_scale
    errors = (differences(wide) - differences(wanted)).square()  # [B, N, N]
    both = mask.unsqueeze(2) & mask.unsqueeze(1)
    if pairs == "all":
        return mean_of_pairs(errors, both & (mask.sum(1) > 1).view(-1, 1, 1))
    if relevant is None:
        relevant = torch.zeros_like(mask)
        relevant[:, 0] = True
    return mean_of_pairs(errors, both & relevant.unsqueeze(2) & ~relevant.unsqueeze(1))


def kl(
    scores: Tensor, target: Tensor, mask: Tensor, temperature: float = 1.0, teacher_temperature: float | None = None
) -> Tensor:
    """Kullback-Leibler divergence from the teacher (Hinton et al. 2015, arXiv 1503.02531; for ranking Lin et al. 2020, arXiv
    2010.11386).

    `T^2 sum_j t_j (log t_j - log p_j)`, t = softmax(teacher / T'), p = softmax(s / T), over a query's documents; mean over queries
    with two scores or more. T^2 keeps the size of gradients when T changes.

    Args:
        scores: Any float [B, N].
        target: Teacher's scores, float [B, N]; NaN where there is none.
        mask: Which documents take part, bool [B, N].
        temperature: T.
        teacher_temperature: T', where it is not T.

    Returns:
        A scalar, float32 or float64.

    Raises:
        GradirError: No document has a teacher's score.
    """
    mask = mask & known(target, mask, "kl")
    wide = at_least_float32(scores, mask)
    wanted = target.to(wide.dtype).masked_fill(~mask, 0.0) / (teacher_temperature or temperature)
    expected = log_softmax(wanted, mask)
    found = log_softmax(wide / temperature, mask)
    return temperature**2 * mean_of_rows((expected.exp() * (expected - found)).sum(1), mask.sum(1) > 1)


def known(target: Tensor, mask: Tensor, name: str) -> Tensor:
    """Where there is a teacher's score, bool [B, N].

    Raises:
        GradirError: Nowhere.
    """
    there = ~target.isnan()
    if not bool((there & mask).any()):
        raise GradirError(
            f"{name} needs teacher scores, and no document of the batch has one: give the lists a `teacher:` run, or take "
            "a loss over grades (infonce, listnet, wasserstein …)"
        )
    return there
