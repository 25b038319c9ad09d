"""The language model as the stages see it: requests in, replies out in the same order, and nothing is asked that is stored."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, NamedTuple, Self

from gradir.llm.engine import Engine
from gradir.llm.given import FREE, Prices
from gradir.llm.records import Reply, Request, Usage
from gradir.llm.store import Store

WINDOW = 4096  # requests that are looked up, asked and yielded together


class Spent(NamedTuple):
    """What replies took.

    Attributes:
        requests: How many were answered.
        usage: Their tokens.
        cost: Their price, in the currency of the options `price_in` and `price_out`.
    """

    requests: int = 0
    usage: Usage = Usage()
    cost: float = 0.0

    def plus(self, usage: Usage, prices: Prices) -> Spent:
        """With one more reply."""
        price = (usage.prompt * prices.input + usage.completion * prices.output) / 1e6
        return Spent(self.requests + 1, self.usage + usage, self.cost + price)


class LLM:
    """A language model behind a store of its answers. A context manager: leaving it closes engine and store.

    Args:
        model: The model's identity, which goes into the requests' keys.
        open_engine: Opens the engine; called when something is missing in the store, or a text is to be counted.
        store: Of the replies; closed with this object.
        prices: Of a million tokens.

    Attributes:
        model: The identity.
        paid: What this object has asked the engine.
        reused: What came from the store, or was asked twice and paid once: what it cost at the time.
        failed: Replies with an error.
    """

    def __init__(self, model: str, open_engine: Callable[[], Engine], store: Store, prices: Prices = FREE):
        self.model, self.store, self.prices = model, store, prices
        self.paid, self.reused, self.failed = Spent(), Spent(), 0
        self._open_engine = open_engine
        self._engine: Engine | None = None
        self._seconds = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ask(self, requests: Iterable[Request]) -> Iterator[Reply]:
        """The replies, in the order of the requests, which may be without end: they are taken in windows of 4,096.

        What the store has is not asked, what occurs twice is asked once. A reply is stored as soon as it is there. One with an
        error is not stored: the next run asks again.

        Raises:
            GradirError: The engine is out of reach or has died, or the disk is full. What was stored stays.
        """
        from tqdm import tqdm

        stream = iter(requests)
        with tqdm(desc="asking", unit=" requests", smoothing=0.05, leave=False, disable=None) as bar:
            while window := list(islice(stream, WINDOW)):
                keys = [request.key(self.model) for request in window]
                missing = {key: request for key, request in zip(keys, window, strict=True) if key not in self.store}
                bar.update(len(window) - len(missing))
                failed = self._run(missing, bar) if missing else {}
                yield from self._replies(keys, set(missing), failed)

    def _run(self, missing: dict[str, Request], bar: Any) -> dict[str, Reply]:
        """Ask and store; returns those that failed."""
        keys = list(missing)
        failed: dict[str, Reply] = dict.fromkeys(keys, Reply(error="the engine gave no reply"))
        started = time.perf_counter()
        for group in self.engine.run(list(missing.values())):
            told = [(keys[place], reply) for place, reply in group]
            self.store.put(told)
            for key, reply in told:
                if reply.error is None:
                    del failed[key]
                    self.paid = self.paid.plus(reply.usage, self.prices)
                else:
                    failed[key] = reply
            now = time.perf_counter()
            self._seconds, started = self._seconds + now - started, now
            bar.set_postfix_str(f"{self._rate():,.0f} tokens/s", refresh=False)
            bar.update(len(group))
        return failed

    def _replies(self, keys: list[str], fresh: set[str], failed: dict[str, Reply]) -> Iterator[Reply]:
        for key in keys:
            reply = failed.get(key) or self.store.get(key)
            if reply is None:
                raise RuntimeError(f"{self.store.path}: a reply is gone")
            if reply.error is not None:
                self.failed += 1
            elif key in fresh:
                fresh.discard(key)
            else:
                self.reused = self.reused.plus(reply.usage, self.prices)
            yield reply

    def _rate(self) -> float:
        return (self.paid.usage.prompt + self.paid.usage.completion) / max(self._seconds, 1e-9)

    @property
    def engine(self) -> Engine:
        """The engine; it is opened when it is first needed, and its weights when something is asked."""
        if self._engine is None:
            self._engine = self._open_engine()
        return self._engine

    @property
    def context(self) -> int:
        """Most tokens of a prompt and its answer together."""
        return self.engine.context

    def count(self, text: str) -> int:
        """Tokens of a text, without special ones."""
        return self.engine.count(text)

    def cut(self, text: str, tokens: int) -> str:
        """The beginning of a text, at most of so many tokens; whole characters only."""
        return self.engine.cut(text, tokens)

    def counts(self) -> dict[str, int]:
        """For a manifest's `counts`: requests asked now, found in the store, failed."""
        return {"asked": self.paid.requests, "reused": self.reused.requests, "failed": self.failed}

    def measured(self) -> dict[str, float]:
        """For a manifest's `measured`: tokens and cost of what was paid now and of what came from the store, tokens/s."""
        numbers: dict[str, float] = {}
        for name, spent in (("paid", self.paid), ("reused", self.reused)):
            numbers |= {f"{name}_{part}_tokens": value for part, value in spent.usage._asdict().items()}
            numbers[f"{name}_cost"] = round(spent.cost, 6)
        return {**numbers, "tokens_per_second": round(self._rate(), 1)}

    def close(self) -> None:
        """Give back the engine's memory, and let other processes use the store."""
        if self._engine is not None:
            self._engine.close()
            self._engine = None
        self.store.close()
