"""An engine whose answers a test writes itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from gradir.llm.client import LLM
from gradir.llm.engine import Group
from gradir.llm.records import Choice, Reply, Request
from gradir.llm.store import Store


class Scripted:
    """Answers as `answer` says; a token is a word.

    Attributes:
        asked: All requests, in order.
    """

    deterministic = True

    def __init__(self, answer: Callable[[Request], str | Choice | Reply], context: int = 100_000):
        self.answer, self.context = answer, context
        self.asked: list[Request] = []

    def run(self, requests: Sequence[Request]) -> Iterator[Group]:
        self.asked += requests
        for place, request in enumerate(requests):
            found = self.answer(request)
            choice = Choice(found) if isinstance(found, str) else found
            yield [(place, choice if isinstance(choice, Reply) else Reply((choice,)))]

    def count(self, text: str) -> int:
        return len(text.split())

    def cut(self, text: str, tokens: int) -> str:
        return text if self.count(text) <= tokens else " ".join(text.split()[:tokens])

    def close(self) -> None:
        pass

    def behind(self, store: Path) -> LLM:
        """The port with this engine."""
        return LLM("scripted", lambda: self, Store(store))


def shown(request: Request) -> str:
    """What the model sees."""
    return request.prompt if isinstance(request.prompt, str) else "\n".join(one.content for one in request.prompt)
