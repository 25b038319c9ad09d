"""What an engine is: the one thing that offline vLLM, a server and transformers have in common."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from gradir.llm.records import Reply, Request

Group = list[tuple[int, Reply]]  # replies that were made together, each with the place of its request


class Engine(Protocol):
    """A language model that answers requests.

    Attributes:
        context: Most tokens of a prompt and its answer together.
        deterministic: The same requests in the same order give the same replies, byte by byte.
    """

    context: int
    deterministic: bool

    def run(self, requests: Sequence[Request]) -> Iterator[Group]:
        """Answer all requests; groups come as they are finished, in any order, each request once.

        A request that cannot be answered (too long, refused) comes back as a Reply with `error`; it does not end the run.

        Raises:
            GradirError: The engine itself is out of reach or has died.
        """
        ...

    def count(self, text: str) -> int:
        """Tokens of a text, without special ones."""
        ...

    def cut(self, text: str, tokens: int) -> str:
        """The beginning of a text: the longest prefix, at most of so many tokens, that does not end inside a character."""
        ...

    def close(self) -> None:
        """Give back memory, connections and processes."""
        ...
