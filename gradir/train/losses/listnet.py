"""Cross-entropy and divergence between what grades and what scores say of a list."""

from __future__ import annotations

from torch import Tensor

from gradir.train.losses.common import Gain, at_least_float32, gains, log_softmax, mean_of_rows


def listnet(
    scores: Tensor,
    target: Tensor,
    mask: Tensor,
    temperature: float | Tensor = 1.0,
    label_temperature: float = 1.0,
    gain: Gain = "linear",
) -> Tensor:
    """ListNet's top-one cross-entropy (Cao et al. 2007, "Learning to Rank: From Pairwise Approach to Listwise Approach").

    `-sum_j softmax(gain(l) / label_temperature)_j log softmax(s / temperature)_j`, mean over queries with two documents or more.

    Args:
        scores: Any float [B, N].
        target: Grades l, float [B, N].
        mask: Which documents take part, bool [B, N].
        temperature: Scores are divided by it.
        label_temperature: Gains are divided by it: near 0 only the best grade counts.
        gain: What a grade l is worth: l (`linear`), or 2^l - 1 (`exponential`).

    Returns:
        A scalar, float32 or float64.
    """
    wide = at_least_float32(scores, mask)
    wanted = log_softmax(gains(target.to(wide.dtype), gain) / label_temperature, mask)
    found = log_softmax(wide / temperature, mask)
    return mean_of_rows(-(wanted.exp() * found).sum(1), mask.sum(1) > 1)


def kl_labels(
    scores: Tensor,
    target: Tensor,
    mask: Tensor,
    temperature: float | Tensor = 1.0,
    label_temperature: float = 1.0,
    gain: Gain = "linear",
) -> Tensor:
    """Kullback-Leibler divergence of the softmax of scores from that of grades, over the batch (Trove, arXiv 2511.01857).

    `sum_j t_j (log t_j - log p_j)`, t = softmax(gain(l) / label_temperature), p = softmax(s / temperature), mean over queries: what
    SyCL is compared with. Documents of other queries have grade 0, so that, as with `wasserstein`, the target depends on the size
    of the batch; unlike it, each query is compared with its own list. Its gradient is that of `listnet` over the same documents.

    Args and result as of `listnet`.
    """
    wide = at_least_float32(scores, mask)
    wanted = log_softmax(gains(target.to(wide.dtype), gain) / label_temperature, mask)
    found = log_softmax(wide / temperature, mask)
    return mean_of_rows((wanted.exp() * (wanted - found)).sum(1), mask.sum(1) > 1)
