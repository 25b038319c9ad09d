"""BERT's masking, and batches of masked texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from gradir.engine.batching import filled
from gradir.engine.tokens import Tokens
from gradir.errors import GradirError
from gradir.models.vocabulary import special_ids
from gradir.train.mlm_texts import Drawn

IGNORED = -100  # the label of a position that is not predicted, as everywhere in Hugging Face
_MASKS = 3  # a seed of its own

Row = tuple[NDArray[np.int64], NDArray[np.int64]]  # token ids and labels of a sequence, int64 [S] each


class Masking(NamedTuple):
    """Which tokens are hidden, and behind what (Devlin et al. 2019, arXiv 1810.04805).

    Each token but the special ones is chosen with probability `rate`. Of the chosen ones, which are to be predicted, 80% become
    the mask token, 10% any other token, and 10% stay.

    Attributes:
        rate: Share of the tokens that are to be predicted.
        mask: Id of the mask token.
        special: Ids that are never chosen, ascending.
        others: Ids that a token may become: all but the special ones.
    """

    rate: float
    mask: int
    special: NDArray[np.int64]
    others: NDArray[np.int64]

    @classmethod
    def of(cls, tokenizer: Any, rate: float) -> Masking:
        """The masking for a tokenizer.

        Raises:
            GradirError: It has no mask token.
        """
        if tokenizer.mask_token_id is None:
            raise GradirError("the tokenizer has no mask token: the model was not made for masked-language modelling.")
        special = np.array(special_ids(tokenizer), np.int64)
        known = np.fromiter(tokenizer.get_vocab().values(), np.int64)
        return cls(rate, tokenizer.mask_token_id, special, np.setdiff1d(known, special))

    def apply(self, ids: Sequence[int], draw: np.random.Generator) -> Row:
        """(ids with some of them hidden, labels: the hidden ids, `IGNORED` elsewhere)."""
        tokens = np.asarray(ids, np.int64)
        chosen = (draw.random(len(tokens)) < self.rate) & ~np.isin(tokens, self.special)
        fate, other = draw.random(len(tokens)), draw.choice(self.others, len(tokens))
        hidden = np.where(fate < 0.8, self.mask, np.where(fate < 0.9, other, tokens))
        return np.where(chosen, hidden, tokens), np.where(chosen, tokens, IGNORED)


class Collator:
    """Makes batches of texts: tokenised, masked, and padded or packed. The masks of a text depend on seed and place alone.

    Args:
        tokens: Cuts texts to their length.
        masking: What is hidden.
        length: Tokens of a sequence.
        seed: Of the masks.
        pack: Put several short texts into one sequence.
    """

    def __init__(self, tokens: Tokens, masking: Masking, length: int, seed: int, pack: bool = False):
        self.tokens, self.masking, self.length, self.seed, self.pack = tokens, masking, length, seed, pack

    def __call__(self, texts: Sequence[Drawn]) -> dict[str, Any]:
        """A batch.

        Returns:
            `input_ids`, `attention_mask` (1 for a token) and `labels` (`IGNORED` where nothing is predicted), int64 [B, S] each;
            and what `gradir.train.trainer` wants: `tokens`, how many there are, `qids`, ids of the texts for errors, `micro`.
        """
        rows = [
            self.masking.apply(ids, np.random.default_rng((self.seed, _MASKS, one.place)))
            for ids, one in zip(self.tokens.ids([one.text for one in texts]), texts, strict=True)
        ]
        if self.pack:
            rows = packed(rows, self.length, self.masking.special)
        ids, mask = filled([ids.tolist() for ids, _ in rows], self.tokens.padding, self.length)
        labels, _ = filled([labels.tolist() for _, labels in rows], IGNORED, self.length)
        block = {"input_ids": ids, "attention_mask": mask, "labels": labels, "micro": np.zeros(1, np.int64)}
        tensors = {name: torch.from_numpy(values) for name, values in block.items()}
        return tensors | {"tokens": int(mask.sum()), "qids": [one.docid for one in texts]}


def packed(rows: Sequence[Row], length: int, special: NDArray[np.int64]) -> list[Row]:
    """Texts put together to as few sequences as the longest-first rule finds; none is cut, and none is lost.

    Each goes to the first sequence that has room. All but the first text of a sequence lose the special token that they begin
    with ([CLS]); the one that they end with stays between them.
    """
    bins: list[list[Row]] = []
    room: list[int] = []
    for ids, labels in sorted(rows, key=lambda row: -len(row[0])):  # equal lengths stay in order
        start = 1 if len(ids) and ids[0] in special else 0
        place = next((i for i, left in enumerate(room) if left >= len(ids) - start), None)
        if place is None:
            bins.append([(ids, labels)])
            room.append(length - len(ids))
        else:
            bins[place].append((ids[start:], labels[start:]))
            room[place] -= len(ids) - start
    return [(np.concatenate([i for i, _ in found]), np.concatenate([lab for _, lab in found])) for found in bins]
