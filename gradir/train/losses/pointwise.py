"""Each document by itself, for rerankers."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from gradir.train.losses.common import at_least_float32


def bce(scores: Tensor, target: Tensor, mask: Tensor, positive_grade: float = 1) -> Tensor:
    """Binary cross-entropy of relevant or not (Nogueira & Cho 2019, arXiv 1901.04085), the mean over all documents.

    `-log sigmoid(s)` where the grade reaches `positive_grade`, `-log sigmoid(-s)` elsewhere.

    Args:
        scores: Log-odds, any float [B, N].
        target: Grades, float [B, N].
        mask: Which documents take part, bool [B, N].
        positive_grade: Documents graded so or higher are relevant.

    Returns:
        A scalar, float32 or float64.
    """
    wide = at_least_float32(scores, mask)
    relevant = (target >= positive_grade).to(wide.dtype)
    losses = binary_cross_entropy_with_logits(wide, relevant, reduction="none").masked_fill(~mask, 0.0)
    return losses.sum() / mask.sum().clamp(min=1)
