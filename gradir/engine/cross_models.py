"""Cross-encoders made ready for inference: BERT-like backbones by `compact`, others as Hugging Face has them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutputWithPooling

from gradir.engine.compact import compact, packs


def prepared(model: Any, device: torch.device, dtype: torch.dtype) -> Any:
    """A model for inference on `device` in `dtype`; the one given is used up.

    Args:
        model: An `AutoModelForSequenceClassification`, or any other, which is only moved.
        device: Where it shall run.
        dtype: Number format of its products. Where `compact` serves on a CPU, what follows the last layer stays float32.
    """
    model.eval()
    backbone, name = model.base_model, model.base_model_prefix
    if not hasattr(model, "classifier") or getattr(model, name, None) is not backbone:
        return model.to(device, dtype)
    pooler = getattr(backbone, "pooler", None)
    smaller = compact(backbone, device, dtype)
    if smaller is None:
        return model.to(device, dtype)
    smaller.gives = torch.float32 if packs(device, dtype) else dtype
    setattr(model, name, nn.Identity())
    model.to(device, smaller.gives)
    setattr(model, name, _Backbone(smaller, pooler.to(device, smaller.gives) if pooler is not None else None))
    return model


class _Backbone(nn.Module):
    """A compact backbone in the place of Hugging Face's, with its pooler."""

    def __init__(self, compact: nn.Module, pooler: nn.Module | None):
        super().__init__()
        self.compact, self.pooler = compact, pooler

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None, **_: Any
    ) -> BaseModelOutputWithPooling:
        """States [B, S, H], and the pooled one of the first token, [B, H], where there is a pooler."""
        states = self.compact(input_ids, attention_mask, token_type_ids).last_hidden_state
        return BaseModelOutputWithPooling(
            last_hidden_state=states, pooler_output=None if self.pooler is None else self.pooler(states)
        )
