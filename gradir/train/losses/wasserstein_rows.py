"""The earth mover's distance on the scale of grades, query by query."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from gradir.train.losses.common import Gain, at_least_float32, gains, mean_of_rows, softmax


def wasserstein_rows(
    scores: Tensor,
    target: Tensor,
    mask: Tensor,
    temperature: float | Tensor = 1.0,
    label_temperature: float = 1.0,
    gain: Gain = "linear",
    power: Literal[1, 2] = 1,
) -> Tensor:
    """How far the predicted mass must travel along the grades to lie where it should: aligned, unlike `wasserstein`.

    P = softmax(scores / temperature) and T = softmax(gain(grade) / label_temperature) over a query's documents lie on the line of
    grades; with F the mass up to a grade: `sum over neighbouring grades g < h of |F_P(g) - F_T(g)|^power (h - g)`, mean over
    queries. Power 1 is the 1-Wasserstein distance (Kantorovich); power 2 the squared one of distributions on ordered classes (Hou
    et al. 2016, arXiv 1611.05916), whose gradient fades near the goal. How mass is shared among documents of one grade is left
    open. Lists in which all grades are equal are left out.

    Args:
        scores: Any float [B, N].
        target: Grades, float [B, N].
        mask: Which documents take part, bool [B, N].
        temperature: Scores are divided by it.
        label_temperature: Gains are divided by it.
        gain: What a grade l is worth in the target: l (`linear`), or 2^l - 1 (`exponential`). The scale stays that of grades.
        power: 1 or 2.

    Returns:
        A scalar, float32 or float64.
    """
    wide = at_least_float32(scores, mask)
    grades = target.to(wide.dtype)
    wanted = softmax(gains(grades, gain) / label_temperature, mask)
    surplus = softmax(wide / temperature, mask) - wanted  # [B, N]
    lowest = grades.masked_fill(~mask, torch.inf).amin(1, keepdim=True)
    placed = torch.where(mask, grades, lowest)  # who takes no part has no mass and stands at the lower end
    ordered, order = placed.sort(dim=1)
    carried = surplus.gather(1, order).cumsum(1)[:, :-1]  # F_P - F_T up to each document
    steps = ordered.diff(dim=1).nan_to_num(0.0)  # an empty row has no grade at all
    distances = (carried.abs() if power == 1 else carried.square()) * steps
    return mean_of_rows(distances.sum(1), (steps > 0).any(1))
