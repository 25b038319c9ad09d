"""Every feature of the port through a real vLLM server; the oracle is what the server says to a bare HTTP request."""

from __future__ import annotations

import json
import math
import shutil
import urllib.request
import uuid
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from gradir.errors import GradirError
from gradir.llm import open_llm
from gradir.llm.records import Message, Request, Sampling
from gradir.llm.tokenizer import Tokenizer

TO_CUT = (
    "The wing spar",
    "",
    "{}\n\n  x",
    "Straße, café, 日本語 🚀🚀",
    "The spatial-merge of m×m blocks, (numpy.random.Generator) are  passed;\n\tdon't 12345\r\n" * 6,
    "Cafe\u0301 de\u0301ja\u0300 vu " * 9,  # the tokenizer composes these characters
    "👩‍👩‍👧 日本 \ufffd 🚀x🚀 " * 9,
    " " * 300 + "spar",
)
PROMPT = "The wing spar was measured at"
CHAT = (Message("system", "Write a query."), Message("user", "The boundary layer"))
GRADES = ("0", "1", "2", "3")
SCHEMA = {
    "type": "object",
    "properties": {"grade": {"enum": [0, 1, 2, 3]}, "good": {"type": "boolean"}},
    "required": ["grade", "good"],
    "additionalProperties": False,
}


