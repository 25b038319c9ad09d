"""BERT-like backbones for inference: the same numbers as Hugging Face's module, from fewer and fused operations.

Query, key and value are one product; on a CPU the weights are laid out once for oneDNN, which then adds bias, residual or GELU
inside the product. Texts of one batch have like lengths (`batching`), so that padding costs little, and a batch of equal
lengths needs no mask at all.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.modeling_outputs import BaseModelOutput

# Model types whose layers are those of BERT under these names, and DistilBERT with names of its own.
_BERT_LIKE = ("bert", "roberta", "xlm-roberta", "camembert")
_GELU = ("gelu", "gelu_python")


def compact(backbone: Any, device: torch.device, dtype: torch.dtype) -> CompactBert | None:
    """A module that stands for `backbone` in inference, or None for an architecture that is not known here.

    Args:
        backbone: A Hugging Face encoder in eval mode, float32.
        device: Where it shall run.
        dtype: In which number format.

    Returns:
        A module with `forward(input_ids, attention_mask)`, int64 [B, S] each, whose output has `last_hidden_state`.
    """
    config = backbone.config
    learnt = getattr(config, "position_embedding_type", None) in (None, "absolute")
    if not learnt or getattr(config, "is_decoder", False) or getattr(config, "adapter_layers", None):
        return None
    activation = getattr(config, "hidden_act", getattr(config, "activation", None))
    if activation not in _GELU:
        return None
    if config.model_type in _BERT_LIKE:
        return CompactBert(backbone, device, dtype, _bert_layers(backbone), config.num_attention_heads)
    if config.model_type == "distilbert":
        return CompactBert(backbone, device, dtype, _distilbert_layers(backbone), config.n_heads)
    return None


_Layer = tuple[list[nn.Linear], nn.Linear, nn.LayerNorm, nn.Linear, nn.Linear, nn.LayerNorm]


def _bert_layers(backbone: Any) -> list[_Layer]:
    """([query, key, value], output, its norm, up, down, its norm) of each layer."""
    layers = []
    for layer in backbone.encoder.layer:
        attention, out = layer.attention.self, layer.attention.output
        projections = [attention.query, attention.key, attention.value]
        up, down = layer.intermediate.dense, layer.output
        layers.append((projections, out.dense, out.LayerNorm, up, down.dense, down.LayerNorm))
    return layers


def _distilbert_layers(backbone: Any) -> list[_Layer]:
    """As `_bert_layers`."""
    layers = []
    for layer in backbone.transformer.layer:
        attention, ffn = layer.attention, layer.ffn
        projections = [attention.q_lin, attention.k_lin, attention.v_lin]
        layers.append(
            (projections, attention.out_lin, layer.sa_layer_norm, ffn.lin1, ffn.lin2, layer.output_layer_norm)
        )
    return layers


class CompactBert(nn.Module):
    """Embeddings and layers of a BERT-like encoder.

    Args:
        backbone: The Hugging Face module; its embeddings are used as they are.
        device: Where to run.
        dtype: Number format.
        layers: Parts of its layers.
        heads: Attention heads.

    Attributes:
        gives: Number format of the states that come out.
    """

    def __init__(self, backbone: Any, device: torch.device, dtype: torch.dtype, layers: list[_Layer], heads: int):
        super().__init__()
        self.config, self.gives = backbone.config, dtype
        # Where norms take any format, embeddings and what leaves the last layer stay float32: little work, half of the error.
        self.dtype, self.exact = dtype, packs(device, dtype)
        self.embeddings = backbone.embeddings.to(device, torch.float32 if self.exact else dtype)
        self.layers = nn.ModuleList(CompactLayer(layer, heads, device, dtype) for layer in layers)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None, **_: Any
    ) -> BaseModelOutput:
        """`last_hidden_state`, [B, S, H]."""
        types = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        hidden = self.embeddings(input_ids=input_ids, **types)  # [B, S, H]
        shape = hidden.shape
        mask = None if bool(attention_mask.all()) else attention_mask[:, None, None, :].bool()  # [B, 1, 1, S]
        states = hidden.flatten(0, 1).to(self.dtype)  # [B * S, H]
        for layer in self.layers:
            states = layer(states, shape[0], shape[1], mask, self.exact and layer is self.layers[-1])
        return BaseModelOutput(last_hidden_state=states.view(shape).to(self.gives))

    def get_input_embeddings(self) -> nn.Module:
        """The table of word embeddings."""
        return self.embeddings.word_embeddings


class CompactLayer(nn.Module):
    """One layer: attention and feed-forward, each with its residual and norm."""

    def __init__(self, parts: _Layer, heads: int, device: torch.device, dtype: torch.dtype):
        super().__init__()
        projections, out, out_norm, up, down, down_norm = parts
        self.heads = heads
        together = nn.Linear(projections[0].in_features, sum(p.out_features for p in projections))
        with torch.no_grad():
            together.weight.copy_(torch.cat([p.weight for p in projections]))
            together.bias.copy_(torch.cat([p.bias for p in projections]))
        self.project = product(together, device, dtype)
        self.out, self.up, self.down = (product(linear, device, dtype) for linear in (out, up, down))
        self.out_norm, self.down_norm = norm(out_norm, device, dtype), norm(down_norm, device, dtype)

    def forward(self, states: Tensor, batch: int, length: int, mask: Tensor | None, exact: bool) -> Tensor:
        """States [B * S, H] after the layer, with `exact` in float32."""
        query, key, value = self.project(states).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(
            query, key, value, attn_mask=mask
        )  # [B, heads, S, H / heads]
        attended = attended.transpose(1, 2).reshape(states.shape)
        states = self.out_norm(self.out.plus(attended, states))
        states = self.down.plus(self.up.gelu(states), states)
        return self.down_norm(states.float() if exact else states)


class Product(nn.Module):
    """A linear layer for inference, with what follows it."""

    def __init__(self, linear: nn.Linear, device: torch.device, dtype: torch.dtype):
        super().__init__()
        self.linear = linear.to(device, dtype)

    def forward(self, x: Tensor) -> Tensor:
        """`x W^T + b`."""
        return self.linear(x)

    def gelu(self, x: Tensor) -> Tensor:
        """`gelu(x W^T + b)`."""
        return functional.gelu(self.linear(x))

    def plus(self, x: Tensor, residual: Tensor) -> Tensor:
        """`x W^T + b + residual`."""
        return self.linear(x).add_(residual)


class PackedProduct(nn.Module):
    """The same on a CPU: weights in oneDNN's own layout, what follows computed inside the product.

    Args:
        weight: [M, H].
        bias: [M].
        dtype: Number format, bfloat16 or float32.
    """

    def __init__(self, weight: Tensor, bias: Tensor, dtype: torch.dtype):
        super().__init__()
        self.bias = bias.detach().to(dtype)
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight.detach().to(dtype).contiguous(), _TYPICAL_TOKENS)

    def forward(self, x: Tensor) -> Tensor:
        return _linear(x, self.weight, self.bias, "none", [], "")

    def gelu(self, x: Tensor) -> Tensor:
        return _linear(x, self.weight, self.bias, "gelu", [], "none")

    def relu(self, x: Tensor) -> Tensor:
        """`relu(x W^T + b)`."""
        return _linear(x, self.weight, self.bias, "relu", [], "")

    def plus(self, x: Tensor, residual: Tensor) -> Tensor:
        return _linear.binary(x, residual, self.weight, self.bias, "add")


_TYPICAL_TOKENS = 4096
_linear: Any = getattr(torch.ops.mkldnn, "_linear_pointwise", None)


def packs(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether oneDNN's packed products are there, and for this number format."""
    there = device.type == "cpu" and torch.backends.mkldnn.is_available() and _linear is not None
    return there and dtype in (torch.float32, torch.bfloat16)


def norm(layer: nn.LayerNorm, device: torch.device, dtype: torch.dtype) -> nn.LayerNorm:
    """A layer norm in place. Lowered gains and shifts are the largest error of bfloat16, and on a CPU float32 ones cost nothing."""
    return layer.to(device, torch.float32 if packs(device, dtype) else dtype)


def product(linear: nn.Linear, device: torch.device, dtype: torch.dtype) -> Product | PackedProduct:
    """The fastest form of a linear layer for this device."""
    if packs(device, dtype) and linear.bias is not None:
        return PackedProduct(linear.weight, linear.bias, dtype)
    return Product(linear, device, dtype)
