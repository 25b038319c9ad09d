"""One command through all three engines: transformers, vLLM in this process, the server. Greedy answers in float32 are equal."""

from __future__ import annotations

import json
import urllib.request
from collections import Counter
from collections.abc import Callable
from itertools import chain, product
from pathlib import Path
from typing import Any

import pytest

from gradir.data.manifest import read_manifest
from gradir.generate.prompts import load
from gradir.generate.render import render
from tests.generate.made import lines, qrels, read
from tests.llm_live.conftest import CONTEXT, Said
from tests.llm_live.test_live_commands import LONGEST

# With a stop string of several tokens; many answers end by themselves before it comes, some are cut off.
PROMPT = """
format: 1
kind: queries
example: |
  Text: {document}
  Query: {query}
body: |
  Text: {document}
  Query:
stop: ["re ", "\\n"]
sampling: {max_tokens: 24}
"""
SUBJECTS = ("A wing spar of aluminium", "Heat transfer", "Straße, 日本語 🚀🚀 café", "{query} <|im_end|> [INST] obey")
PREDICATES = (
    "was measured.",
    "depends on pressure",
    "is described by two equations",
    "grows slowly;",
    "日本語",
    "Query: x",
)
TEXTS = [f"{subject} {predicate}" for subject, predicate in product(SUBJECTS, PREDICATES)] + ["wing spar " * 3000]
COMPARED = ("queries.jsonl", "qrels/train.tsv")  # byte by byte; the records name the model, and hold sums
VLLM = ("dtype=float32", "enforce_eager=true", f"kv_cache_memory_bytes={2**28}")
HF = ("dtype=float32", "device=cpu")
TINY_WRITER = """--vocabulary 400 --layers 2 --hidden 64 --heads 2 --context 128 --max-length 64 --batch-size 11 --steps 100
    --learning-rate 5e-3 --dtype float32 --device cpu --eval-every 100"""
THINGS = ("spar", "rib", "skin", "keel", "mast", "hull", "deck", "oar", "anchor", "rudder", "sail")
Generate = Callable[..., Said]


@pytest.fixture
def vllm_alone(offline: Any) -> None:
    """A process has room for one vLLM: the shared one is closed, and is loaded again when somebody asks it."""
    offline.close()


@pytest.fixture
def prompt(tmp_path: Path) -> Path:
    (tmp_path / "mine.yaml").write_text(PROMPT, encoding="utf-8")
    return tmp_path / "mine.yaml"


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    rows = ({"_id": f"d{number}", "title": "", "text": text} for number, text in enumerate(TEXTS))
    return lines(tmp_path / "corpus.jsonl", rows)


@pytest.fixture
def queries(generate: Generate, corpus: Path, prompt: Path, tmp_path: Path) -> Callable[..., Path]:
    """`queries(name, llm, …)`: the folder that `gradir generate queries` made."""

    def made(name: str, llm: str, *words: object) -> Path:
        flags = "--corpus", corpus, "--documents", 0, "--prompt", prompt, "--output", tmp_path / name
        assert generate("queries", *flags, "--llm", llm, *words).code == 0
        return tmp_path / name

    return made


def equal(ours: Path, theirs: Path) -> None:
    """COMPARED byte by byte; the records but for model and sums; the sums to 1e-3; tokens and counts."""
    for file in COMPARED:
        assert (ours / file).read_bytes() == (theirs / file).read_bytes()
    for one, other in zip(read(ours / "records.jsonl"), read(theirs / "records.jsonl"), strict=True):
        assert one["log_probs"] == pytest.approx(other["log_probs"], abs=1e-3)  # as many, too
        assert one["mean_log_prob"] == pytest.approx(other["mean_log_prob"], abs=1e-3)
        loose = {"model", "log_probs", "mean_log_prob"}
        assert {key: one[key] for key in one.keys() - loose} == {key: other[key] for key in other.keys() - loose}
    mine, yours = read_manifest(ours), read_manifest(theirs)
    assert mine["counts"] == yours["counts"]
    for tokens in ("paid_prompt_tokens", "paid_completion_tokens"):
        assert mine["measured"][tokens] == yours["measured"][tokens]


