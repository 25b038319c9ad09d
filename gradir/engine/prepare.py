"""Models made ready for inference: moved, lowered, and their slow parts replaced by faster ones with the same numbers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from gradir.engine.compact import compact, packs
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
    if not isinstance(model, DenseEncoder | SpladeEncoder):
        return model.to(device, dtype)
    head = _packed_head(model, device, dtype) if isinstance(model, SpladeEncoder) else None
    backbone = model.backbone if isinstance(model, DenseEncoder) else model.mlm.base_model
    smaller = compact(backbone, device, dtype)
    if smaller is None:
        model.to(device, dtype)
    else:  # it has its own formats; what comes after it is little, and stays float32, unless there is a whole head to it
        little = packs(device, dtype) and (head is not None or isinstance(model, DenseEncoder))
        smaller.gives = torch.float32 if little else dtype
        stand_in = nn.Identity()
        replace_module(model, backbone, stand_in)
        model.to(device, smaller.gives)
        replace_module(model, stand_in, smaller)
    return PackedSplade(model, head) if isinstance(model, SpladeEncoder) and head else model


def _packed_head(model: SpladeEncoder, device: torch.device, dtype: torch.dtype) -> PackedHead | None:
    """The head where `PackedHead` serves. It cannot tell NaN in its own weights, so these go the slow way, which does."""
    decoder = model.decoder
    if not packs(device, dtype) or model.pooling != "max" or not model.expansion:
        return None
    sound = all(bool(torch.isfinite(parameter).all()) for parameter in decoder.parameters())
    return PackedHead(decoder, model.dropped, dtype) if sound else None


class PackedSplade(nn.Module):
    """A SPLADE encoder whose forward pass gives activations before the logarithm, for `quantise` to take it of the few that count.

    Args:
        model: The encoder, with max pooling; its decoder is not used.
        head: In the place of its decoder.
    """

    def __init__(self, model: SpladeEncoder, head: PackedHead):
        super().__init__()
        self.head, self.mlm, self.twice = head, model.mlm, model.activation == "log1p_relu"

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
