"""How likely each of several choices was."""

from __future__ import annotations

from collections.abc import Callable
from math import log
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradir.llm.records import Choice, Request, Sampling
from gradir.llm.structured import choice_distribution

END = "<|im_end|>"


def _answer(text: str, *steps: tuple[str, dict[str, float]]) -> Choice:
    """An answer of (drawn token, probabilities)."""
    tops = tuple({token: log(value) for token, value in top.items()} for _, top in steps)
    drawn = tuple(log(top[token]) for token, top in steps)
    return Choice(text, "stop", drawn, tops)


@given(st.lists(st.floats(0.01, 1), min_size=4, max_size=4), st.integers(0, 3))
def test_grades_of_one_token_each(weights: list[float], drawn: int) -> None:
    likely = {str(grade): weight / sum(weights) for grade, weight in enumerate(weights)}
    answer = _answer(str(drawn), (str(drawn), likely), (END, {END: 1.0}))
    found = choice_distribution(answer, ["0", "1", "2", "3"])
    assert found == pytest.approx(likely)
    assert list(found) == ["0", "1", "2", "3"]


def test_what_is_not_among_the_likeliest_is_left_out() -> None:
    answer = _answer("1", ("1", {"1": 0.6, "2": 0.2}), (END, {END: 1.0}))
    assert choice_distribution(answer, ["0", "1", "2"]) == pytest.approx({"0": 0, "1": 0.75, "2": 0.25})


def test_choices_of_several_tokens_that_begin_alike() -> None:
    """By hand: good .5 x .6 + .1, great .5 x .4, bad .4."""
    first = {"g": 0.5, "good": 0.1, "bad": 0.4}
    answer = _answer("great", ("g", first), ("reat", {"ood": 0.6, "reat": 0.4}), (END, {END: 1.0}))
    want = {"good": 0.4, "great": 0.2, "bad": 0.4}
    assert choice_distribution(answer, ["good", "great", "bad"]) == pytest.approx(want)


def test_choices_that_differ_late() -> None:
    steps = [("a", {"a": 0.9, "x": 0.1}), ("b", {"b": 0.5, "bc": 0.3, "bd": 0.2}), ("c", {"c": 0.75, "d": 0.25})]
    want = {"abc": 0.9 * (0.5 * 0.75 + 0.3), "abd": 0.9 * (0.5 * 0.25 + 0.2), "x": 0.1}
    assert choice_distribution(_answer("abc", *steps, (END, {END: 1.0})), ["abc", "abd", "x"]) == pytest.approx(want)


def test_a_choice_that_begins_another_is_told_by_the_end() -> None:
    answer = _answer("1", ("1", {"1": 0.8, "2": 0.2}), (END, {END: 0.25, "0": 0.75}))
    assert choice_distribution(answer, ["1", "10", "2"]) == pytest.approx({"1": 0.2, "10": 0.6, "2": 0.2})
    silent = _answer("1", ("1", {"1": 0.8, "2": 0.2}), ("", {"": 0.25, "0": 0.75}))  # an end token written as nothing
    assert choice_distribution(silent, ["1", "10", "2"]) == pytest.approx({"1": 0.2, "10": 0.6, "2": 0.2})


def test_a_shared_beginning_that_was_not_drawn_is_shared_evenly() -> None:
    answer = _answer("bad", ("bad", {"bad": 0.4, "g": 0.6}), (END, {END: 1.0}))
    assert choice_distribution(answer, ["good", "great", "bad"]) == pytest.approx(
        {"good": 0.3, "great": 0.3, "bad": 0.4}
    )


def test_a_token_drawn_from_beyond_the_likeliest() -> None:
    answer = Choice("2", "stop", (log(0.1), 0.0), ({"0": log(0.5), "1": log(0.4)}, {END: 0.0}))
    assert choice_distribution(answer, ["0", "1", "2"]) == pytest.approx({"0": 0.5, "1": 0.4, "2": 0.1})


def test_a_space_before_the_first_token() -> None:
    answer = _answer("2", (" 2", {" 2": 0.7, " 1": 0.2, "1": 0.1}), (END, {END: 1.0}))
    assert choice_distribution(answer, ["1", "2"]) == pytest.approx({"1": 0.3, "2": 0.7})


def test_answers_that_cannot_be_read(raises_error: Callable[..., Any]) -> None:
    with raises_error("logprobs"):
        choice_distribution(Choice("1"), ["1", "2"])
    with raises_error("none of the choices", "'5'"):
        choice_distribution(_answer("5", ("5", {"5": 1.0})), ["1", "2"])


@pytest.mark.parametrize("choices", [("0", "1", "2", "3"), ("good", "great", "bad"), ("The wing", "The heat", "T")])
def test_against_all_ways_to_write_a_choice(open_hf: Callable[..., Any], choices: tuple[str, ...]) -> None:
    """The oracle adds the probabilities of every sequence of tokens that spells a choice, by forward passes over each."""
    engine = open_hf()
    sampling = Sampling(max_tokens=20, choice=choices, logprobs=20)
    answer = _first(engine, Request("The relevant answer is:", sampling))
    found, want = choice_distribution(answer, choices), _probabilities(engine, "The relevant answer is:", choices)
    assert sum(found.values()) == pytest.approx(1)
    if all(len(choice) == 1 for choice in choices):
        assert found == pytest.approx(want, abs=1e-4)
    else:  # what a beginning that was not drawn would have led to is not known
        assert found[answer.text] == pytest.approx(want[answer.text], abs=0.12)
        unshared = [
            choice for choice in choices if not any(choice[0] == other[0] for other in choices if other != choice)
        ]
        assert {one: found[one] for one in unshared} == pytest.approx({one: want[one] for one in unshared}, abs=1e-4)


def _first(engine: Any, request: Request) -> Choice:
    (((_, reply),),) = list(engine.run([request]))
    choice: Choice = reply.choices[0]
    return choice


def _probabilities(engine: Any, prompt: str, choices: tuple[str, ...]) -> dict[str, float]:
    import torch

    model, tokenizer = engine._model.double(), engine._tokenizer
    texts = {token: tokenizer.token(token) for token in range(len(tokenizer.backend))}
    ends = set(engine._stops)
    found = dict.fromkeys(choices, 0.0)

    def follow(ids: list[int], written: str, mass: float) -> None:
        allowed = [
            token
            for token, text in texts.items()
            if (token in ends and written in choices)
            or (token not in ends and text and any(choice.startswith(written + text) for choice in choices))
        ]
        with torch.inference_mode():
            logits = model(torch.tensor([ids])).logits[0, -1]
        likely = logits[allowed].softmax(-1).tolist()
        for token, probability in zip(allowed, likely, strict=True):
            if token in ends:
                found[written] += mass * probability
            else:
                follow([*ids, token], written + texts[token], mass * probability)

    follow(tokenizer.prompt_ids(prompt), "", 1.0)
    engine._model.float()
    return found