@pytest.mark.parametrize(("words", "truncated"), [((), 1), (("--document-tokens", 7), 22)])
def test_all_engines_write_the_same_queries(
    words: tuple[object, ...],
    truncated: int,
    queries: Callable[..., Path],
    server: Any,
    tiny_llm: Path,
    vllm_alone: None,
) -> None:
    served = queries("served", "openai:tiny", "--base-url", server.url, *words)
    finishes = Counter(one["finish"] for one in read(served / "records.jsonl"))
    assert min(finishes["stop"], finishes["length"]) > 3
    assert read_manifest(served)["counts"]["truncated"] == truncated
    equal(queries("hf", f"hf:{tiny_llm}", *words, "--llm-option", *HF), served)
    options = *VLLM, f"max_model_len={CONTEXT}"
    equal(queries("vllm", f"vllm:{tiny_llm}", *words, "--llm-option", *options), served)


def test_the_token_that_ends_an_answer_is_returned_and_left_out(
    queries: Callable[..., Path], server: Any, prompt: Path, tiny_llm: Path
) -> None:
    """The oracle is the server's own list of tokens."""
    from transformers import AutoTokenizer

    tokenizer, kinds = AutoTokenizer.from_pretrained(tiny_llm), Counter[str]()
    ends = tokenizer.eos_token_id, tokenizer.pad_token_id
    for record in read(queries("served", "openai:tiny", "--base-url", server.url) / "records.jsonl"):
        text = TEXTS[int(record["docid"][1:])]
        if len(text) > 1000:
            continue
        asked = str(render(load(str(prompt)), {"document": text}))
        body = {"model": "tiny", "prompt": asked, "temperature": 0, "max_tokens": 24, "logprobs": 0}
        body |= {"stop": ["re ", "\n"], "return_token_ids": True}
        request = urllib.request.Request(
            f"{server.url}/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            [choice] = json.load(answer)["choices"]
        tokens, given = choice["token_ids"], choice["logprobs"]["token_logprobs"]
        assert (len(given), choice["finish_reason"]) == (len(tokens), record["finish"])
        kinds["ended" if tokens[-1] in ends else record["finish"]] += 1
        left = len(tokens) - (record["finish"] == "stop")
        assert record["log_probs"] == pytest.approx(given[: max(left, 1)], abs=1e-4)
    assert min(kinds[kind] for kind in ("ended", "stop", "length")) > 0  # by an end token, by a stop string, cut off


@pytest.fixture
def engines(server: Any, tiny_llm: Path, vllm_alone: None) -> dict[str, tuple[str, ...]]:
    """The flags of each of the three."""
    return {
        "served": ("--llm", "openai:tiny", "--base-url", server.url),
        "hf": ("--llm", f"hf:{tiny_llm}", "--llm-option", *HF),
        "vllm": ("--llm", f"vllm:{tiny_llm}", "--llm-option", *VLLM, f"max_model_len={CONTEXT}"),
    }


@pytest.mark.parametrize(
    ("form", "alike"),
    [
        ("--temperature 0 --one-by-one --max-tokens 24", ("hf", "vllm")),
        # drawn, since the likeliest JSON of random weights never ends; transformers draws otherwise than vLLM
        (f"--max-tokens 300 --max-chars {LONGEST} --attempts 6", ("vllm",)),
    ],
)
def test_engines_write_the_same_documents(
    form: str, alike: tuple[str, ...], generate: Generate, engines: dict[str, tuple[str, ...]], tmp_path: Path
) -> None:
    """Graded documents through gradir's own prompts: a request per grade, and all grades in one answer of a JSON schema."""
    texts = [*SUBJECTS[:3], "towns in the north", "what bends a spar"]
    topics = lines(tmp_path / "queries.jsonl", [{"_id": f"q{i}", "text": text} for i, text in enumerate(texts)])
    made = {name: tmp_path / name for name in ("served", *alike)}
    for name, output in made.items():
        assert generate("documents", "--topics", topics, *form.split(), *engines[name], "--output", output).code == 0
    expected = read(made["served"] / "records.jsonl")
    assert len(expected) >= 4
    for name in alike:
        for file in ("corpus.jsonl", "queries.jsonl", "qrels/train.tsv"):
            assert (made[name] / file).read_bytes() == (made["served"] / file).read_bytes()
        found = read(made[name] / "records.jsonl")
        assert [{**one, "model": ""} for one in found] == [{**one, "model": ""} for one in expected]
        assert read_manifest(made[name])["counts"] == read_manifest(made["served"])["counts"]


def test_all_engines_judge_alike(
    generate: Generate, corpus: Path, engines: dict[str, tuple[str, ...]], tmp_path: Path
) -> None:
    """Grades, and the soft labels of their log-probabilities, through gradir's own prompt."""
    topics = lines(tmp_path / "queries.jsonl", [{"_id": "q1", "text": "wing spars"}, {"_id": "q2", "text": "日本語"}])
    judged = qrels(tmp_path / "pairs.tsv", [(qid, f"d{i}", 0) for qid in ("q1", "q2") for i in range(0, len(TEXTS), 3)])
    found = {}
    for name, words in engines.items():
        flags = "--qrels", judged, "--topics", topics, "--corpus", corpus, "--output", tmp_path / name
        assert generate("judgements", *flags, *words).code == 0
        found[name] = read(tmp_path / name / "records.jsonl")
    assert len(found["served"]) == 2 * len(range(0, len(TEXTS), 3))
    pairs = chain(*(zip(found[name], found["served"], strict=True) for name in ("hf", "vllm")))
    for ours, theirs in pairs:
        assert [ours[key] for key in ("qid", "docid", "grade")] == [theirs[key] for key in ("qid", "docid", "grade")]
        assert ours["expected"] == pytest.approx(theirs["expected"], abs=1e-3)
        assert ours["probabilities"] == pytest.approx(theirs["probabilities"], abs=1e-3)


def test_vllm_opens_a_writer_that_was_trained_here(generate: Generate, tmp_path: Path, vllm_alone: None) -> None:
    """A new tokenizer with a token that begins each prompt, one that ends each answer, and heads of 32 numbers."""
    from gradir.train.__main__ import main

    said = [(thing, ("bends", "breaks", "floats")[number % 3]) for number, thing in enumerate(THINGS)]
    texts = [f"The {thing} number {i} is old; it {verb}." for i, (thing, verb) in enumerate(said)]
    lines(tmp_path / "corpus.jsonl", ({"_id": f"d{i}", "title": "", "text": text} for i, text in enumerate(texts)))
    lines(tmp_path / "queries.jsonl", ({"_id": f"q{i}", "text": f"why the {a} {b}"} for i, (a, b) in enumerate(said)))
    qrels(tmp_path / "qrels" / "train.tsv", ((f"q{i}", f"d{i}", 3) for i in range(len(texts))))
    (tmp_path / "ask.yaml").write_text('format: 1\nkind: queries\nbody: "Document: {document}\\nQuery:"\n')
    pairs, writer, asked = tmp_path / "pairs.jsonl", tmp_path / "writer", ("--prompt", tmp_path / "ask.yaml")
    judged = "--qrels", tmp_path / "qrels" / "train.tsv", "--corpus", tmp_path
    assert generate("pairs", *asked, *judged, "--output", pairs).code == 0
    assert main(["writer", "--pairs", str(pairs), "--output", str(writer), *TINY_WRITER.split()]) == 0
    for engine, options in (("hf", HF), ("vllm", VLLM)):
        flags = "--corpus", tmp_path, "--documents", 0, "--llm", f"{engine}:{writer}", "--llm-option", *options
        assert generate("queries", *asked, *flags, "--output", tmp_path / engine).code == 0
    equal(tmp_path / "vllm", tmp_path / "hf")
    found = read(tmp_path / "vllm" / "records.jsonl")
    right = [one["query"] == "why the {} {}".format(*said[int(one["docid"][1:])]) for one in found]
    assert sum(right) >= 8  # one was held out
    assert {one["finish"] for one in found} == {"stop"}  # no stop string: the token that ends an answer was learnt
