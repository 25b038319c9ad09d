"""The transformers engine against slow and simple forward passes of the same model."""

from __future__ import annotations

import json
import math
import re
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from gradir.errors import MissingDependency
from gradir.llm.records import Choice, Message, Reply, Request, Sampling

Opened = Callable[..., Any]
PROMPTS = [
    "The wing",
    "The boundary layer depends on",
    "x",
    "grade 0 1 2",
    "Straße 日本語 🚀",
    "The query:\nThe document:",
]


@pytest.fixture(scope="module")
def engine(open_hf: Opened) -> Any:
    return open_hf()


def _answers(engine: Any, requests: Sequence[Request]) -> list[Reply]:
    placed = dict(pair for group in engine.run(requests) for pair in group)
    assert sorted(placed) == list(range(len(requests)))
    return [placed[i] for i in range(len(requests))]


def _choice(engine: Any, prompt: Any, **sampling: Any) -> Choice:
    (reply,) = _answers(engine, [Request(prompt, Sampling(**sampling))])
    assert reply.error is None
    assert len(reply.choices) == 1
    return reply.choices[0]


def _logits(engine: Any, ids: Sequence[int]) -> torch.Tensor:
    """Of the next token, in float64, without a cache, without padding."""
    with torch.inference_mode():
        model = engine._model.double()
        try:
            logits: torch.Tensor = model(torch.tensor([list(ids)]), use_cache=False).logits[0, -1]
            return logits
        finally:
            engine._model.float()


def _greedy(engine: Any, prompt: Any, length: int) -> tuple[list[int], list[float]]:
    ids = engine._tokenizer.prompt_ids(prompt)
    drawn, values = [], []
    for _ in range(length):
        logits = _logits(engine, ids + drawn)
        drawn.append(int(logits.argmax()))
        values.append(float(logits.log_softmax(-1).max()))
        if drawn[-1] in engine._stops:
            break
    return drawn, values


def test_greedy_answers_and_their_log_probabilities(engine: Any) -> None:
    requests = [Request(prompt, Sampling(max_tokens=12, logprobs=0)) for prompt in PROMPTS]
    for prompt, reply in zip(PROMPTS, _answers(engine, requests), strict=True):
        drawn, values = _greedy(engine, prompt, 12)
        (choice,) = reply.choices
        assert choice.text == engine._tokenizer.decode(drawn)
        assert choice.logprobs == pytest.approx(values, abs=1e-4)
        assert choice.top is None
        assert reply.usage == (len(engine._tokenizer.prompt_ids(prompt)), 0, len(drawn))


def test_likeliest_tokens_are_those_of_the_model_before_temperature(engine: Any) -> None:
    sampling = {"max_tokens": 5, "logprobs": 4, "temperature": 0.3, "top_k": 2, "seed": 1}
    choice = _choice(engine, "The wing", **sampling)
    assert choice.top is not None
    logprobs = _logits(engine, engine._tokenizer.prompt_ids("The wing")).log_softmax(-1)
    best = logprobs.topk(4)
    texts = [engine._tokenizer.token(int(token)) for token in best.indices]
    want = {text: value for text, value in zip(texts, best.values.tolist(), strict=True) if "\ufffd" not in text}
    assert len(want) > 1
    assert choice.top[0] == pytest.approx(want, abs=1e-4)
    assert list(choice.top[0].values()) == sorted(choice.top[0].values(), reverse=True)
    assert choice.logprobs is not None
    assert choice.logprobs[0] == pytest.approx(float(best.values[0]), abs=1e-4) or choice.logprobs[0] == pytest.approx(
        float(best.values[1]), abs=1e-4
    )


def test_a_request_is_answered_alike_alone_and_in_any_batch(engine: Any, open_hf: Opened) -> None:
    kinds = [
        Sampling(max_tokens=14, logprobs=2),
        Sampling(max_tokens=9, temperature=1.0, seed=5, logprobs=0),
        Sampling(max_tokens=20, temperature=0.7, top_p=0.8, top_k=50, seed=6, n=3),
        Sampling(max_tokens=14, temperature=1.5, seed=7, stop=("a", "\n")),
        Sampling(max_tokens=6, temperature=1.0, seed=8, choice=("good", "great", "bad")),
    ]
    requests = [Request(prompt, kind) for prompt in PROMPTS for kind in kinds]
    together, pairs = (_answers(one, requests) for one in (engine, open_hf(batch_size=3)))
    alone = [_answers(engine, [request])[0] for request in requests]
    for a, b, c in zip(together, pairs, alone, strict=True):
        assert [one.text for one in a.choices] == [one.text for one in b.choices] == [one.text for one in c.choices]
        assert a.usage == b.usage == c.usage
        for one, other in zip(a.choices, c.choices, strict=True):
            assert (one.logprobs or ()) == pytest.approx(other.logprobs or (), abs=1e-4)


