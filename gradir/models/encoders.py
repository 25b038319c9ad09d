"""The two encoders as torch modules: from token ids to one vector a text."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from gradir.models.heads import DensePooling, dense_pool, splade_pool


class DenseEncoder(nn.Module):
    """A Transformer whose token states are pooled to one vector."""

    def __init__(self, backbone: Any, pooling: DensePooling, normalize: bool):
        super().__init__()
        self.backbone, self.pooling, self.normalize = backbone, pooling, normalize

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Vectors, float32 [B, H].

        Args:
            input_ids: int64 [B, S].
            attention_mask: 1 for a token, 0 for padding, int64 [B, S].
        """
        hidden = self.backbone(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state  # [B, S, H]
        return dense_pool(hidden, attention_mask, self.pooling, self.normalize)


class SpladeEncoder(nn.Module):
    """A masked-language model whose logits are pooled to one weight a term.

    Args:
        mlm: Any Hugging Face masked-language model.
        dropped: Ids of terms that are always 0 (special tokens, rows of the decoder that stand for no token).
    """

    dropped: Tensor
    decoder: nn.Linear

    def __init__(self, mlm: Any, dropped: list[int]):
        super().__init__()
        self.mlm, self.decoder = mlm, mlm.get_output_embeddings()
        # With the decoder out of the way `mlm(...).logits` are the states that enter it, whatever the architecture.
        replace_module(mlm, self.decoder, nn.Identity())
        self.register_buffer("dropped", torch.tensor(dropped, dtype=torch.long), persistent=False)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Term weights, float32 [B, V], not negative.

        Args:
            input_ids: int64 [B, S].
            attention_mask: 1 for a token, 0 for padding, int64 [B, S].
        """
        hidden = self.mlm(input_ids=input_ids, attention_mask=attention_mask).logits  # [B, S, H]
        weights = splade_pool(hidden, attention_mask, self.decoder.weight, self.decoder.bias)  # [B, V]
        return weights.index_fill(1, self.dropped, 0.0)


def replace_module(root: nn.Module, old: nn.Module, new: nn.Module) -> None:
    """Put `new` where `old` stands inside `root`."""
    name = next(name for name, module in root.named_modules() if module is old)
    parent, _, child = name.rpartition(".")
    setattr(root.get_submodule(parent), child, new)
