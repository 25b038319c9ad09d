"""The parts of BERT-like encoders, whatever the architecture calls them."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

# Model types whose modules have the names of BERT's; DistilBERT has names of its own.
_BERT_LIKE = ("bert", "roberta", "xlm-roberta", "camembert")
_GELU = ("gelu", "gelu_python")


class Layer(NamedTuple):
    """One layer: attention and feed-forward, each followed by the residual and a norm.

    Attributes:
        projections: Query, key and value.
        dropouts: Of attention's weights, of attention's output, of the feed-forward's output; None where there is none.
    """

    projections: tuple[nn.Linear, nn.Linear, nn.Linear]
    out: nn.Linear
    out_norm: nn.LayerNorm
    up: nn.Linear
    down: nn.Linear
    down_norm: nn.LayerNorm
    dropouts: tuple[nn.Dropout, nn.Dropout | None, nn.Dropout]

    def linears(self) -> list[nn.Linear]:
        """All linear layers."""
        return [*self.projections, self.out, self.up, self.down]


def heads_of(backbone: Any) -> int:
    """Attention heads."""
    config = backbone.config
    return int(config.n_heads if config.model_type == "distilbert" else config.num_attention_heads)


def layers_of(backbone: Any) -> list[Layer] | None:
    """The layers of a Hugging Face encoder; None for an architecture that is not known here, or what its configuration changes."""
    config = backbone.config
    learnt = getattr(config, "position_embedding_type", None) in (None, "absolute")
    plain = not getattr(config, "is_decoder", False) and not getattr(config, "adapter_layers", None)
    activation = getattr(config, "hidden_act", getattr(config, "activation", None))
    if not learnt or not plain or activation not in _GELU:
        return None
    if config.model_type in _BERT_LIKE and hasattr(backbone, "encoder"):
        return [_bert(layer) for layer in backbone.encoder.layer]
    if config.model_type == "distilbert" and hasattr(backbone, "transformer"):
        return [_distilbert(layer) for layer in backbone.transformer.layer]
    return None


def _bert(layer: Any) -> Layer:
    attention, out, down = layer.attention.self, layer.attention.output, layer.output
    return Layer(
        (attention.query, attention.key, attention.value),
        out.dense,
        out.LayerNorm,
        layer.intermediate.dense,
        down.dense,
        down.LayerNorm,
        (attention.dropout, out.dropout, down.dropout),
    )


def _distilbert(layer: Any) -> Layer:
    attention, ffn = layer.attention, layer.ffn
    return Layer(
        (attention.q_lin, attention.k_lin, attention.v_lin),
        attention.out_lin,
        layer.sa_layer_norm,
        ffn.lin1,
        ffn.lin2,
        layer.output_layer_norm,
        (attention.dropout, None, ffn.dropout),
    )


def embedded(backbone: Any, input_ids: Tensor) -> Tensor:
    """Word, position and type embeddings of a block of texts, added up, before their norm, [B, S, H].

    Args:
        backbone: An encoder that `layers_of` knows.
        input_ids: int64 [B, S].
    """
    embeddings = backbone.embeddings
    words: Tensor = embeddings.word_embeddings(input_ids)
    if backbone.config.model_type in ("bert", "distilbert"):
        positions = embeddings.position_embeddings.weight[: input_ids.shape[1]]  # [S, H]
    else:  # RoBERTa counts real tokens, from the padding's id on
        padding = embeddings.padding_idx
        real = (input_ids != padding).long()
        positions = embeddings.position_embeddings(real.cumsum(1) * real + padding)  # [B, S, H]
    types = getattr(embeddings, "token_type_embeddings", None)
    if types is not None:
        positions = positions + types.weight[0]
    return words + torch.as_tensor(positions)
