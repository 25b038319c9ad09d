"""One token after another for a batch of answers: masked, drawn, recorded, ended. `generate` of transformers runs the model."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import (
    LogitsProcessor,
    StoppingCriteria,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from gradir.llm.answers import likeliest
from gradir.llm.records import Choice, Sampling
from gradir.llm.structured import Grammars
from gradir.llm.tokenizer import Tokenizer


class Row:
    """One answer in the making.

    Args:
        sampling: How it is drawn.
        index: Which of the `n` answers it is: drawn as a request with the seed + index would be.
        limit: Most tokens.
        matcher: Says what may come next; None: anything.
        device: Where the noise is drawn.
    """

    def __init__(self, sampling: Sampling, index: int, limit: int, matcher: Any, device: torch.device):
        self.sampling, self.limit, self.matcher = sampling, limit, matcher
        self.tokens: list[int] = []
        self.logprobs: list[float] = []
        self.top: list[dict[str, float]] = []
        self.finish: str | None = None
        self.ended = False  # by an end token, which is no text
        self.noise = torch.Generator(device).manual_seed((sampling.seed or 0) + index)
        # A stop string that is complete with the newest token lies within so many tokens, each of a byte at least. (The few
        # more are for tokenizers that read a text's first token in another way.)
        self.reach = max((len(stop.encode()) for stop in sampling.stop), default=0) + 4

    def choice(self, tokenizer: Tokenizer) -> Choice:
        """The finished answer."""
        text = _until(tokenizer.decode(self.tokens[:-1] if self.ended else self.tokens), self.sampling.stop)
        logprobs = None if self.sampling.logprobs is None else tuple(self.logprobs)
        return Choice(text, self.finish or "length", logprobs, tuple(self.top) if self.sampling.logprobs else None)


class Draw(LogitsProcessor):
    """Chooses the next token of each row; what it returns leaves `generate` only this token to take.

    A token is drawn by the Gumbel-max trick: the greatest of log-probability (after temperature, top-k, top-p) + noise, the
    noise from the row's own generator. So a request draws alike in every batch, as far as the model's numbers are alike in it.

    Args:
        rows: The answers, in the order of the batch.
        tokenizer: Decodes stop strings and likeliest tokens.
        stops: Tokens that end an answer.
        grammars: Of the rows that have a matcher.
    """

    def __init__(
        self, rows: Sequence[Row], tokenizer: Tokenizer, stops: Sequence[int], grammars: Callable[[], Grammars]
    ):
        self.rows, self._tokenizer, self._stops, self._grammars = rows, tokenizer, set(stops), grammars

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Choose, record, and end what is at its end."""
        live = [i for i, row in enumerate(self.rows) if row.finish is None]
        matched = [(i, self.rows[i].matcher) for i in live if self.rows[i].matcher is not None]
        if matched:
            self._grammars().mask(scores, matched)
        chosen = scores.argmax(-1)
        for i, token in self._drawn(scores, live):
            chosen[i] = token
        self._record(scores, chosen, [i for i in live if self.rows[i].sampling.logprobs is not None])
        for i, token in enumerate(chosen.tolist()):
            if self.rows[i].finish is None:
                self._take(self.rows[i], token)
        return torch.full_like(scores, -torch.inf).scatter_(1, chosen[:, None], 0.0)

    def _drawn(self, scores: Tensor, live: Sequence[int]) -> list[tuple[int, Tensor]]:
        """The tokens of those rows that do not simply take the likeliest."""
        alike = defaultdict(list)
        for i in live:
            if (sampling := self.rows[i].sampling).temperature > 0:
                alike[sampling.temperature, sampling.top_k, sampling.top_p].append(i)
        found: list[tuple[int, Tensor]] = []
        for (temperature, top_k, top_p), places in alike.items():
            kept: Any = TemperatureLogitsWarper(float(temperature))(None, scores[places])
            if top_k:
                kept = TopKLogitsWarper(top_k)(None, kept)
            if top_p < 1:
                kept = TopPLogitsWarper(top_p)(None, kept)
            for i, row in zip(places, kept, strict=True):
                waits = torch.empty_like(row).exponential_(generator=self.rows[i].noise)
                found.append(
                    (i, (row - waits.log()).argmax())
                )  # minus the log of an exponential: Gumbel's distribution
        return found

    def _record(self, scores: Tensor, chosen: Tensor, places: Sequence[int]) -> None:
        if not places:
            return
        logprobs = scores[places].float().log_softmax(-1)
        drawn = logprobs.gather(1, chosen[places][:, None])[:, 0].tolist()
        most = max(self.rows[i].sampling.logprobs or 0 for i in places)
        top = logprobs.topk(min(most, logprobs.shape[-1]), dim=-1)
        for i, value, values, tokens in zip(places, drawn, top.values.tolist(), top.indices.tolist(), strict=True):
            row = self.rows[i]
            row.logprobs.append(value)
            wanted = row.sampling.logprobs or 0
            texts = ((self._tokenizer.token(token), value) for token, value in zip(tokens, values, strict=True))
            row.top.append(likeliest(texts, wanted))

    def _take(self, row: Row, token: int) -> None:
        row.tokens.append(token)
        if row.matcher is not None and not row.matcher.accept_token(token):
            raise RuntimeError(f"token {token} was drawn against the grammar")
        row.ended = token in self._stops
        if row.ended or self._is_stopped(row):
            row.finish = "stop"
        elif len(row.tokens) >= row.limit:
            row.finish = "length"

    def _is_stopped(self, row: Row) -> bool:
        stops = row.sampling.stop
        if not any(stop in self._tokenizer.decode(row.tokens[-row.reach :]) for stop in stops):
            return False
        text = self._tokenizer.decode(row.tokens)
        return any(stop in text for stop in stops)


class AllEnded(StoppingCriteria):
    """Tells `generate` which rows have ended."""

    def __init__(self, rows: Sequence[Row]):
        self._rows = rows

    def __call__(self, input_ids: Tensor, scores: Tensor, **_: Any) -> Tensor:
        """True for each row that has ended."""
        return torch.tensor([row.finish is not None for row in self._rows], device=input_ids.device)


def _until(text: str, stops: Sequence[str]) -> str:
    """The text before the first stop string."""
    return text[: min((place for stop in stops if (place := text.find(stop)) >= 0), default=len(text))]
