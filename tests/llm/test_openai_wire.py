"""Bodies and answers of OpenAI-compatible servers, as OpenAI documents them and as vLLM writes them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gradir.llm.openai_wire import Dialect, Unreadable, body_of, complaint, path_of, reply_of
from gradir.llm.records import Message, Request, Sampling, Usage

CHAT = (Message("user", "Hello"),)
OPENAI = Dialect(vllm=False, structured_outputs=False)
VLLM = Dialect()


def completion(*texts: str, **changes: Any) -> dict[str, Any]:
    choices = [
        {"index": i, "text": text, "finish_reason": "stop", "logprobs": None} | changes for i, text in enumerate(texts)
    ]
    return {"choices": choices, "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}}


def chat(text: str | None, tokens: list[tuple[str, float]] = (), **changes: Any) -> dict[str, Any]:
    content = [
        {"token": token, "logprob": value, "top_logprobs": [{"token": token, "logprob": value}]}
        for token, value in tokens
    ]
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"} | changes
    return {"choices": [choice | ({"logprobs": {"content": content}} if content else {})]}


def test_bodies_have_what_was_asked_for_and_nothing_that_openai_does_not_know():
    assert body_of(Request("Hello"), "m", OPENAI) == {
        "model": "m",
        "prompt": "Hello",
        "max_tokens": 64,
        "temperature": 0.0,
        "top_p": 1.0,
    }
    sampling = Sampling(9, 0.5, 0.9, 20, 13, 2, ("\n",), 5)
    assert body_of(Request(CHAT, sampling), "m", OPENAI) == {
        "model": "m",
        "messages": [{"role": "user", "content": "Hello"}],
        "max_tokens": 9,
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 20,
        "seed": 13,
        "n": 2,
        "stop": ["\n"],
        "logprobs": True,
        "top_logprobs": 5,
    }
    assert [path_of(Request("Hello")), path_of(Request(CHAT))] == ["completions", "chat/completions"]


def test_vllm_takes_nothing_from_the_models_own_defaults():
    body = body_of(Request("Hello"), "m", VLLM)
    assert {name: body[name] for name in ("top_k", "min_p", "repetition_penalty")} == {
        "top_k": 0,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
    }


def test_words_that_a_server_refuses_are_said_otherwise():
    request = Request(CHAT, Sampling(choice=("yes", "no")))
    body = body_of(request, "m", VLLM)
    other = VLLM.corrected(body, "Unrecognized request argument supplied: structured_outputs")
    assert other == Dialect(structured_outputs=False)
    schema = body_of(request, "m", other)["response_format"]["json_schema"]["schema"]
    assert schema["properties"]["answer"]["enum"] == ["yes", "no"]
    newer = other.corrected(body, "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.")
    assert body_of(Request(CHAT), "m", newer)["max_completion_tokens"] == 64
    assert VLLM.corrected(body, "the prompt is too long") is None
    completing = body_of(Request("Hello"), "m", newer)
    assert newer.corrected(completing, "max_completion_tokens") is None  # there it is not said otherwise


def test_several_answers_come_in_their_order():
    answer = completion("a", "b", "c")
    answer["choices"].reverse()
    reply = reply_of(Request("x", Sampling(temperature=1.0, n=3)), answer, OPENAI)
    assert [choice.text for choice in reply.choices] == ["a", "b", "c"]
    assert reply.usage == Usage(7, 0, 3)


def test_cached_tokens():
    answer = completion("a") | {
        "usage": {"prompt_tokens": 7, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 5}}
    }
    assert reply_of(Request("x"), answer, OPENAI).usage == Usage(7, 5, 1)
    assert reply_of(Request("x"), completion("a") | {"usage": None}, OPENAI).usage == Usage()


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"choices": None},
        {"choices": []},
        {"choices": [{}]},
        {"choices": ["text"]},
        completion("a", "b"),
        completion("a", finish_reason=None),
        completion("a", finish_reason="abort"),
        completion(None),
        completion("a", logprobs={"tokens": ["a"], "token_logprobs": []}),
        {"error": "busy"},
    ],
)
def test_broken_answers(answer):
    with pytest.raises(Unreadable):
        reply_of(Request("x"), answer, OPENAI)


def test_answers_that_asking_again_does_not_mend():
    assert "withholds" in reply_of(Request("x"), completion("", finish_reason="content_filter"), OPENAI).error
    assert "no log-probabilities" in reply_of(Request("x", Sampling(logprobs=0)), completion("a"), OPENAI).error


def test_forbidden_tokens_and_pieces_of_characters_are_no_likely_tokens():
    top = {"0": -0.1, "1": -9999.0, "": -0.2, "�": -0.3, "2": -2.5, "3": -2.0}
    logprobs = {"tokens": ["0"], "token_logprobs": [-0.1], "top_logprobs": [top]}
    choice = reply_of(Request("x", Sampling(logprobs=6)), completion("0", logprobs=logprobs), VLLM).choices[0]
    assert list(choice.top[0].items()) == [("0", -0.1), ("3", -2.0), ("2", -2.5)]


def test_a_choice_is_taken_out_of_its_object_with_its_own_probabilities():
    request = Request(CHAT, Sampling(choice=("3", "relevant"), logprobs=1))
    tokens = [('{"', 0.0), ("answer", 0.0), ('":"', 0.0), ("rele", -0.5), ("vant", -0.25), ('"}', 0.0)]
    choice = reply_of(request, chat('{"answer":"relevant"}', tokens), OPENAI).choices[0]
    assert (choice.text, choice.logprobs) == ("relevant", (-0.5, -0.25))
    assert choice.top == ({"rele": -0.5}, {"vant": -0.25})
    cut = chat('{"answer":"rel', tokens[:4], finish_reason="length")
    assert reply_of(request, cut, OPENAI).choices[0].text == '{"answer":"rel'
    merged = [('{"answer":"', 0.0), ('3"}', -1.0)]
    assert "no log-probabilities" in reply_of(request, chat('{"answer":"3"}', merged), OPENAI).error


def test_a_chat_without_content_is_empty():
    assert reply_of(Request(CHAT), chat(None), OPENAI).choices[0].text == ""


@pytest.mark.parametrize(
    ("said", "line"),
    [
        ({"error": {"message": "too\nlong", "code": 400}}, "too long"),
        ({"error": "busy"}, "busy"),
        ({"detail": [{"loc": ["body", "x"]}]}, "[{'loc': ['body', 'x']}]"),
        ({"message": "gone"}, "gone"),
    ],
)
def test_complaints(said, line):
    assert complaint(json.dumps(said).encode()) == line


@pytest.mark.parametrize("said", [b'{"error": ' + b"7" * 5000, b"[" * 100_000])
def test_complaints_that_python_does_not_read(said):
    assert complaint(said) == said[:500].decode()


def test_complaints_that_are_no_json():
    assert complaint(b"<html>\n502 \xff</html>") == "<html> 502 �</html>"
    assert complaint(b"") == ""
    assert len(complaint(b"x" * 10_000)) == 500