def test_choice_i_is_drawn_as_a_request_with_seed_plus_i(engine: Any) -> None:
    sampling = Sampling(max_tokens=10, temperature=1.0, seed=40, n=4, logprobs=0)
    (reply,) = _answers(engine, [Request("The wing", sampling)])
    single = [Request("The wing", replace(sampling, seed=40 + i, n=1)) for i in range(4)]
    each = _answers(engine, single)
    assert [choice.text for choice in reply.choices] == [one.choices[0].text for one in each]
    assert len({choice.text for choice in reply.choices}) == 4
    assert reply.usage.prompt == each[0].usage.prompt
    assert reply.usage.completion == sum(one.usage.completion for one in each)


def test_several_answers_at_temperature_zero_are_one(engine: Any) -> None:
    (reply,) = _answers(engine, [Request("The wing", Sampling(max_tokens=3, n=3))])
    assert len(reply.choices) == 3
    assert len(set(choice.text for choice in reply.choices)) == 1
    assert reply.usage.completion == 3


@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p"), [(1.0, 0, 1.0), (0.5, 0, 1.0), (1.0, 7, 1.0), (1.0, 0, 0.6), (0.8, 9, 0.7)]
)
def test_tokens_are_drawn_from_the_right_distribution(
    open_hf: Opened, temperature: float, top_k: int, top_p: float
) -> None:
    """2,000 first tokens against probabilities worked out with sorted lists, by the chi-square test (p > .001)."""
    engine = open_hf(batch_size=2000)
    sampling = Sampling(max_tokens=1, temperature=temperature, top_k=top_k, top_p=top_p, seed=1, n=2000, logprobs=0)
    (reply,) = _answers(engine, [Request("The wing", sampling)])
    logits = _logits(engine, engine._tokenizer.prompt_ids("The wing"))
    likely = _expected(logits.tolist(), temperature, top_k, top_p)
    # a token is known by its log-probability, which is that of the model
    plain = logits.log_softmax(-1).tolist()
    by_value = sorted((value, token) for token, value in enumerate(plain))
    drawn = Counter(min(by_value, key=lambda one: abs(one[0] - choice.logprobs[0]))[1] for choice in reply.choices)
    assert set(drawn) <= set(likely)
    square, classes, rest, rest_drawn = 0.0, 0, 0.0, 0
    for token, probability in likely.items():
        if probability * 2000 < 5:
            rest, rest_drawn = rest + probability, rest_drawn + drawn[token]
            continue
        square += (drawn[token] - 2000 * probability) ** 2 / (2000 * probability)
        classes += 1
    if rest * 2000 >= 5:
        square, classes = square + (rest_drawn - 2000 * rest) ** 2 / (2000 * rest), classes + 1
    from scipy.stats import chi2

    assert classes > 1
    assert chi2.sf(square, classes - 1) > 0.001


def _expected(logits: list[float], temperature: float, top_k: int, top_p: float) -> dict[int, float]:
    ranked = sorted(range(len(logits)), key=lambda token: -logits[token])[: top_k or None]
    weights = [math.exp((logits[token] - max(logits)) / temperature) for token in ranked]
    total, kept, held = sum(weights), {}, 0.0
    for token, weight in zip(ranked, weights, strict=True):
        if held >= top_p:
            break
        kept[token] = weight
        held += weight / total
    return {token: weight / sum(kept.values()) for token, weight in kept.items()}


def test_stop_strings(engine: Any) -> None:
    """Every string that occurs in a long answer ends it where it occurs first."""
    whole = _choice(engine, "The wing", max_tokens=40, temperature=1.0, seed=2)
    text = whole.text
    parts = re.findall(r"[^\ufffd]{1,4}", text)
    assert len(parts) > 5
    for stop in parts:
        choice = _choice(
            engine, "The wing", max_tokens=40, temperature=1.0, seed=2, stop=("never there", stop), logprobs=0
        )
        assert choice.text == text[: text.index(stop)]
        assert choice.finish == "stop"
        assert choice.logprobs is not None
        assert len(choice.logprobs) < 40


def test_the_first_of_several_stop_strings_counts(engine: Any) -> None:
    text = _choice(engine, "The wing", max_tokens=40, temperature=1.0, seed=2).text
    parts = re.findall(r"[^\ufffd]{2}", text)
    for stop in ((parts[-1], parts[2]), (parts[2], parts[-1]), (parts[2], parts[2] + "x")):
        choice = _choice(engine, "The wing", max_tokens=40, temperature=1.0, seed=2, stop=stop)
        assert choice.text == text[: min(text.index(one) for one in stop if one in text)]


