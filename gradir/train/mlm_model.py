"""The objective of continued masked-language modelling, as one module: batch in, loss and its parts out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from gradir.models.encoders import SpladeEncoder
from gradir.train.batches import to_device
from gradir.train.devices import cross_device_mean
from gradir.train.mlm_loss import masked_loss
from gradir.train.mlm_masking import IGNORED
from gradir.train.regularisers import flops, l0
from gradir.train.sparsity import Schedule


class Sums(NamedTuple):
    """Of one batch; scalars.

    Attributes:
        learnt: What the gradient is taken of, without FLOPS (`masked_loss`), summed over the masked positions.
        plain: The masked-language loss, summed alike.
        masked: How many positions are masked.
        flops: `gradir.train.regularisers.flops` of the mean term weights; 0 where it is not asked for.
        terms: Terms above 0 of all texts.
    """

    learnt: Tensor
    plain: Tensor
    masked: Tensor
    flops: Tensor
    terms: Tensor


class MaskedObjective(nn.Module):
    """A masked-language model with its losses. `[B, S, V]` never exists, also not for the gradient.

    What is minimised at step t, of T until the regulariser is whole:

        MLM                                              without a weight of FLOPS
        MLM + MLM' + weight * min(1, t / T)^2 * FLOPS    with one

    MLM is the mean cross-entropy of the hidden tokens, MLM' the same with SPLADE's term weights for logits (`masked_loss`), and
    FLOPS is taken of the term weights of the texts as they stand in the batch, with their masks. The idea is the middle training
    of efficient SPLADE (Lassance & Clinchant 2022, arXiv 2207.03834); the form is this one.

    Args:
        encoder: Its decoder stands apart, so that `mlm(...).logits` are the states that enter it.
        weight: Of FLOPS; 0: the masked-language loss alone.
        schedule: How the weight grows.
        dtype: Number format of the products; weights stay float32.

    Attributes:
        step: t; whoever trains sets it.
    """

    def __init__(self, encoder: SpladeEncoder, weight: float, schedule: Schedule, dtype: torch.dtype = torch.float32):
        super().__init__()
        self.encoder, self.weight, self.schedule, self.dtype, self.step = encoder, weight, schedule, dtype, 0

    def forward(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """`loss`, which is to be minimised, and its parts for the log: `mlm`; with FLOPS `flops` and `terms`, active terms a text.

        Args:
            batch: `input_ids`, `attention_mask` (1 for a token, 0 for padding) and `labels` (hidden tokens, `IGNORED` elsewhere),
                int64 [B, S] each.
        """
        sums = self.sums(batch)
        masked = sums.masked.clamp(min=1)
        parts = {"loss": sums.learnt / masked, "mlm": sums.plain / masked}
        if self.weight:
            parts["loss"] = parts["loss"] + self.weight * self.schedule.factor(self.step) * sums.flops
            parts |= {"flops": sums.flops.detach(), "terms": sums.terms / len(batch["labels"])}
        return parts

    def sums(self, batch: dict[str, Any]) -> Sums:
        """The parts of the loss before they are put together."""
        encoder, ids, mask, labels = self.encoder, batch["input_ids"], batch["attention_mask"], batch["labels"]
        with torch.autocast(ids.device.type, self.dtype, enabled=self.dtype != torch.float32):
            hidden = encoder.mlm(input_ids=ids, attention_mask=mask).logits  # [B, S, H]
            chosen, decoder = labels != IGNORED, encoder.decoder
            learnt, plain = masked_loss(hidden[chosen], labels[chosen], decoder.weight, decoder.bias, self.weight > 0)
            if not self.weight:
                return Sums(learnt, plain, chosen.sum(), plain.new_zeros(()), plain.new_zeros(()))
            weights = encoder.pool(hidden, ids, mask)  # [B, V]
        return Sums(learnt, plain, chosen.sum(), flops(cross_device_mean(weights)), len(weights) * l0(weights))


@torch.no_grad()
def measure(objective: MaskedObjective, batches: Iterable[dict[str, Any]]) -> tuple[float, float | None]:
    """(masked-language loss a masked token, active terms a text; None without FLOPS) over batches, without dropout."""
    device, training = next(objective.parameters()).device, objective.training
    objective.eval()
    loss = masked = terms = texts = 0.0
    for batch in batches:
        sums = objective.sums(to_device(batch, device))
        loss, masked = loss + float(sums.plain), masked + float(sums.masked)
        terms, texts = terms + float(sums.terms), texts + len(batch["labels"])
    objective.train(training)
    return loss / max(1.0, masked), terms / max(1.0, texts) if objective.weight else None
