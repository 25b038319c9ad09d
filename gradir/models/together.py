"""Many texts through an encoder at once, in blocks of like length: what a training step does."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gradir.models import fast_backbone
from gradir.models.encoders import DenseEncoder, SpladeEncoder, occurrence
from gradir.models.fast_backbone import Blocks, shapes_of
from gradir.models.head_max import blocks_of, max_weights
from gradir.models.heads import VOCAB_TILE, repeated


def encode_blocks(encoder: Any, blocks: Blocks) -> Tensor:
    """Vectors of the texts of all blocks, one block after another, float32 [N, D] or, of a SPLADE encoder, [N, V].

    The same as `encoder(input_ids, attention_mask)` of each block. For BERT-like encoders on a processor, in training, all blocks
    go through the linear layers and through SPLADE's head together, so that every gradient of a weight is computed once. With or
    without gradients, the same random state drops out the same there, as GradCache needs it.

    Args:
        encoder: One of `gradir.models.encoders`.
        blocks: (input_ids, attention_mask) of every block, int64 [B, S] each.
    """
    backbone = _backbone(encoder) if encoder.training or torch.is_grad_enabled() else None
    if backbone is None or not fast_backbone.is_fast(backbone):
        rows = [encoder(ids, mask) for ids, mask in blocks]
        return torch.cat(rows) if len(rows) > 1 else rows[0]
    dense = isinstance(encoder, DenseEncoder)
    states = fast_backbone.states(backbone, blocks, lean=not dense)  # [T, H]
    if dense:
        pieces = blocks_of(states, shapes_of(blocks))
        return torch.cat([encoder.pool(hidden, mask) for hidden, (_, mask) in zip(pieces, blocks, strict=True)])
    return _splade(encoder, states, blocks)


def _backbone(encoder: Any) -> Any:
    """The Hugging Face encoder whose last states the pooling sees; None where there is none, the pooling is a sum, or what stands
    around it has hooks."""
    if any(fast_backbone.hooked(module) for module in (encoder, getattr(encoder, "mlm", encoder))):
        return None
    if isinstance(encoder, DenseEncoder):
        return encoder.backbone
    if isinstance(encoder, SpladeEncoder) and encoder.pooling == "max" and _transform(encoder.mlm) is not None:
        return encoder.mlm.base_model
    return None


def _transform(mlm: Any) -> Any:
    """What stands between the backbone and the decoder of a masked-language model, whose decoder is out of the way."""
    kind = mlm.config.model_type
    if kind == "distilbert":
        return lambda states: mlm.vocab_layer_norm(mlm.activation(mlm.vocab_transform(states)))
    return getattr(mlm, "cls" if kind == "bert" else "lm_head", None)


def _splade(encoder: SpladeEncoder, states: Tensor, blocks: Blocks) -> Tensor:
    hidden: Tensor = _transform(encoder.mlm)(states.unsqueeze(0)).squeeze(0)  # [T, H]
    shapes = shapes_of(blocks)
    if not all(bool(mask.all()) for _, mask in blocks):
        pieces = zip(blocks_of(hidden, shapes), blocks, strict=True)
        hidden = torch.cat([repeated(piece, mask).flatten(0, 1) for piece, (_, mask) in pieces])
    decoder, twice = encoder.decoder, encoder.activation == "log1p_relu"
    weights = max_weights(hidden, shapes, decoder.weight, decoder.bias, VOCAB_TILE, twice)  # [N, V]
    if not encoder.expansion:
        weights = weights * torch.cat([occurrence(ids, mask, weights.shape[1]) for ids, mask in blocks])
    return weights.index_fill(1, encoder.dropped, 0.0)
