"""Random encoders, blocks of random token ids, and Hugging Face's own module run with dropout masks that are known."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from gradir.models import fast_backbone
from gradir.models.fast_dropout import Drop

FAMILIES = ("bert", "roberta", "distilbert")
TOKENS = range(5, 60)  # ids that every tiny encoder has, none of them special
Blocks = list[tuple[Tensor, Tensor]]


def rough(folder: Path, head: bool = False, hidden: float = 0.0, attention: float = 0.0) -> Any:
    """A tiny encoder in float64, in training mode, with these dropouts, whose biases and norms are random as well."""
    from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM

    config = AutoConfig.from_pretrained(folder)
    distilbert = config.model_type == "distilbert"
    config.update({"dropout" if distilbert else "hidden_dropout_prob": hidden})
    config.update({"attention_dropout" if distilbert else "attention_probs_dropout_prob": attention})
    auto = AutoModelForMaskedLM if head else AutoModel
    model = auto.from_pretrained(folder, config=config, attn_implementation="eager", dtype=torch.float64)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * 0.2)
    return model.train()


def random_blocks(lengths: Sequence[Sequence[int]], padding: int, left: bool = False, seed: int = 0) -> Blocks:
    """Blocks whose texts have these numbers of tokens, padded to the longest of the block, on the right or the left."""
    generator = torch.Generator().manual_seed(seed)
    blocks = []
    for block in lengths:
        mask = (torch.arange(max(block)) < torch.tensor(block).unsqueeze(1)).long()
        mask = mask.flip(1) if left else mask
        ids = torch.randint(TOKENS.start, TOKENS.stop, mask.shape, generator=generator)
        blocks.append((torch.where(mask.bool(), ids, padding), mask))
    return blocks


def random_loss(result: Tensor) -> Tensor:
    """A sum of all numbers, each with a weight of its own; float64."""
    return (result * torch.randn(result.shape, generator=torch.Generator().manual_seed(9), dtype=torch.float64)).sum()


def gradients(module: Any, result: Tensor) -> dict[str, Tensor]:
    """The gradient of a random loss of every parameter that has one, by name; they are cleared afterwards."""
    random_loss(result).backward()
    found = {name: one.grad for name, one in module.named_parameters() if one.grad is not None}
    module.zero_grad(set_to_none=True)
    return found


def assert_same(ours: dict[str, Tensor], theirs: dict[str, Tensor], **tolerance: Any) -> None:
    """The same parameters have a gradient, and the same one."""
    assert theirs
    assert set(ours) == set(theirs)
    for name, expected in theirs.items():
        torch.testing.assert_close(ours[name], expected, **tolerance, msg=partial("{}: {}".format, name))


@contextmanager
def known_dropout(family: str) -> Iterator[Callable[[], None]]:
    """Hugging Face's module and ours drop the same numbers, for float64: the `i`th dropout of the module by `Drop(p, i)`.

    Yields a function to be called before Hugging Face's module runs on a block. The blocks one after another draw what all of
    them together draw at once.
    """
    streams: dict[int, Callable[[Tensor], Tensor]] = {}
    calls = count()

    def next_block() -> None:
        nonlocal calls
        calls = count()

    def dropout(x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        if not training:
            return x
        number = next(calls)
        if family == "distilbert" and number:  # between attention and feed-forward it has none, and a seed is left out
            layer, place = divmod(number - 1, 2)
            number = 1 + 3 * layer + 2 * place
        mask = streams.setdefault(number, Drop(p, number).masks())
        return x * mask(torch.ones_like(x, memory_format=torch.contiguous_format)) / (1 - p)

    with (
        mock.patch.object(torch.nn.functional, "dropout", dropout),
        mock.patch.object(fast_backbone, "seeds", side_effect=lambda: count().__next__),
    ):
        yield next_block
