"""A SPLADE encoder from any encoder without a trained masked-language head: the calibrated start.

Without training, a new head gives every one of 30,000 terms some weight and ranks nothing. The calibrated start sets the head so
that the logit of a term is how well the token's state fits the term's own embedding, scaled to unit deviation, and so that
only the best-fitting terms of a text lie above 0:

- the transform passes states through (identity, kept in the linear part of its activation, layer-normalised);
- the decoder is tied to the word embeddings;
- the norm's gain divides by the deviation of the logits over sample texts;
- the bias takes from each term's logit what the term gets in any text: its mean pooled logit over these texts. So terms that fit
  everything, function words above all, weigh little, as an inverse document frequency has it;
- and it is lower by a percentile of what is left, over texts and terms.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gradir.errors import GradirError
from gradir.models.encoders import replace_module
from gradir.models.heads import max_products
from gradir.models.vocabulary import ids_without_token, special_ids

# States enter the activation with this deviation, around this mean: four deviations above the bend of GELU.
_SPREAD, _LIFT = 1.5, 6.0
_NEVER = -100.0  # bias of special tokens: below any logit, also in half precision


def calibrate_head(mlm: Any, tokenizer: Any, texts: list[str], percentile: float, max_length: int) -> None:
    """Set the head of a masked-language model in place.

    Args:
        mlm: A model loaded with `AutoModelForMaskedLM` whose head has no trained weights.
        tokenizer: Its tokenizer.
        texts: A hundred or more documents of the target corpus.
        percentile: Share of the pooled logits (over texts and terms) that shall lie below 0, in percent.
        max_length: Tokens of a text, special ones included.

    Raises:
        GradirError: The head has no square transform and norm, or its decoder is not tied to the embeddings.
    """
    transform, norm, decoder = _head_parts(mlm)
    states = torch.cat(
        [h[mask.bool()] for h, mask in _states(mlm.base_model, tokenizer, texts, max_length)]
    )  # [tokens, H]
    with torch.no_grad():
        transform.weight.copy_(torch.eye(transform.in_features) * (_SPREAD / states.std()))
        transform.bias.fill_(_LIFT)
        norm.weight.fill_(1.0)
        norm.bias.zero_()
        stand_in = nn.Identity()
        replace_module(mlm, decoder, stand_in)  # now the model returns what enters the decoder
        batches = list(_states(mlm, tokenizer, texts, max_length))
        replace_module(mlm, stand_in, decoder)
        tokens = torch.cat([h[mask.bool()] for h, mask in batches])  # [tokens, H]
        deviation = (tokens[:: max(1, len(tokens) // 4096)] @ decoder.weight.T).std()
        pooled = torch.cat([max_products(h, mask, decoder.weight) for h, mask in batches]) / deviation  # [N, V]
        norm.weight.div_(deviation)
        usual = pooled.mean(0)  # [V]
        decoder.bias.copy_(-usual - _percentile(pooled.sub_(usual), percentile))
        decoder.bias[[i for i in special_ids(tokenizer) if i < len(decoder.bias)]] = _NEVER
        decoder.bias[ids_without_token(tokenizer, len(decoder.bias))] = _NEVER


def _head_parts(mlm: Any) -> tuple[nn.Linear, nn.LayerNorm, nn.Linear]:
    """(transform, norm, decoder): the square layer and the norm that stand outside the backbone, and the output layer."""
    decoder = mlm.get_output_embeddings()
    backbone = set(mlm.base_model.modules())
    head = [module for module in mlm.modules() if module not in backbone and module is not decoder]
    squares = [m for m in head if isinstance(m, nn.Linear) and m.in_features == m.out_features and m.bias is not None]
    norms = [m for m in head if isinstance(m, nn.LayerNorm) and m.bias is not None]
    tied = decoder is not None and decoder.weight is mlm.get_input_embeddings().weight
    if len(squares) != 1 or len(norms) != 1 or not tied or decoder.bias is None:
        raise GradirError(
            f"{type(mlm).__name__}: its masked-language head is not built as in BERT (transform, norm, tied decoder with bias). "
            "Start from a model of the BERT, DistilBERT or RoBERTa family."
        )
    return squares[0], norms[0], decoder


def _states(model: Any, tokenizer: Any, texts: list[str], max_length: int) -> Iterator[tuple[Tensor, Tensor]]:
    """(what the model returns for each token [B, S, H], mask [B, S])."""
    for start in range(0, len(texts), 32):
        batch = tokenizer(
            texts[start : start + 32], padding=True, truncation=True, max_length=max_length, return_tensors="pt"
        )
        with torch.no_grad():
            yield (
                model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])[0],
                batch["attention_mask"],
            )


def _percentile(values: Tensor, percentile: float) -> float:
    """The percentile of all values (torch.quantile takes no more than 16 million)."""
    return float(np.percentile(values.numpy().ravel(), percentile))
