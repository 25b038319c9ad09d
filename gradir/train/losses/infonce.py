"""Contrast between relevant and other documents."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from gradir.train.losses.common import at_least_float32, mean_of_rows

Positives = Literal["average", "each", "first", "any"]


def infonce(
    scores: Tensor,
    target: Tensor,
    mask: Tensor,
    temperature: float | Tensor = 1.0,
    positive_grade: float = 1,
    positives: Positives = "average",
    guard: float | None = None,
    symmetric: bool = False,
) -> Tensor:
    """InfoNCE (van den Oord et al. 2018, arXiv 1807.03748) over a batch's documents (Karpukhin et al. 2020, arXiv 2004.04906).

    With s the scores / temperature, P a query's positives and N its other documents:
    `mean over p in P of -log(exp(s_p) / (exp(s_p) + sum over n in N of exp(s_n)))`: other positives are no negatives. The mean
    over the queries that have a positive; one without any other document adds 0.

    Args:
        scores: Of every query and document, any float [B, N].
        target: Grades, float [B, N].
        mask: Which documents take part, bool [B, N].
        temperature: Scores are divided by it.
        positive_grade: Documents graded so or higher are the positives.
        positives: `average`: the mean over a query's positives, then over queries. `each`: the mean over all pairs of a query
            and a positive. `first`: only the first positive of a row, the others take no part. `any`: -log of the softmax's
            mass on all positives together (MIL-NCE, Miech et al. 2020, arXiv 1912.06430).
        guard: Drops likely false negatives: those that score above the query's best positive + `guard`, in scores before the
            temperature (self-guided, after GISTEmbed, Solatorio 2024, arXiv 2402.16829; NV-Retriever, Moreira et al. 2024,
            arXiv 2407.15831). Below 0 it also drops those that come close. Queries of a document, where `symmetric`, likewise.
        symmetric: The mean of this and the same with documents and queries exchanged: which query belongs to a document.
            The columns must then be the same documents for every query.

    Returns:
        A scalar, float32 or float64.
    """
    wide = at_least_float32(scores, mask)
    relevant = mask & (target >= positive_grade)
    loss = _one_way(wide, relevant, mask, temperature, positives, guard)
    if symmetric:
        loss = (loss + _one_way(wide.T, relevant.T, mask.T, temperature, positives, guard)) / 2
    return loss


def _one_way(
    scores: Tensor,
    relevant: Tensor,
    mask: Tensor,
    temperature: float | Tensor,
    positives: Positives,
    guard: float | None,
) -> Tensor:
    """The loss of rows against columns; `relevant` is part of `mask`."""
    negatives = mask & ~relevant
    if positives == "first":
        relevant = relevant & (relevant.cumsum(1) == 1)
    lowest = torch.finfo(scores.dtype).min
    if guard is not None:
        best = scores.detach().masked_fill(~relevant, lowest).amax(1, keepdim=True)  # [B, 1]
        negatives = negatives & (scores.detach() <= best + guard)
    scaled = scores / temperature
    others = scaled.masked_fill(~negatives, lowest).logsumexp(1, keepdim=True)  # [B, 1]
    if positives == "any":
        together = scaled.masked_fill(~relevant, lowest).logsumexp(1, keepdim=True)
        return mean_of_rows((torch.logaddexp(together, others) - together).squeeze(1), relevant.any(1))
    each = (torch.logaddexp(scaled, others) - scaled).masked_fill(~relevant, 0.0)  # [B, N]
    counts = relevant.sum(1)
    if positives == "each":
        return each.sum() / counts.sum().clamp(min=1)
    return mean_of_rows(each.sum(1) / counts.clamp(min=1), counts > 0)
