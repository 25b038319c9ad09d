"""Models made ready for inference: moved, lowered, and their slow parts replaced by faster ones with the same numbers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from gradir.engine.compact import CompactBert, compact, packs
from gradir.engine.sparse_head import PackedHead
from gradir.models.encoders import DenseEncoder, SpladeEncoder, replace_module


def prepare(model: nn.Module, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """The model for inference on `device` in `dtype`; the one given is used up.

    Args:
        model: An encoder of `gradir.models.encoders`, in eval mode.
        device: Where it shall run.
        dtype: Number format of its products.

    Returns:
        A module with `forward(input_ids, attention_mask)`, int64 [B, S] each: vectors or term weights, float32; or a
        `PackedSplade`.
    """
    smaller = None
    if isinstance(model, DenseEncoder | SpladeEncoder):
        backbone = model.backbone if isinstance(model, DenseEncoder) else model.mlm.base_model
        smaller = compact(backbone, device, dtype)
        if smaller is not None:
            replace_module(model, backbone, smaller)
    if not isinstance(model, SpladeEncoder) or not _can_pack(model, device, dtype):
        return model.to(device, dtype)
    if (
        smaller is not None
    ):  # what lies between backbone and head is little, and its rounding is half of all that is left
        smaller.gives = torch.float32
    return PackedSplade(model, device, dtype, torch.float32 if smaller else dtype)


def _can_pack(model: SpladeEncoder, device: torch.device, dtype: torch.dtype) -> bool:
    """Whether `PackedHead` serves. It cannot tell NaN in the head's own weights, so these go the slow way, which does."""
    if not packs(device, dtype) or model.pooling != "max" or not model.expansion:
        return False
    parameters = [model.decoder.weight, *([] if model.decoder.bias is None else [model.decoder.bias])]
    return all(bool(torch.isfinite(parameter).all()) for parameter in parameters)


class PackedSplade(nn.Module):
    """A SPLADE encoder whose forward pass gives activations before the logarithm, for `quantise` to take it of the few that count.

    Args:
        model: The encoder, with max pooling.
        device: Where it shall run.
        dtype: Number format of the head's products.
        before: Number format of what lies before the head.
    """

    def __init__(self, model: SpladeEncoder, device: torch.device, dtype: torch.dtype, before: torch.dtype):
        super().__init__()
        self.head = PackedHead(model.decoder, model.dropped, dtype)
        self.twice, self.mlm = model.activation == "log1p_relu", model.mlm
        for module in self.mlm.children():
            if not isinstance(module, CompactBert):
                module.to(device, before)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """The largest logit of each term, or 0, [B, V]; NaN for a text with NaN in its states.

        Args:
            input_ids: int64 [B, S].
            attention_mask: 1 for a token, 0 for padding, int64 [B, S].
        """
        hidden = self.mlm(input_ids=input_ids, attention_mask=attention_mask).logits  # [B, S, H]
        values = self.head(hidden.to(self.head.dtype), attention_mask)
        sound = torch.isfinite(hidden.sum(dim=(1, 2), dtype=torch.float32))  # [B]
        return values if bool(sound.all()) else values.masked_fill(~sound.unsqueeze(1), torch.nan)

    def activation(self, values: Tensor) -> Tensor:
        """Term weights of what `forward` gives."""
        return values.log1p().log1p() if self.twice else values.log1p()


def activation_of(model: Any) -> Any:
    """What `quantise` shall still apply to a model's output."""
    return model.activation if isinstance(model, PackedSplade) else None
