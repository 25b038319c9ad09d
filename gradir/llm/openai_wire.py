"""What goes over the wire to an OpenAI-compatible server: the body of a request, and what is read of an answer."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from gradir.llm.answers import all_of, drawn, likeliest
from gradir.llm.records import Choice, Reply, Request, Sampling, Usage

_WRAPPED = "answer"  # the key of the object that stands around a choice where a server knows JSON schemas alone
_WRAPPING = 16  # tokens, and more, that such an object takes besides the choice


class Unreadable(Exception):
    """An answer that is not what the protocol says: asking again may help."""


@dataclass(frozen=True)
class Dialect:
    """What a server understands.

    Attributes:
        vllm: It is vLLM: it takes `top_k`, and what a request leaves open it would take from the model's own defaults.
        structured_outputs: Constraints are written in vLLM's way; otherwise as `response_format`.
        max_tokens: The name of the bound in chats; newer models of OpenAI refuse the old one.
    """

    vllm: bool = True
    structured_outputs: bool = True
    max_tokens: str = "max_tokens"

    def corrected(self, body: Mapping[str, Any], refusal: str) -> Dialect | None:
        """Other words, where a body was refused for one that the server does not know; None: it was not for that."""
        if "structured_outputs" in body and "structured_outputs" in refusal:
            return replace(self, structured_outputs=False)
        if "messages" in body and "max_tokens" in body and "max_completion_tokens" in refusal:
            return replace(self, max_tokens="max_completion_tokens")
        return None


def path_of(request: Request) -> str:
    """Where a request goes, below the base URL."""
    return "completions" if isinstance(request.prompt, str) else "chat/completions"


def body_of(request: Request, model: str, dialect: Dialect) -> dict[str, Any]:
    """The JSON object that asks for a request's answers."""
    sampling = request.sampling
    body: dict[str, Any] = {"model": model, "temperature": sampling.temperature, "top_p": sampling.top_p}
    most = sampling.max_tokens + (_WRAPPING if _is_wrapped(sampling, dialect) else 0)
    if isinstance(request.prompt, str):
        body |= {"prompt": request.prompt, "max_tokens": most}
        if sampling.logprobs is not None:
            body["logprobs"] = sampling.logprobs
    else:
        body["messages"] = [{"role": message.role, "content": message.content} for message in request.prompt]
        body[dialect.max_tokens] = most
        if sampling.logprobs is not None:
            body |= {"logprobs": True, "top_logprobs": sampling.logprobs}
    if dialect.vllm:
        body |= {"top_k": sampling.top_k, "min_p": 0.0, "repetition_penalty": 1.0}
    elif sampling.top_k:
        body["top_k"] = sampling.top_k
    if drawn(sampling) > 1:
        body["n"] = sampling.n
    if sampling.seed is not None:
        body["seed"] = sampling.seed
    if sampling.stop:
        body["stop"] = list(sampling.stop)
    return body | _constraint(sampling, dialect)


def _is_wrapped(sampling: Sampling, dialect: Dialect) -> bool:
    return bool(sampling.choice) and not dialect.structured_outputs


def _constraint(sampling: Sampling, dialect: Dialect) -> dict[str, Any]:
    if sampling.choice is None and sampling.json_schema is None:
        return {}
    if dialect.structured_outputs:
        kind = (
            {"choice": list(sampling.choice)} if sampling.choice else {"json": json.loads(sampling.json_schema or "{}")}
        )
        return {"structured_outputs": kind}
    schema = json.loads(sampling.json_schema or "{}")
    if sampling.choice:
        inner = {_WRAPPED: {"type": "string", "enum": list(sampling.choice)}}
        schema = {"type": "object", "properties": inner, "required": [_WRAPPED], "additionalProperties": False}
    return {
        "response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": True}}
    }


