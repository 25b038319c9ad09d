"""What keeps sparse vectors sparse: functions of the term weights of a batch, or of their mean over it.

Weights are [B, V] and not negative; the mean [V] is that of the whole batch, over all devices and accumulated batches
(`gradir.train.devices.cross_device_mean`): the mean of squares of smaller means would be another, larger number.
"""

from __future__ import annotations

import math

import torch
import torch.distributed as dist
from torch import Tensor, nn

from gradir.train.devices import process_count

_LEAST_TOTAL = 0.1  # of all weights of a batch: about one term in all; sound batches have hundreds


def flops(mean: Tensor) -> Tensor:
    """FLOPS (Paria et al. 2020, arXiv 2004.05665; for SPLADE Formal et al. 2021, arXiv 2107.05720): `sum_j m_j^2`.

    A smooth stand-in for the multiplications that a search needs: terms that many texts share cost most.

    Args:
        mean: Mean weight of each term, float [V].

    Returns:
        A scalar.
    """
    return mean.square().sum()


def l1(mean: Tensor) -> Tensor:
    """`sum_j m_j`: the mean over the batch of the sum of a vector's weights, which are not negative.

    Args:
        mean: Mean weight of each term, float [V].

    Returns:
        A scalar.
    """
    return mean.sum()


def df_flops(mean: Tensor, frequency: Tensor, midpoint: float = 0.1, steepness: float = 10.0) -> Tensor:
    """DF-FLOPS (Porco et al. 2025, arXiv 2505.15070): FLOPS in which frequent terms count, `sum_j (a(f_j) m_j)^2`.

    f_j is the share of documents whose vector has term j; the weight `a(f) = 1 / (1 + (f^e - 1)^steepness)`, e = log 2 / log
    midpoint (below 0), rises from 0 (in no document) over 1/2 at the midpoint to 1 (in all). It has no gradient. f is estimated
    while training (`DocumentFrequency`); the authors' estimate, from a sample of the collection at intervals, may be given instead.

    Args:
        mean: Mean weight of each term, float [V].
        frequency: f, float [V], within 0 and 1.
        midpoint: The share at which a term counts half.
        steepness: How abruptly.

    Returns:
        A scalar.
    """
    shares = frequency.detach().to(mean.dtype).clamp(1e-6, 1.0)
    powers = shares ** (math.log(2) / math.log(midpoint))  # 1 or more
    factors = 1 / (1 + (powers - 1).clamp(min=0.0) ** steepness)
    return (factors * mean).square().sum()


def anti_collapse(*totals: Tensor) -> Tensor:
    """`sum of 1 / (total + 0.1)^2`: grows where all vectors of a side become empty, and is next to nothing otherwise.

    The term of SPLADE's code, 1 / (sum of all query weights)^2 + 1 / (sum of all document weights)^2, but bounded: 100 a side at 0.

    Args:
        totals: Scalars, each the sum of all weights of a side: of its queries, of its documents, over all devices.

    Returns:
        A scalar.
    """
    return torch.stack([(total + _LEAST_TOTAL) ** -2 for total in totals]).sum()


def l0(weights: Tensor) -> Tensor:
    """Active terms of a vector, the mean over the batch: for the log, without gradient.

    Args:
        weights: [B, V].

    Returns:
        A scalar, float32.
    """
    return (weights.detach() > 0).sum(1).float().mean()


def empty_share(weights: Tensor) -> Tensor:
    """The share of vectors without any term: for the log, without gradient.

    Args:
        weights: [B, V].

    Returns:
        A scalar, float32.
    """
    return (~(weights.detach() > 0).any(1)).float().mean()


class DocumentFrequency(nn.Module):
    """In which share of the documents each term is active, as far as training has seen them: for `df_flops`.

    The first `window` documents count equally; later ones push earlier ones out at that rate (an exponential mean over about as
    many documents). Its buffers belong to a checkpoint.

    Attributes:
        share: float32 [V]; 0 at the start.
        seen: Documents so far, float64.

    Args:
        terms: V.
        window: Documents.
    """

    share: Tensor
    seen: Tensor

    def __init__(self, terms: int, window: int = 10_000):
        super().__init__()
        self.window = window
        self.register_buffer("share", torch.zeros(terms))
        self.register_buffer("seen", torch.zeros((), dtype=torch.float64))

    @torch.no_grad()
    def update(self, weights: Tensor) -> Tensor:
        """Count the documents of this batch, on all devices; returns the new `share`.

        Args:
            weights: [B, V] of this process.
        """
        active = torch.cat([(weights > 0).sum(0), torch.tensor([len(weights)], device=weights.device)])  # [V + 1]
        if process_count() > 1:
            dist.all_reduce(active)
        rows = int(active[-1])
        if rows:
            self.seen += rows
            rate = rows / max(rows, min(float(self.seen), self.window))
            self.share += rate * (active[:-1] / rows - self.share)
        return self.share
