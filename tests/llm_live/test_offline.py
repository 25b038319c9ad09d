"""vLLM in this process: it answers as the server does, text by text and to 1e-4 in log-probabilities."""

from __future__ import annotations

import json

import pytest

from gradir.errors import GradirError
from gradir.llm import open_llm
from gradir.llm.records import Message, Request, Sampling

PROMPTS = (
    "The wing spar was measured at",
    "日本語 🚀, Straße",
    (Message("system", "Write a query."), Message("user", "The boundary layer")),
    (Message("user", "{query} <|im_end|>"),),
)
SAMPLINGS = (
    Sampling(max_tokens=24),
    Sampling(max_tokens=24, n=2),
    Sampling(max_tokens=24, stop=("e", "o")),
    Sampling(max_tokens=16, logprobs=0),
    Sampling(max_tokens=16, logprobs=5),
    Sampling(max_tokens=24, temperature=1.0, seed=3),
    Sampling(max_tokens=24, temperature=0.7, top_p=0.9, top_k=20, seed=4, n=3, logprobs=2),
    Sampling(max_tokens=4, choice=("0", "1", "2", "3"), logprobs=20),
    Sampling(max_tokens=100, temperature=1.0, seed=5, json_schema=json.dumps({"enum": ["good", 3, {"a": None}]})),
)
REQUESTS = [Request(prompt, sampling) for prompt in PROMPTS for sampling in SAMPLINGS]


def test_it_equals_the_server(offline, server, open_openai, replies):
    ours, theirs = replies(offline, REQUESTS), replies(open_openai(server.url), REQUESTS)
    for request, our, their in zip(REQUESTS, ours, theirs, strict=True):
        assert (our.error, len(our.choices)) == (None, request.sampling.n)
        assert (our.usage.prompt, our.usage.completion) == (their.usage.prompt, their.usage.completion)
        for one, other in zip(our.choices, their.choices, strict=True):
            assert (one.text, one.finish) == (other.text, other.finish)
            assert (one.logprobs is None) == (request.sampling.logprobs is None)
            assert one.logprobs == (None if other.logprobs is None else pytest.approx(other.logprobs, abs=1e-4))
            for top, likewise in zip(one.top or (), other.top or (), strict=True):
                if request.sampling.temperature == 0:
                    assert list(top) == list(likewise)
                for token in top.keys() & likewise.keys():  # of tokens with one text the server tells the last
                    assert top[token] == pytest.approx(likewise[token], abs=1e-4)


def test_it_writes_the_same_again(offline, replies):
    assert offline.deterministic
    assert [one.choices for one in replies(offline, REQUESTS)] == [
        one.choices for one in replies(offline, REQUESTS[::-1])
    ][::-1]


def test_draws_with_seeds_outlive_prompts_that_fill_more_than_a_batch(offline, replies):
    """In pieces, such prompts end the whole engine: see _ON_CPU."""
    requests = [
        Request(f"{i} spar" + " wing" * 400, Sampling(max_tokens=2, temperature=1.0, seed=i)) for i in range(64)
    ]
    assert all(reply.error is None for reply in replies(offline, requests))


def test_replies_come_while_others_are_still_written(offline):
    requests = [Request(f"The wing {i}", Sampling(max_tokens=100 if i else 1)) for i in range(8)]
    run = offline.run(requests)
    assert [place for place, _ in next(run)] == [0]
    run.close()  # the others are given up …
    assert not offline._llm().llm_engine.has_unfinished_requests()
    assert len([one for group in offline.run(requests) for one in group]) == 8  # … and asked again


def test_what_vllm_refuses_is_an_error_of_its_own(offline, replies):
    requests = [Request("The wing"), Request("spar " * 2500), Request(""), Request("a\ud800b"), Request(PROMPTS[2])]
    found = replies(offline, requests)
    assert [reply.error is None for reply in found] == [True, False, False, False, True]
    assert "maximum context length is 2048" in found[1].error


def test_context_and_tokens_need_no_weights(tiny_llm):
    from gradir.llm.tokenizer import Tokenizer
    from gradir.llm.vllm_engine import open_engine

    engine = open_engine(str(tiny_llm), None, {"context": "256", "dtype": "float32"})
    assert engine.context == 256
    assert engine.count("日本語 🚀") == Tokenizer(str(tiny_llm)).count("日本語 🚀")
    assert engine.cut("The wing spar", 1) == Tokenizer(str(tiny_llm)).cut("The wing spar", 1)
    assert engine._opened is None
    assert open_engine(str(tiny_llm), None, {}).context == 2048


def test_an_option_that_vllm_does_not_know(tiny_llm, tmp_path):
    words = r"does not know 'max_model_length', did you mean 'max_model_len'\?"
    options = ["max_model_length=256"]
    with open_llm(f"vllm:{tiny_llm}", tmp_path / "s", None, options) as llm, pytest.raises(GradirError, match=words):
        list(llm.ask([Request("The wing")]))


def test_the_replies_are_stored(offline, tiny_llm, tmp_path, monkeypatch):
    from gradir.llm import vllm_engine

    monkeypatch.setattr(vllm_engine, "open_engine", lambda *_: offline)
    monkeypatch.setattr(offline, "close", lambda: None)
    with open_llm(f"vllm:{tiny_llm}", tmp_path / "store") as llm:
        first = list(llm.ask(REQUESTS))
        assert llm.paid.requests == len(REQUESTS)
    with open_llm(f"vllm:{tiny_llm}", tmp_path / "store") as llm:
        assert list(llm.ask(REQUESTS)) == first
        assert llm._engine is None