def reply_of(request: Request, answer: Mapping[str, Any], dialect: Dialect) -> Reply:
    """The reply in a server's answer.

    Raises:
        Unreadable: The answer lacks what the protocol promises, or was broken off.
    """
    sampling = request.sampling
    try:
        listed = sorted(answer["choices"], key=lambda one: one["index"])
        if any(one["finish_reason"] == "content_filter" for one in listed):
            return Reply(error="the server withholds the answer (content_filter)")
        choices = tuple(_choice(one, request, _is_wrapped(sampling, dialect)) for one in listed)
        usage = _usage(answer.get("usage") or {})
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise Unreadable(f"an answer of another form ({type(error).__name__}: {error})") from None
    if len(choices) != drawn(sampling):
        raise Unreadable(f"{len(choices)} answers of {drawn(sampling)}")
    if sampling.logprobs is not None and any(one.logprobs is None for one in choices):
        return Reply(error="the server gives no log-probabilities")
    return Reply(all_of(choices, sampling), usage)


class _Token(NamedTuple):
    text: str
    logprob: float
    top: dict[str, float]


def _choice(one: Mapping[str, Any], request: Request, wrapped: bool) -> Choice:
    finish = one["finish_reason"]
    if finish in (None, "abort", "error"):
        raise ValueError(f"broken off ({finish})")
    finish = "length" if finish == "length" else "stop"
    if isinstance(request.prompt, str):
        text, tokens = one["text"], _completion_tokens(one.get("logprobs"))
    else:
        text, tokens = one["message"]["content"] or "", _chat_tokens(one.get("logprobs"))
    if not isinstance(text, str):
        raise TypeError("text that is none")
    if wrapped:
        text, tokens = _unwrapped(text, tokens)
    wanted = request.sampling.logprobs
    if wanted is None or tokens is None:
        return Choice(text, finish)
    top = tuple(likeliest(token.top.items(), wanted) for token in tokens) if wanted else None
    return Choice(text, finish, tuple(token.logprob for token in tokens), top)


def _completion_tokens(given: Mapping[str, Any] | None) -> list[_Token] | None:
    if given is None:
        return None
    tops = given.get("top_logprobs") or [None] * len(given["tokens"])
    rows = zip(given["tokens"], given["token_logprobs"], tops, strict=True)
    return [_Token(text, float(value), dict(top or {})) for text, value, top in rows]


def _chat_tokens(given: Mapping[str, Any] | None) -> list[_Token] | None:
    if given is None or given["content"] is None:
        return None
    found = []
    for one in given["content"]:
        top: dict[str, float] = {}
        for token in one.get("top_logprobs") or []:
            top[token["token"]] = max(float(token["logprob"]), top.get(token["token"], -math.inf))
        found.append(_Token(one["token"], float(one["logprob"]), top))
    return found


def _unwrapped(text: str, tokens: list[_Token] | None) -> tuple[str, list[_Token] | None]:
    """The chosen string in the object around it, and those of the object's tokens that spell it."""
    try:
        chosen = json.loads(text)[_WRAPPED]
    except (ValueError, RecursionError, KeyError, TypeError):
        return text, tokens  # cut off: whoever asked for a choice sees that it is none
    for first in range(len(tokens or [])):
        for last in range(first, len(tokens or [])):
            if tokens and "".join(token.text for token in tokens[first : last + 1]) == chosen:
                return chosen, tokens[first : last + 1]
    return chosen, None  # a token spans the choice and what is around it


def _usage(given: Mapping[str, Any]) -> Usage:
    cached = (given.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    return Usage(int(given.get("prompt_tokens", 0)), int(cached), int(given.get("completion_tokens", 0)))


def complaint(content: bytes) -> str:
    """What a server says is wrong, in one line."""
    text = content.decode("utf-8", "replace")
    try:
        value: Any = json.loads(text)
    except (ValueError, RecursionError):
        value = text
    while (
        isinstance(value, dict) and (inner := next((value[key] for key in _SAID if value.get(key)), None)) is not None
    ):
        value = inner
    return " ".join(str(value).split())[:500]


_SAID = ("error", "message", "detail")
