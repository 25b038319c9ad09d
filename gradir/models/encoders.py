"""The encoders as torch modules: from token ids to one vector a text."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

from gradir.models.heads import Activation, DensePooling, dense_pool, splade_pool


class DenseEncoder(nn.Module):
    """A Transformer whose token states are pooled to one vector.

    Args:
        backbone: Any Hugging Face model that gives `last_hidden_state`.
        pooling: `mean`, `cls`, `max` or `last`.
        normalize: Scale vectors to unit length.
        projections: Layers that the pooled vector goes through, in order.
        dimensions: Keep only the first so many numbers, before scaling.
        skipped: Leave so many tokens at the start of each text out of the pooling (special tokens and prefix).

    Attributes:
        full_size: Numbers of a vector that is not cut.
        size: D, the numbers of a vector.
    """

    def __init__(
        self,
        backbone: Any,
        pooling: DensePooling,
        normalize: bool,
        projections: Sequence[nn.Module] = (),
        dimensions: int | None = None,
        skipped: int = 0,
    ):
        super().__init__()
        self.backbone, self.pooling, self.normalize = backbone, pooling, normalize
        self.projections, self.dimensions, self.skipped = nn.Sequential(*projections), dimensions, skipped
        self.full_size = output_size(self.projections, int(backbone.config.hidden_size))
        self.size = dimensions or self.full_size

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Vectors, float32 [B, D].

        Args:
            input_ids: int64 [B, S].
            attention_mask: 1 for a token, 0 for padding, int64 [B, S].
        """
        hidden = self.backbone(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state  # [B, S, H]
        return self.pool(hidden, attention_mask)

    def skipping(self, tokens: int) -> DenseEncoder:
        """The same encoder, sharing all weights, that leaves out so many tokens at the start."""
        return DenseEncoder(
            self.backbone, self.pooling, self.normalize, list(self.projections), self.dimensions, tokens
        )

    def pool(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """From token states, float [B, S, H], to vectors, float32 [B, D]."""
        if self.skipped:
            mask = mask * (mask.cumsum(1) > self.skipped)
        vectors = dense_pool(hidden, mask, self.pooling, normalize=False)  # [B, H]
        if len(self.projections):
            vectors = self.projections(vectors.to(next(self.projections.parameters()).dtype)).float()  # [B, D]
        if self.dimensions:
            vectors = vectors[:, : self.dimensions]
        return nn.functional.normalize(vectors, dim=-1) if self.normalize else vectors


class SpladeEncoder(nn.Module):
    """A masked-language model whose logits are pooled to one weight a term.

    Args:
        mlm: Any Hugging Face masked-language model.
        dropped: Ids of terms that are always 0 (special tokens, rows of the decoder that stand for no token).
        pooling: `max` or `sum`.
        activation: Of the logits, before the logarithm.
        expansion: False: only terms of the text itself have weight.
    """

    dropped: Tensor
    decoder: nn.Linear

    def __init__(
        self,
        mlm: Any,
        dropped: list[int],
        pooling: Literal["max", "sum"] = "max",
        activation: Activation = "relu",
        expansion: bool = True,
    ):
        super().__init__()
        self.mlm, self.decoder = mlm, mlm.get_output_embeddings()
        self.pooling, self.activation, self.expansion = pooling, activation, expansion
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
        return self.pool(hidden, input_ids, attention_mask)

    def pool(self, hidden: Tensor, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """From the states that enter the decoder, float [B, S, H], to term weights, float32 [B, V]; the rest as in `forward`."""
        weights = splade_pool(
            hidden,
            attention_mask,
            self.decoder.weight,
            self.decoder.bias,
            pooling=self.pooling,
            activation=self.activation,
        )  # [B, V]
        if not self.expansion:
            weights = weights * occurrence(input_ids, attention_mask, weights.shape[1])
        return weights.index_fill(1, self.dropped, 0.0)

    @contextmanager
    def whole(self) -> Iterator[Any]:
        """The masked-language model with its output layer back in place, to be saved; the encoder does not work meanwhile."""
        stand_in = self.mlm.get_output_embeddings()
        replace_module(self.mlm, stand_in, self.decoder)
        try:
            yield self.mlm
        finally:
            replace_module(self.mlm, self.decoder, stand_in)


class StaticEncoder(nn.Module):
    """Queries without a model (inference-free): each term of the text has the weight that a table gives it.

    Args:
        table: Weights of the terms, float32 [V], not negative.
    """

    def __init__(self, table: Tensor):
        super().__init__()
        self.table = nn.Parameter(table.float())

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> StaticEncoder:
        """Moves to another device, and stays float32: a table has nothing to gain from fewer digits."""
        device = fn(torch.zeros(1, device=self.table.device)).device
        super()._apply(lambda tensor: tensor.to(device), recurse)
        return self

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Term weights, float32 [B, V].

        Args:
            input_ids: int64 [B, S].
            attention_mask: 1 for a token, 0 for padding, int64 [B, S].
        """
        return occurrence(input_ids, attention_mask, len(self.table)) * self.table


def occurrence(input_ids: Tensor, mask: Tensor, terms: int) -> Tensor:
    """1 for each term that stands in the text, float32 [B, V].

    Args:
        input_ids: int64 [B, S].
        mask: 1 for a token, 0 for padding, int [B, S].
        terms: V.
    """
    counts = torch.zeros(input_ids.shape[0], terms, device=input_ids.device)  # len() would be fixed in an ONNX graph
    return counts.scatter_add_(1, input_ids, mask.float()).clamp_(max=1.0)


def output_size(layers: nn.Sequential, size: int) -> int:
    """Numbers that leave a row of layers that `size` numbers enter."""
    return int(next((layer.out_features for layer in reversed(layers) if isinstance(layer, nn.Linear)), size))


def replace_module(root: nn.Module, old: nn.Module, new: nn.Module) -> None:
    """Put `new` where `old` stands inside `root`."""
    name = next(name for name, module in root.named_modules() if module is old)
    parent, _, child = name.rpartition(".")
    setattr(root.get_submodule(parent), child, new)