def raw(server: Any, path: str, **body: Any) -> dict[str, Any]:
    content = json.dumps({"model": "tiny", "temperature": 0, **body}).encode()
    request = urllib.request.Request(f"{server.host}{path}", content, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


@pytest.fixture
def ask(server, open_openai, replies):
    """`ask(prompt, **sampling)`: the reply of the real server."""
    engine = open_openai(server.url)
    return lambda prompt, **sampling: replies(engine, [Request(prompt, Sampling(**sampling))])[0]


def test_a_completion_is_the_servers(ask, server):
    expected = raw(server, "/v1/completions", prompt=PROMPT, max_tokens=20)
    reply = ask(PROMPT, max_tokens=20)
    assert reply.choices[0].text == expected["choices"][0]["text"] != ""
    assert (reply.choices[0].finish, reply.error) == ("length", None)
    assert (reply.usage.prompt, reply.usage.completion) == (expected["usage"]["prompt_tokens"], 20)


def test_a_chat_is_its_template_completed(ask, tiny_llm):
    messages = [message._asdict() for message in CHAT]
    tokenizer = AutoTokenizer.from_pretrained(tiny_llm)
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert ask(CHAT, max_tokens=20, logprobs=3).choices == ask(text, max_tokens=20, logprobs=3).choices


def test_log_probabilities_are_the_servers(ask, server):
    expected = raw(server, "/v1/completions", prompt=PROMPT, max_tokens=8, logprobs=5)["choices"][0]["logprobs"]
    choice = ask(PROMPT, max_tokens=8, logprobs=5).choices[0]
    assert choice.logprobs == tuple(expected["token_logprobs"])
    assert len(choice.top) == 8
    for drawn, top in zip(choice.logprobs, choice.top, strict=True):
        assert list(top.values()) == sorted(top.values(), reverse=True)
        assert max(top.values()) <= drawn  # at temperature 0 the likeliest is drawn
        assert 1 <= len(top) <= 5
    drawn_only = ask(PROMPT, max_tokens=8, logprobs=0).choices[0]
    assert (drawn_only.logprobs, drawn_only.top) == (choice.logprobs, None)


def test_equal_seeds_draw_alike_and_choices_count_them_up(ask):
    drawn = {seed: ask(PROMPT, max_tokens=12, temperature=1.0, seed=seed).choices[0].text for seed in (5, 6, 7)}
    assert len(set(drawn.values())) == 3
    three = ask(PROMPT, max_tokens=12, temperature=1.0, seed=5, n=3)
    assert [choice.text for choice in three.choices] == [drawn[5], drawn[6], drawn[7]]
    assert three.usage.prompt == ask(PROMPT, max_tokens=12).usage.prompt


def test_top_k_and_top_p_reach_the_server(ask):
    likeliest = ask(PROMPT, max_tokens=12).choices
    assert ask(PROMPT, max_tokens=12, temperature=1.0, seed=5, top_k=1).choices == likeliest
    assert ask(PROMPT, max_tokens=12, temperature=1.0, seed=5, top_p=1e-6).choices == likeliest


def test_several_answers_without_a_draw_are_equal(ask):
    one, three = ask(PROMPT, max_tokens=6), ask(PROMPT, max_tokens=6, n=3)
    assert three.choices == one.choices * 3
    assert three.usage.completion == one.usage.completion  # it was written once


def test_an_answer_ends_before_a_stop_string(ask):
    whole = ask(PROMPT, max_tokens=30).choices[0].text
    stop = whole[10:13]
    choice = ask(PROMPT, max_tokens=30, stop=("no such words", stop)).choices[0]
    assert (choice.text, choice.finish) == (whole[: whole.index(stop)], "stop")


def test_a_choice_and_its_probabilities(ask):
    for prompt in (PROMPT, CHAT):
        choice = ask(prompt, max_tokens=4, choice=GRADES, logprobs=20).choices[0]
        assert choice.text in GRADES
        assert set(choice.top[0]) == set(GRADES)  # nothing that is ruled out
        assert sum(map(math.exp, choice.top[0].values())) == pytest.approx(1, abs=1e-5)
        assert max(choice.top[0], key=choice.top[0].get) == choice.text


def test_json_is_of_the_schema(ask):
    for prompt in (PROMPT, CHAT):
        choice = ask(prompt, max_tokens=200, temperature=1.0, seed=1, json_schema=json.dumps(SCHEMA)).choices[0]
        value = json.loads(choice.text)
        assert choice.finish == "stop"
        assert set(value) == {"grade", "good"}
        assert value["grade"] in (0, 1, 2, 3)


def test_a_server_without_structured_outputs_is_given_a_response_format(proxy, open_openai, replies, ask):
    proxy.fault = lambda number, body: "unknown" if "structured_outputs" in body else ""
    requests = [
        Request(prompt, sampling)
        for prompt in (PROMPT, CHAT)
        for sampling in (
            Sampling(max_tokens=200, choice=GRADES, logprobs=20, temperature=1.0, seed=2),
            Sampling(max_tokens=200, json_schema=json.dumps(SCHEMA), temperature=1.0, seed=2),
        )
    ]
    found = replies(open_openai(proxy.url, concurrency=1), requests)
    assert [one.fault for one in proxy.seen] == ["unknown", "", "", "", ""]  # it is told once
    for reply, request in zip(found, requests, strict=True):
        choice = reply.choices[0]
        if request.sampling.choice:
            assert choice.text in GRADES
            assert set(choice.top[0]) == set(GRADES)
            assert len(choice.logprobs) == 1
        else:
            assert choice == ask(request.prompt, **vars(request.sampling)).choices[0]


def test_a_prompt_that_is_too_long_is_an_error_of_its_own(server, open_openai, replies):
    requests = [Request(PROMPT), Request("spar " * 2500), Request(""), Request("a\ud800b"), Request(CHAT)]
    found = replies(open_openai(server.url), requests)
    assert [reply.error is None for reply in found] == [True, False, False, False, True]
    assert "maximum context length is 2048" in found[1].error


def test_a_word_in_the_place_of_a_key_is_left_in_errors(server, open_openai, replies, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "x")  # many set it so, since Pyserini wants one
    (reply,) = replies(open_openai(server.url), [Request("spar " * 2500)])
    assert "maximum context length" in reply.error


def test_tokens_that_came_from_the_cache_are_counted(ask):
    prompt = f"{uuid.uuid4()}: " + "boundary layer of the wing " * 20
    first, second = (ask(prompt, max_tokens=2).usage for _ in range(2))
    assert first.cached == 0
    assert second.cached > 32
    assert second.cached % 32 == 0
    assert first.prompt == second.prompt


@pytest.fixture
def other_tokenizer(tiny_llm, tmp_path):
    """The model's folder with a tokenizer that takes texts apart in another way."""
    folder = Path(shutil.copytree(tiny_llm, tmp_path / "other"))
    told = json.loads((folder / "tokenizer.json").read_text())
    told["model"]["merges"] = told["model"]["merges"][:100]
    (folder / "tokenizer.json").write_text(json.dumps(told))
    return folder


@pytest.mark.parametrize("way", ["local", "server", "elsewhere", "option", "misled"])
def test_counting_and_cutting(way, proxy, open_openai, tiny_llm, other_tokenizer, capsys):
    """Wherever the tokens are known from, they are those of the model, and a text is cut where the other engines cut it."""
    if way == "server":
        proxy.card = lambda told: {key: told[key] for key in ("id", "max_model_len", "owned_by")}
    if way == "elsewhere":
        proxy.card = lambda told: {**told, "root": "/folder/of/another/machine"}
    if way == "misled":
        proxy.card = lambda told: {**told, "root": str(other_tokenizer)}
    engine = open_openai(proxy.url, **({"tokenizer": tiny_llm} if way == "option" else {}))
    said = capsys.readouterr().err
    assert ("tokens are counted by the server" in said) == (way in ("server", "elsewhere"))
    assert (f"{other_tokenizer} on this machine splits texts otherwise" in said) == (way == "misled")
    there, tokenizer = proxy.counted, Tokenizer(str(tiny_llm))
    backend = AutoTokenizer.from_pretrained(tiny_llm)
    for text in TO_CUT:
        length = len(backend(text, add_special_tokens=False).input_ids)
        assert engine.count(text) == length
        for most in {*range(9), *range(9, length + 2, 7), length - 1, length, length + 1}:
            cut = engine.cut(text, most)
            assert cut == tokenizer.cut(text, most)
            assert text.startswith(cut)
            assert engine.count(cut) <= max(most, 0)
    assert engine.context == 2048
    assert (proxy.counted > there + 10) == (way in ("server", "elsewhere", "misled"))


def test_what_the_server_counts_is_the_models_own(server, open_openai, tiny_llm, tmp_path):
    """A tokenizer.json is read by transformers in its own way, of which the file alone says nothing."""
    from tokenizers import Tokenizer as File

    folder = Path(shutil.copytree(tiny_llm, tmp_path / "written-otherwise"))
    told = json.loads((folder / "tokenizer.json").read_text())
    told["normalizer"] = None
    (folder / "tokenizer.json").write_text(json.dumps(told))
    engine, text = open_openai(server.url, tokenizer=folder), "Cafe\u0301"
    ids = raw(server, "/tokenize", prompt=text, add_special_tokens=False)["tokens"]
    assert engine.count(text) == len(ids)
    assert len(File.from_file(str(folder / "tokenizer.json")).encode(text).ids) > len(ids)  # else this shows nothing


def test_it_equals_transformers(server, open_openai, replies, tiny_llm):
    from gradir.llm.hf_engine import open_engine

    samplings = [
        Sampling(max_tokens=24),
        Sampling(max_tokens=4, choice=GRADES),
        Sampling(max_tokens=24, stop=("e", "o")),
    ]
    prompts = [PROMPT, CHAT, "日本語 🚀", "Is a relevant answer"]
    requests = [Request(prompt, sampling) for prompt in prompts for sampling in samplings]
    transformers = open_engine(str(tiny_llm), None, {"dtype": "float32", "device": "cpu"})
    theirs, ours = replies(transformers, requests), replies(open_openai(server.url), requests)
    assert [reply.choices for reply in ours] == [reply.choices for reply in theirs]
    requests = [Request(prompt, Sampling(max_tokens=8, logprobs=0)) for prompt in prompts]
    for their, our in zip(replies(transformers, requests), replies(open_openai(server.url), requests), strict=True):
        assert our.choices[0].logprobs == pytest.approx(their.choices[0].logprobs, abs=1e-4)
    transformers.close()


def test_no_more_requests_in_flight_than_allowed(proxy, open_openai, replies):
    requests = [Request(f"{PROMPT} {i}", Sampling(max_tokens=4)) for i in range(40)]
    replies(open_openai(proxy.url, concurrency=5), requests)
    assert proxy.most == 5
    first_asked = [int(one.body["prompt"].rsplit(maxsplit=1)[1]) for one in proxy.seen]
    assert all(
        abs(place - number) < 5 for place, number in enumerate(first_asked)
    )  # what belongs together stays together


def test_the_key_is_sent_and_told_to_nobody(proxy, open_openai, replies, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("MY_KEY", "sk-very-secret")
    proxy.fault = lambda number, body: "error" if number == 0 else ""
    with open_llm("openai:tiny", tmp_path / "store", proxy.url, ["api_key_env=MY_KEY", "retries=1"]) as llm:
        assert next(iter(llm.ask([Request(PROMPT)]))).error is None
    assert {one.authorization for one in proxy.seen} == {"Bearer sk-very-secret"}
    written = "".join(file.read_text() for file in Path(tmp_path).rglob("*") if file.is_file())
    assert "secret" not in written + "".join(capsys.readouterr())
    monkeypatch.delenv("MY_KEY")
    with pytest.raises(GradirError, match="MY_KEY: this environment variable is not set"):
        open_openai(proxy.url, api_key_env="MY_KEY")


def test_errors_at_the_start(server, open_openai, tmp_path):
    with pytest.raises(GradirError, match=r"does not serve 'tinny', did you mean 'tiny'\?"):
        open_openai(server.url, model="tinny")
    with pytest.raises(
        GradirError, match=r"127.0.0.1:9/v1 does not answer: no connection.*vllm serve tiny --port 8000"
    ):
        open_openai("http://127.0.0.1:9/v1")
    with pytest.raises(GradirError, match="does the URL lack /v1"):
        open_openai(server.host)
    with pytest.raises(
        GradirError, match=r"unknown option 'retris', did you mean 'retries'\?.*concurrency=many is not a whole"
    ):
        open_llm("openai:tiny", tmp_path / "store", server.url, ["retris=3", "concurrency=many"])
