"""What is asked of a language model and what it answers. A request is its content: two that are equal have one key."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, NamedTuple


class Message(NamedTuple):
    """One message of a chat; `role` is system, user or assistant."""

    role: str
    content: str


@dataclass(frozen=True)
class Sampling:
    """How an answer is drawn.

    Attributes:
        max_tokens: Most tokens of an answer.
        temperature: 0 takes the likeliest token each time.
        top_p: Draw from the likeliest tokens that hold this probability together.
        top_k: Draw from this many likeliest tokens; 0: from all.
        seed: Of the draw; choice i of several is drawn as a request with seed + i would be. None at temperature 0.
        n: Answers to the same prompt.
        stop: The answer ends before the first of these strings.
        logprobs: Log-probability (natural logarithm) of each token: None: of none; 0: of the tokens drawn; up to 20: of as many of
            the likeliest tokens at each place too. Under `choice` or `json_schema` they are those of what is allowed.
        choice: The answer is one of these strings.
        json_schema: The answer is JSON of this schema, which is given as JSON text.
    """

    max_tokens: int = 64
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int | None = None
    n: int = 1
    stop: tuple[str, ...] = ()
    logprobs: int | None = None
    choice: tuple[str, ...] | None = None
    json_schema: str | None = None


@dataclass(frozen=True)
class Request:
    """A prompt, text to be continued or a chat to be answered, and how the answer is drawn."""

    prompt: str | tuple[Message, ...]
    sampling: Sampling = Sampling()

    def key(self, model: str) -> str:
        """The content address: SHA-256, hexadecimal, of the model's identity, the prompt and the sampling.

        Sampling that is left at its default does not count, so that a later option does not change the keys of earlier work.
        """
        defaults = Sampling()
        chosen = {name: value for name, value in asdict(self.sampling).items() if value != getattr(defaults, name)}
        chosen |= {name: float(chosen[name]) for name in ("temperature", "top_p") if name in chosen}  # 1 is 1.0
        prompt: Any = self.prompt if isinstance(self.prompt, str) else [list(message) for message in self.prompt]
        content = json.dumps([model, prompt, chosen], ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True)
class Choice:
    """One answer.

    Attributes:
        text: What was written, without the stop string.
        finish: `stop` (it came to an end) or `length` (it was cut off).
        logprobs: Of each token drawn, where they were asked for.
        top: For each token drawn the likeliest tokens, as text, with their log-probabilities.
    """

    text: str
    finish: str = "stop"
    logprobs: tuple[float, ...] | None = None
    top: tuple[Mapping[str, float], ...] | None = None


class Usage(NamedTuple):
    """Tokens: of the prompt, counted once for n answers; those of them that came from a cache; of the answers."""

    prompt: int = 0
    cached: int = 0
    completion: int = 0

    def __add__(self, other: object) -> Usage:
        if not isinstance(other, Usage):
            return NotImplemented
        return Usage(*(mine + yours for mine, yours in zip(self, other, strict=True)))


_NOTHING = Usage()


@dataclass(frozen=True)
class Reply:
    """The answers to a request, `n` of them; or why there is none: then nothing was paid, and nothing is stored."""

    choices: tuple[Choice, ...] = ()
    usage: Usage = _NOTHING
    error: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """The JSON object; `reply_from` reads it."""
        choices = [
            {one.name: value for one in fields(choice) if (value := getattr(choice, one.name)) is not None}
            for choice in self.choices
        ]
        return {"choices": choices, "usage": list(self.usage)}


def reply_from(value: Mapping[str, Any]) -> Reply:
    """A reply of what `Reply.as_dict` made."""
    choices = (
        Choice(
            one["text"],
            one["finish"],
            None if one.get("logprobs") is None else tuple(one["logprobs"]),
            None if one.get("top") is None else tuple(one["top"]),
        )
        for one in value["choices"]
    )
    return Reply(tuple(choices), Usage(*value["usage"]))
