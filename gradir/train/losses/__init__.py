"""The losses: functions of scores and labels, by name.

Each is `loss(scores, target, mask, **options) -> scalar`: scores any float [B, N]; target float [B, N], a grade or a teacher's
score for every document; mask bool [B, N], True where the document takes part in that query's row. They compute in float32 or
better, and rows in which there is nothing to learn are left out of the mean.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from gradir.train.losses.distillation import kl, margin_mse
from gradir.train.losses.infonce import infonce
from gradir.train.losses.listmle import listmle
from gradir.train.losses.listnet import kl_labels, listnet
from gradir.train.losses.ndcg import approx_ndcg, lambda_loss
from gradir.train.losses.pairwise import graded_margin_mse, ranknet
from gradir.train.losses.pointwise import bce
from gradir.train.losses.wasserstein import wasserstein
from gradir.train.losses.wasserstein_rows import wasserstein_rows

Scope = Literal["own", "batch"]
Target = Literal["grades", "teacher"]


@dataclass(frozen=True)
class LossKind:
    """A loss and what it is for.

    Attributes:
        function: `(scores, target, mask, **options) -> scalar`.
        target: What it learns from: grades, or a teacher's scores.
        scope: The documents it sees unless told otherwise: the query's `own` list, or those of the whole `batch`.
        learns_temperature: Whether `temperature: learn` has a sense: the loss does not vanish as the temperature grows or shrinks.
        graded: It learns from differences between the grades of a list, not only from which documents are relevant.
    """

    function: Callable[..., Tensor]
    target: Target = "grades"
    scope: Scope = "own"
    learns_temperature: bool = False
    graded: bool = False


LOSSES: dict[str, LossKind] = {
    "infonce": LossKind(infonce, scope="batch", learns_temperature=True),
    "wasserstein": LossKind(wasserstein, scope="batch", learns_temperature=True, graded=True),
    "wasserstein_rows": LossKind(wasserstein_rows, learns_temperature=True, graded=True),
    "listnet": LossKind(listnet, learns_temperature=True, graded=True),
    "kl_labels": LossKind(kl_labels, scope="batch", learns_temperature=True, graded=True),
    "listmle": LossKind(listmle, learns_temperature=True, graded=True),
    "lambda_loss": LossKind(lambda_loss, graded=True),
    "approx_ndcg": LossKind(approx_ndcg, graded=True),
    "ranknet": LossKind(ranknet, graded=True),
    "graded_margin_mse": LossKind(graded_margin_mse, graded=True),
    "margin_mse": LossKind(margin_mse, target="teacher"),
    "kl": LossKind(kl, target="teacher"),
    "bce": LossKind(bce),
}