def test_an_end_token_ends_an_answer_and_is_no_text(engine: Any) -> None:
    sampling = Sampling(max_tokens=60, temperature=1.3, logprobs=0)
    replies = _answers(engine, [Request("The wing", replace(sampling, seed=seed)) for seed in range(48)])
    ended = [reply for reply in replies if reply.choices[0].finish == "stop"]
    cut = [reply for reply in replies if reply.choices[0].finish == "length"]
    assert len(ended) > 3
    assert len(cut) > 3
    assert all("<|" not in reply.choices[0].text for reply in ended)
    assert all(reply.usage.completion == 60 for reply in cut)
    assert all(reply.usage.completion == len(reply.choices[0].logprobs or ()) for reply in replies)


def test_the_models_own_sampling_defaults_do_not_count(tiny_llm: Path, tmp_path: Path, engine: Any) -> None:
    from gradir.llm.hf_engine import open_engine

    folder = Path(shutil.copytree(tiny_llm, tmp_path / "other"))
    settings = json.loads((folder / "generation_config.json").read_text())
    settings |= {"repetition_penalty": 5.0, "temperature": 0.1, "top_k": 1, "do_sample": True, "max_length": 5}
    (folder / "generation_config.json").write_text(json.dumps(settings))
    other = open_engine(str(folder), None, {"dtype": "float32", "device": "cpu"})
    for sampling in ({"max_tokens": 20}, {"max_tokens": 20, "temperature": 1.0, "seed": 1}):
        assert _choice(other, "The wing", **sampling) == _choice(engine, "The wing", **sampling)


def test_a_chat_is_its_template_continued(engine: Any) -> None:
    chat = (Message("user", "What is a wing spar?"),)
    text = engine._tokenizer.chat(chat)
    assert _choice(engine, chat, max_tokens=10) == _choice(engine, text, max_tokens=10)


def test_a_chat_without_a_template_ends_the_run(tiny_llm: Path, tmp_path: Path, raises_error: Opened) -> None:
    from gradir.llm.hf_engine import open_engine

    folder = Path(shutil.copytree(tiny_llm, tmp_path / "base"))
    (folder / "chat_template.jinja").unlink()
    with raises_error("no chat template"):
        list(open_engine(str(folder), None, {"device": "cpu"}).run([Request((Message("user", "hi"),))]))


def test_answers_never_end_in_a_piece_of_a_character(engine: Any) -> None:
    requests = [Request("日本", Sampling(max_tokens=length, temperature=1.0, seed=9)) for length in range(1, 30)]
    texts = [reply.choices[0].text for reply in _answers(engine, requests)]
    assert not any(text.endswith("\ufffd") for text in texts)
    assert all(one.startswith(two) for one, two in zip(texts[1:], texts, strict=False))


def test_prompts_that_do_not_fit(engine: Any) -> None:
    word = " wing"
    assert engine.count(word * 511) == 511
    requests = [Request(word * count, Sampling(max_tokens=5)) for count in (600, 512, 511, 509, 3)] + [Request("")]
    long, full, one, three, short, empty = _answers(engine, requests)
    assert long.error == "the prompt has 600 tokens, the context 512"
    assert full.error == "the prompt has 512 tokens, the context 512"
    assert empty.error == "the prompt is empty"
    assert [reply.usage.completion for reply in (one, three, short)] == [1, 3, 5]
    assert one.choices[0].finish == three.choices[0].finish == "length"


def test_json_of_a_schema(engine: Any) -> None:
    from jsonschema import validate

    schema = {
        "type": "object",
        "properties": {
            "grade": {"type": "integer", "minimum": 0, "maximum": 3},
            "text": {"type": "string", "maxLength": 10},
            "kind": {"enum": ["a", "b"]},
        },
        "required": ["grade", "text", "kind"],
        "additionalProperties": False,
    }
    sampling = Sampling(max_tokens=200, temperature=1.0, json_schema=json.dumps(schema))
    requests = [Request(prompt, replace(sampling, seed=seed)) for prompt in PROMPTS for seed in range(3)]
    for reply in _answers(engine, requests):
        assert reply.choices[0].finish == "stop"
        value = json.loads(reply.choices[0].text, strict=False)
        # xgrammar takes half a surrogate pair, which is three bytes that are no UTF-8, for a character
        value["text"] = re.sub("\ufffd+", "", value["text"])
        validate(value, schema)


