"""Keys and the JSON of replies."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradir.llm.records import Choice, Message, Reply, Request, Sampling, Usage, reply_from

NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
CHOICES = st.builds(
    Choice,
    st.text(),
    st.sampled_from(["stop", "length"]),
    st.none() | st.lists(NUMBERS).map(tuple),
    st.none() | st.lists(st.dictionaries(st.text(), NUMBERS)).map(tuple),
)
COUNTS = st.integers(0, 10**9)
OTHER: dict[str, Any] = {
    "max_tokens": 65,
    "temperature": 0.5,
    "top_p": 0.5,
    "top_k": 3,
    "seed": 0,
    "n": 2,
    "stop": ("x",),
    "logprobs": 0,
    "choice": ("a", "b"),
    "json_schema": "{}",
}


@given(st.builds(Reply, st.lists(CHOICES).map(tuple), st.builds(Usage, COUNTS, COUNTS, COUNTS)))
def test_a_reply_survives_its_json(reply: Reply) -> None:
    assert reply_from(json.loads(json.dumps(reply.as_dict()))) == reply


def test_every_field_of_the_sampling_is_in_the_key() -> None:
    assert set(OTHER) == {one.name for one in fields(Sampling)}
    keys = {Request("a", replace(Sampling(), **{name: value})).key("m") for name, value in OTHER.items()}
    assert len(keys | {Request("a").key("m")}) == len(OTHER) + 1


def test_model_prompt_and_its_parts_are_in_the_key() -> None:
    prompts: list[Any] = ["a", "b", (Message("user", "a"),), (Message("system", "a"),), (Message("user", "a"),) * 2]
    assert len({Request(prompt).key(model) for prompt in prompts for model in "mn"}) == 2 * len(prompts)


def test_keys_stay_what_they_are() -> None:
    """A stored request must be found by every later version."""
    request = Request((Message("user", "é\ud800"),), Sampling(stop=("\n",), temperature=1))
    assert request.key("hf:sha256:0") == "70337fdc49faf47098a2f765faa8a052ebd4d6955a0fd9ff97cb5bd30c7698e9"


def test_equal_requests_have_one_key() -> None:
    assert Request("a", Sampling(max_tokens=64, temperature=0)).key("m") == Request("a").key("m")
    whole, part = (Request("a", Sampling(temperature=one, top_p=zero)) for one, zero in ((1, 0), (1.0, 0.0)))
    assert whole == part
    assert whole.key("m") == part.key("m")


def test_adding_usage() -> None:
    assert Usage(1, 2, 3) + Usage(10, 20, 30) == Usage(11, 22, 33)
    with pytest.raises(TypeError):
        Usage() + 1  # type: ignore[operator]
