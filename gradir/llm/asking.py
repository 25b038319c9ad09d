"""Answers that must have a form: parsed, and asked for again where they have not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, Generic, NamedTuple, TypeVar

from gradir.errors import GradirError
from gradir.llm.client import LLM, WINDOW
from gradir.llm.records import Choice, Message, Reply, Request

A = TypeVar("A")
T = TypeVar("T")
NOTE_TOKENS = 64  # a prompt asked again at temperature 0 is longer by its note: what is to be left free for it
_SEED_STEP = 1000
_LONGEST_REASON = 200


class Unusable(GradirError):
    """An answer has not the form that was asked for; the text is the reason, for the model and for the counts.

    Args:
        reason: Why.
        value: What can be made of it all the same, if no later attempt is better.
    """

    def __init__(self, reason: str, value: Any = None):
        super().__init__(reason)
        self.value = value


class Answer(NamedTuple, Generic[T]):
    """What came of a request.

    Attributes:
        value: What `parse` made of the answer; None where no attempt was usable.
        reason: Why the last attempt was not usable; None where it was.
        attempts: How often the model was asked.
        reply: The last reply.
    """

    value: T | None
    reason: str | None
    attempts: int
    reply: Reply


def ask_valid(
    llm: LLM, asked: Iterable[tuple[A, Request]], parse: Callable[[A, Choice], T], attempts: int = 3
) -> Iterator[tuple[A, Answer[T]]]:
    """(what is asked about, its answer) of each request, in order, streamed in windows; each request asks for one choice.

    An unusable answer is asked for again: attempt a (from 0) with the seed + 1000 a. At temperature 0, where a seed changes
    nothing, the reason is told to the model: a line more in the last message of a chat, or before a text to be continued. All of
    it follows from the request and the answers, so that a job that goes on after an interruption asks for the same.
    A reply with an error is not asked for again: the engine has tried.

    Args:
        llm: Whom to ask.
        asked: What is asked about, whatever it is, and the request.
        parse: Makes a value of both, or raises Unusable.
        attempts: How often a request is asked at most.

    Raises:
        GradirError: The engine is out of reach or has died.
    """
    stream = iter(asked)
    while window := list(islice(stream, WINDOW)):
        if any(request.sampling.n != 1 for _, request in window):
            raise ValueError("ask_valid() takes requests for one choice")
        yield from zip((about for about, _ in window), _window(llm, window, parse, attempts), strict=True)


def attempt_seed(seed: int | None, attempt: int) -> int:
    """The seed of an attempt, from 0, to a request with this seed."""
    return (seed or 0) + _SEED_STEP * attempt


def _window(
    llm: LLM, window: Sequence[tuple[A, Request]], parse: Callable[[A, Choice], T], attempts: int
) -> list[Answer[T]]:
    answers: dict[int, Answer[T]] = {}
    open_places = list(range(len(window)))
    for attempt in range(attempts):
        again = (_again(window[i][1], attempt, answers[i].reason) if attempt else window[i][1] for i in open_places)
        for i, reply in zip(open_places, llm.ask(again), strict=True):
            answers[i] = _parsed(window[i][0], reply, parse, attempt + 1)
        open_places = [i for i in open_places if answers[i].reason is not None and answers[i].reply.error is None]
        if not open_places:
            break
    return [answers[i] for i in range(len(window))]


def _parsed(about: A, reply: Reply, parse: Callable[[A, Choice], T], attempts: int) -> Answer[T]:
    if reply.error is not None:
        return Answer(None, reply.error, attempts, reply)
    try:
        return Answer(parse(about, reply.choices[0]), None, attempts, reply)
    except Unusable as error:
        return Answer(error.value, str(error), attempts, reply)


def _again(request: Request, attempt: int, reason: str | None) -> Request:
    sampling = request.sampling
    if sampling.temperature > 0:
        return replace(request, sampling=replace(sampling, seed=attempt_seed(sampling.seed, attempt)))
    # a reason may quote the answer: one line, and no longer than a reason is
    told = " ".join((reason or "").split())[:_LONGEST_REASON]
    note = f"Attempt {attempt + 1}. The last answer could not be used: {told}"
    if isinstance(request.prompt, str):
        return replace(request, prompt=f"{note}\n\n{request.prompt}")
    *before, last = request.prompt
    return replace(request, prompt=(*before, Message(last.role, f"{last.content}\n\n{note}")))