def test_log_probabilities_under_a_choice_are_those_of_what_is_allowed(engine: Any) -> None:
    choice = _choice(engine, "The grade is", max_tokens=5, choice=("0", "1", "2", "3"), logprobs=20)
    assert choice.top is not None
    tokens = {str(grade): engine._tokenizer.backend.convert_tokens_to_ids(str(grade)) for grade in range(4)}
    logits = _logits(engine, engine._tokenizer.prompt_ids("The grade is"))
    likely = logits[list(tokens.values())].log_softmax(-1).tolist()
    assert choice.top[0] == pytest.approx(dict(zip(tokens, likely, strict=True)), abs=1e-4)
    assert choice.text == max(choice.top[0], key=lambda text: choice.top[0][text])  # type: ignore[index]
    assert choice.finish == "stop"


@pytest.mark.parametrize("choices", [('"', "\\", "\n"), ("日本", "日本語", "🚀"), ("a b", "a\tb"), ("only",)])
def test_choices_of_any_characters(engine: Any, choices: tuple[str, ...]) -> None:
    drawn = {_choice(engine, "x", max_tokens=30, temperature=3.0, seed=s, choice=choices).text for s in range(12)}
    assert drawn <= set(choices)
    assert len(drawn) > 1 or len(choices) == 1


def test_a_schema_that_is_none_is_an_error_of_its_request(engine: Any) -> None:
    requests = [
        Request("a", Sampling(json_schema='{"type": "foo"}')),
        Request("a", Sampling(json_schema="{")),
        Request("a", Sampling(max_tokens=2)),
    ]
    wrong, broken, good = _answers(engine, requests)
    assert wrong.error is not None
    assert "foo" in wrong.error
    assert "/project" not in wrong.error  # nothing of xgrammar's own sources, and no time of the day
    assert broken.error is not None
    assert good.error is None


def test_without_xgrammar(open_hf: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "xgrammar", None)
    plain = open_hf()
    assert _choice(plain, "a", max_tokens=2).text is not None
    with pytest.raises(MissingDependency, match=r"gradir\[structured\]"):
        _choice(plain, "a", choice=("a", "b"))


def test_a_resumed_run_makes_the_same_blocks(open_hf: Opened) -> None:
    """After any number of whole blocks the rest is answered byte by byte as it would have been."""
    engine = open_hf(batch_size=4)
    requests = [
        Request(
            f"The wing {'spar ' * (i * 7 % 5)}{i}",
            Sampling(max_tokens=6, temperature=1.0, seed=i, n=1 + i % 2, logprobs=3),
        )
        for i in range(17)
    ] + [Request("x " * 600), Request("a", Sampling(json_schema="{"))]
    groups = list(engine.run(requests))
    placed = dict(pair for group in groups for pair in group)
    for done in range(1, len(groups)):
        stored = {place for group in groups[:done] for place, reply in group if reply.error is None}
        left = [place for place in range(len(requests)) if place not in stored]
        again = {left[place]: reply for group in engine.run([requests[i] for i in left]) for place, reply in group}
        assert again == {place: placed[place] for place in left}  # floats and all


def test_batches_hold_at_most_so_many_answers(open_hf: Opened) -> None:
    requests = [
        Request("The wing", Sampling(max_tokens=1, temperature=1.0, seed=i, n=n)) for i, n in enumerate((1, 3, 2, 9, 4))
    ]
    groups = list(open_hf(batch_size=4).run(requests))
    assert [[requests[place].sampling.n for place, _ in group] for group in groups] == [[1, 3], [2], [9], [4]]


def test_weights_are_loaded_when_something_is_asked(open_hf: Opened) -> None:
    engine = open_hf()
    assert engine.count("The wing") == 2
    assert engine.context == 512
    assert engine._model is None
    _choice(engine, "a", max_tokens=1)
    engine.close()
    assert engine._model is None
    assert _choice(engine, "a", max_tokens=1).text is not None


def test_a_model_that_cannot_be_loaded(tiny_llm: Path, tmp_path: Path, raises_error: Opened) -> None:
    from gradir.llm.hf_engine import open_engine

    with raises_error("no/such-model", "tokenizer cannot be loaded"):
        open_engine("no/such-model", None, {})
    folder = Path(shutil.copytree(tiny_llm, tmp_path / "torn"))
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with raises_error(str(folder), "cannot be loaded"):
        list(open_engine(str(folder), None, {"device": "cpu"}).run([Request("a")]))
    with raises_error("device", "abacus"):
        list(open_engine(str(tiny_llm), None, {"device": "abacus"}).run([Request("a")]))
    with raises_error("float12"):
        list(open_engine(str(tiny_llm), None, {"dtype": "float12"}).run([Request("a")]))
