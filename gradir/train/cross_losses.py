"""The loss that monoT5 was published with. All others of a cross-encoder are those of `gradir.train.losses`."""

from __future__ import annotations

from torch import Tensor

from gradir.train.losses.common import at_least_float32


def generation(words: Tensor, target: Tensor, mask: Tensor, positive_grade: float = 1) -> Tensor:
    """Cross-entropy of a document's word as the first token, over the whole vocabulary (Nogueira et al. 2020, arXiv 2003.06713;
    InPars, Bonifacio et al. 2022, arXiv 2202.05144), the mean over all documents.

    `-log p(relevant)` where the grade reaches `positive_grade`, `-log p(not relevant)` elsewhere. The token that ends the answer,
    which they train too, is left out: it says nothing of relevance. Over the two words alone this is `bce` of the log-odds.

    Args:
        words: Logarithms of the probabilities of the words for (not relevant, relevant), any float [B, G, 2].
        target: Grades, float [B, G].
        mask: Which documents take part, bool [B, G].
        positive_grade: Documents graded so or higher are relevant.

    Returns:
        A scalar, float32 or float64.
    """
    wide = at_least_float32(words, mask.unsqueeze(2))
    each = wide[..., 0].where(target < positive_grade, wide[..., 1])  # [B, G]
    return -each.sum() / mask.sum().clamp(min=1)
