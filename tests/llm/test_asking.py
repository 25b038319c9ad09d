"""Answers that must have a form, asked of the real engine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gradir.llm import asking, open_llm
from gradir.llm.asking import Answer, Unusable, ask_valid
from gradir.llm.client import LLM
from gradir.llm.records import Choice, Message, Request, Sampling

DRAWN = Sampling(max_tokens=6, temperature=1.0, seed=3)


@pytest.fixture
def llm(tiny_llm: Path, tmp_path: Path) -> Iterator[LLM]:
    with open_llm(f"hf:{tiny_llm}", tmp_path, options=["dtype=float32", "device=cpu"]) as opened:
        yield opened


def _upper(about: object, choice: Choice) -> str:
    """A form that half of the answers have."""
    text = choice.text
    if len(text) % 2:
        raise Unusable(f"{len(text)} characters are odd")
    return text.upper()


def asked(requests: Iterable[Request]) -> Iterator[tuple[str, Request]]:
    """Requests, each about its place."""
    return ((f"about {i}", request) for i, request in enumerate(requests))


def answers_of(llm: LLM, requests: Iterable[Request], parse: Any, attempts: int = 3) -> list[Answer[str]]:
    found = list(ask_valid(llm, asked(requests), parse, attempts))
    assert [about for about, _ in found] == [f"about {i}" for i in range(len(found))]
    return [answer for _, answer in found]


def _by_hand(llm: LLM, request: Request, attempts: int) -> Answer[str]:
    for attempt in range(attempts):
        seed = (request.sampling.seed or 0) + 1000 * attempt
        (reply,) = llm.ask(
            [replace(request, sampling=replace(request.sampling, seed=seed) if attempt else request.sampling)]
        )
        text = reply.choices[0].text
        if len(text) % 2 == 0:
            return Answer(text.upper(), None, attempt + 1, reply)
    return Answer(None, f"{len(text)} characters are odd", attempts, reply)


def test_unusable_answers_are_drawn_again(llm: LLM, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "WINDOW", 7)
    requests = [Request(f"The wing {i}", DRAWN) for i in range(30)]
    answers = answers_of(llm, requests, _upper)
    assert answers == [_by_hand(llm, request, 3) for request in requests]
    assert {answer.attempts for answer in answers} == {1, 2, 3}
    assert any(answer.value is None for answer in answers)
    assert answers_of(llm, requests, _upper, attempts=1) == [_by_hand(llm, request, 1) for request in requests]


def test_a_second_time_everything_is_in_the_store(llm: LLM) -> None:
    requests = [Request(f"The wing {i}", DRAWN) for i in range(12)]
    answers = answers_of(llm, requests, _upper)
    paid = llm.paid
    assert answers_of(llm, requests, _upper) == answers
    assert llm.paid == paid


class Asked:
    """An LLM that notes what is asked of it."""

    def __init__(self, llm: LLM):
        self.llm, self.requests = llm, []  # type: ignore[var-annotated]

    def ask(self, requests: Any) -> Any:
        listed = list(requests)
        self.requests += listed
        return self.llm.ask(listed)


def _never(about: object, choice: Choice) -> str:
    raise Unusable("no {JSON}\nin " + "it " * 200)


def test_at_temperature_zero_the_reason_is_told(llm: LLM) -> None:
    chat = (Message("system", "Be brief."), Message("user", "Write JSON."))
    noted: Any = Asked(llm)
    answers = answers_of(noted, [Request(chat), Request("Query:")], _never)
    assert [(answer.value, answer.attempts) for answer in answers] == [(None, 3)] * 2
    assert answers[0].reason == "no {JSON}\nin " + "it " * 200
    first, plain, second, second_plain, _, third_plain = (request.prompt for request in noted.requests)
    assert (first, plain) == (chat, "Query:")
    assert second[:-1] == chat[:-1]
    assert second[-1].role == "user"  # templates want the roles to alternate
    assert second[-1].content.startswith("Write JSON.\n\nAttempt 2.")
    assert "no {JSON} in it" in second[-1].content
    assert len(second[-1].content) < 300
    assert second_plain.startswith("Attempt 2.")
    assert second_plain.endswith("\n\nQuery:")  # a text is continued where it ends
    assert third_plain.startswith("Attempt 3.")
    assert all(request.sampling == Sampling() for request in noted.requests)


def test_errors_are_not_asked_again(llm: LLM) -> None:
    noted: Any = Asked(llm)
    long = Request("x " * 600, DRAWN)
    (answer,) = answers_of(noted, [long], _upper)
    assert (answer.value, answer.attempts, answer.reason) == (None, 1, "the prompt has 1,200 tokens, the context 512")
    assert noted.requests == [long]


def test_an_endless_stream_is_taken_in_windows(llm: LLM, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "WINDOW", 3)
    taken = 0

    def endless() -> Iterator[Request]:
        nonlocal taken
        while True:
            taken += 1
            yield Request(f"The {taken}", DRAWN)

    answers = ask_valid(llm, asked(endless()), _upper)
    for _ in range(4):
        next(answers)
    assert taken == 6


def test_one_choice_at_a_time(llm: LLM) -> None:
    with pytest.raises(ValueError, match="one choice"):
        answers_of(llm, [Request("a", replace(DRAWN, n=2))], _upper)


def test_other_errors_of_the_parser_are_not_hidden(llm: LLM) -> None:
    broken: Callable[[object, Choice], str] = lambda _, choice: choice.text[1000]  # noqa: E731
    with pytest.raises(IndexError):
        answers_of(llm, [Request("a", DRAWN)], broken)


def test_what_is_half_usable_is_kept_when_nothing_better_comes(llm: LLM) -> None:
    def parse(about: object, choice: Choice) -> str:
        if about == "about 0":
            raise Unusable("half", value=choice.text)
        return choice.text

    noted: Any = Asked(llm)
    half, whole = answers_of(noted, [Request("The wing", DRAWN), Request("The heat", DRAWN)], parse)
    assert len(noted.requests) == 4
    assert (half.value, half.reason, half.attempts) == (half.reply.choices[0].text, "half", 3)
    assert (whole.reason, whole.attempts) == (None, 1)
