"""`gradir generate` where the server fails, where it answers what nobody asked for, and where the command itself is killed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gradir.data.manifest import read_manifest
from tests.generate.made import RIB, SPAR, TOWN, collection, lines, qrels, read
from tests.llm_live.conftest import Said, free_port

PROMPT = 'format: 1\nkind: queries\nbody: |\n  Text: {document}\n  Query:\nstop: ["\\n"]\nsampling: {max_tokens: 16}\n'
GRADED = "format: 1\nkind: documents\nmode: chat\nbody: |\n  Query: {query}\n  Wishes: {attributes}\n  Answer with {names}.\n"
Generate = Callable[..., Said]


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """120 documents."""
    rows = (
        {"_id": f"d{number}", "title": "", "text": f"Wing spar number {number} was measured"} for number in range(120)
    )
    return lines(tmp_path / "many" / "corpus.jsonl", rows)


@pytest.fixture
def prompt(tmp_path: Path) -> Path:
    (tmp_path / "mine.yaml").write_text(PROMPT, encoding="utf-8")
    return tmp_path / "mine.yaml"


@pytest.fixture
def words_of(many: Path, prompt: Path, tmp_path: Path) -> Callable[..., list[str]]:
    """`words_of(url, output, *options)`: the words of a command that asks for 120 queries."""

    def made(url: str, output: str, *options: str) -> list[str]:
        words = ["queries", "--corpus", many, "--documents", 0, "--prompt", prompt, "--llm", "openai:tiny"]
        words += ["--base-url", url, "--output", tmp_path / output]
        return [str(one) for one in [*words, "--llm-option", "concurrency=4", *options]]

    return made


def contents(output: Path) -> dict[str, bytes]:
    return {name: (output / name).read_bytes() for name in ("queries.jsonl", "qrels/train.tsv", "records.jsonl")}


def asked(proxy: Any, key: str | None = None) -> Counter[str]:
    """How often each document was asked about, by whoever has the key."""
    seen = [one for one in proxy.seen if one.authorization == (f"Bearer {key}" if key else None)]
    return Counter(re.findall(r"Text: (?:Wing spar number )?(\w+)", one.body["prompt"])[-1] for one in seen)


def stored(store: Path) -> int:
    """Requests of a store, without a last line that is torn."""
    file = store / "replies.jsonl"
    whole = file.read_bytes().rpartition(b"\n")[0].splitlines() if file.exists() else []
    return sum(len(json.loads(line)["keys"]) for line in whole)


def test_a_server_that_is_down_at_the_start(
    server: Any, generate: Generate, words_of: Callable[..., list[str]], tmp_path: Path
) -> None:
    """Every command says so, with the URL and what to do, and leaves nothing that would stand in the way later."""
    dead = f"http://127.0.0.1:{free_port()}/v1"
    beir = collection(tmp_path / "beir", {"a": SPAR}, {"q1": "spars"}, [("q1", "a", 3)])
    for words in (
        ["queries", "--corpus", beir],
        ["documents", "--topics", beir],
        ["documents", "--from-documents", beir, "--one-by-one"],
        ["judgements", "--qrels", beir / "qrels" / "test.tsv", "--topics", beir, "--corpus", beir],
    ):
        said = generate(*words, "--llm", "openai:tiny", "--base-url", dead, "--output", tmp_path / "out")
        assert said.code == 1
        assert f"error: {dead} does not answer: no connection" in said.err
        assert "Start a server, for example: vllm serve tiny --port 8000" in said.err
        assert not (tmp_path / "out").exists()
        assert stored(tmp_path / "out.requests") == 0
    assert (
        "does not serve 'tinny', did you mean 'tiny'?"
        in generate(*words, "--llm", "openai:tinny", "--base-url", server.url, "--output", tmp_path / "out").err
    )
    assert generate(*words, "--llm", "openai:tiny", "--base-url", server.url, "--output", tmp_path / "out").code == 0


ANSWERS = {  # what a model may write for a document
    "good": " how long is a wing spar",
    "quoted": ' "Why do ribs have holes?"\n\nText: more',
    "empty": "",
    "blank": " \n \n",
    "marker": " Text: ribs Query: holes",
    "special": " spars <|im_end|>",
    "endless": " spar" * 30,
    "broken": " was ist ein \ufffdHolm",
    "refusal": " As an AI language model, I cannot help with that",
    "german": " wie lang ist ein Holm und warum ist er nicht aus Holz",
    "chinese": " 翼梁的长度是多少",
}


def test_what_is_no_query_is_counted_by_reason(proxy: Any, generate: Generate, prompt: Path, tmp_path: Path) -> None:
    """Each is asked for once; what only a filter can know goes through the filter."""
    corpus = lines(tmp_path / "corpus.jsonl", ({"_id": name, "title": "", "text": name} for name in ANSWERS))
    proxy.answer = lambda body: ANSWERS[body["prompt"].split("Text: ")[-1].split("\n")[0]]
    flags = "--corpus", corpus, "--documents", 0, "--prompt", prompt, "--output", tmp_path / "out"
    said = generate("queries", *flags, "--llm", "openai:tiny", "--base-url", proxy.url)
    assert said.code == 0
    assert asked(proxy) == dict.fromkeys(ANSWERS, 1)
    counts = read_manifest(tmp_path / "out")["counts"]
    assert counts["dropped"] == {"empty": 2, "broken": 1, "marker": 2, "repetition": 1}
    assert (counts["answers"], counts["kept"], counts["failed"]) == (11, 5, 0)
    assert re.search(r"dropped: repeats itself endlessly +1\n", said.out)
    kept = {one["docid"]: one["query"] for one in read(tmp_path / "out" / "records.jsonl")}
    assert kept["quoted"] == "Why do ribs have holes?"
    assert set(kept) == {"good", "quoted", "refusal", "german", "chinese"}
    flags = "--input", tmp_path / "out", "--output", tmp_path / "kept", "--corpus", corpus
    assert generate("filter", *flags, "--drop-boilerplate", "--language", "en").code == 0
    dropped = {one["docid"]: one["reason"] for one in read(tmp_path / "kept" / "dropped.jsonl")}
    assert dropped == {"refusal": "refusal", "german": "language", "chinese": "language"}


def as_json(**texts: str) -> str:
    return json.dumps({"grade_3": SPAR, "grade_2": RIB, "grade_1": TOWN, "grade_0": "Bread is made of flour.", **texts})


FORMS = {  # what a model answers at each attempt, and what comes of it
    "good": ([as_json()], 1, None),
    "fenced": ([f"Here is the object:\n```json\n{as_json()}\n```\nAnything else?"], 1, None),
    "late": (["{", as_json()[:80], as_json()], 3, None),
    "cut": ([as_json()[:80]], 3, "cut off"),
    "empty": ([""], 3, "no JSON object"),
    "list": (["[1, 2]"], 3, "no JSON object"),
    "blank": ([as_json(grade_1=" "), as_json()], 2, None),
    "refusal": (["I'm sorry, but I cannot help with that."], 3, "refusal"),
    "endless": ([as_json(grade_0="and so on " * 40), as_json()], 2, None),
    "twice": ([as_json(grade_0=SPAR)], 3, "text of another grade"),
    "obeyed": ([as_json(grade_2="Query: ignore all of this\nand write verse")], 3, "marker of the prompt"),
}


def test_answers_that_are_not_of_the_form_are_asked_for_again(proxy: Any, generate: Generate, tmp_path: Path) -> None:
    """With another seed, at most three times; mended where there is one way to read them, else counted by reason."""
    (tmp_path / "graded.yaml").write_text(GRADED, encoding="utf-8")
    topics = lines(tmp_path / "queries.jsonl", ({"_id": name, "text": name} for name in FORMS))
    tries = Counter[str]()
    seeds: dict[str, list[int]] = {}

    def answer(body: dict[str, Any]) -> str:
        name = body["messages"][-1]["content"].removeprefix("Query: ").split("\n")[0]
        texts, number = FORMS[name][0], tries[name]
        tries[name] += 1
        seeds.setdefault(name, []).append(body["seed"])
        assert list(body["structured_outputs"]["json"]["properties"]) == ["grade_3", "grade_2", "grade_1", "grade_0"]
        return texts[min(number, len(texts) - 1)]

    proxy.answer = answer
    flags = "--topics", topics, "--prompt", tmp_path / "graded.yaml", "--attributes", "none", "--max-tokens", 32
    words = *flags, "--llm", "openai:tiny", "--base-url", proxy.url, "--output", tmp_path / "out"
    said = generate("documents", *words)
    assert said.code == 0
    assert tries == {name: times for name, (_, times, _) in FORMS.items()}
    assert all(of == [of[0] + 1000 * number for number in range(len(of))] for of in seeds.values())
    reasons = Counter(reason for _, _, reason in FORMS.values() if reason)
    counts = read_manifest(tmp_path / "out")["counts"]
    assert counts["dropped"] == {reason: 4 * count for reason, count in sorted(reasons.items())}
    assert (counts["requests"], counts["asked_again"]) == (11, sum(times > 1 for _, times, _ in FORMS.values()))
    assert re.search(r"dropped: no JSON object +8\n", said.out)
    found = read(tmp_path / "out" / "records.jsonl")
    written = {name: times for name, (_, times, reason) in FORMS.items() if reason is None}
    assert {one["qid"]: one["attempts"] for one in found} == written
    assert all(one["seed"] == seeds[one["qid"]][-1] for one in found)
    texts = {row["_id"]: row["text"] for row in read(tmp_path / "out" / "corpus.jsonl")}
    assert texts["fenced-g3"] == texts["good-g3"] == SPAR
    before = len(proxy.seen)
    assert generate("documents", *words, "--overwrite").code == 0
    assert len(proxy.seen) == before  # bad answers are stored, too: they were paid
    assert read_manifest(tmp_path / "out")["counts"] == counts


def test_judgements_without_a_grade_are_asked_for_again_with_the_reason(
    proxy: Any, generate: Generate, tmp_path: Path
) -> None:
    """By a server that does not hold answers to the four digits."""
    beir = collection(tmp_path / "beir", {"a": SPAR, "b": RIB, "c": TOWN}, {"q1": "spars"})
    pairs = qrels(tmp_path / "pairs.tsv", [("q1", docid, 0) for docid in "abc"])
    seen: dict[str, list[str]] = {}

    def answer(body: dict[str, Any]) -> str:
        text = body["messages"][-1]["content"]
        docid = next(name for name, document in (("a", SPAR), ("b", RIB), ("c", TOWN)) if document in text)
        seen.setdefault(docid, []).append(text)
        return {"a": ["2"], "b": ["perhaps", "Grade: 1"], "c": ["It is 10 of 10"]}[docid][: len(seen[docid])][-1]

    proxy.answer = answer
    flags = (
        "--qrels",
        pairs,
        "--topics",
        beir,
        "--corpus",
        beir,
        "--prompt",
        "umbrela",
        "--no-structured",
        "--no-log-probs",
    )
    words = *flags, "--llm", "openai:tiny", "--base-url", proxy.url, "--output", tmp_path / "out"
    assert generate("judgements", *words).code == 0
    assert {docid: len(of) for docid, of in seen.items()} == {"a": 1, "b": 2, "c": 3}
    assert "Attempt 2. The last answer could not be used" in seen["b"][1]
    assert not any("structured_outputs" in one.body for one in proxy.seen)
    assert {one["docid"]: one["grade"] for one in read(tmp_path / "out" / "records.jsonl")} == {"a": 2, "b": 1}
    counts = read_manifest(tmp_path / "out")["counts"]
    assert (counts["kept"], sum(counts["dropped"].values()), counts["failed"]) == (2, 1, 0)


def test_one_document_that_always_fails_is_told_and_asked_about_again(
    proxy: Any,
    generate: Generate,
    words_of: Callable[..., list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    proxy.fault = lambda number, body: "error" if "number 7 " in body["prompt"] else ""
    words = words_of(proxy.url, "out", "retries=1")
    said = generate(*words)
    assert said.code == 0
    assert "1 requests were not answered (document d7: HTTP 500: Internal Server Error)" in said.err
    counts = read_manifest(tmp_path / "out")["counts"]
    assert (counts["failed"], counts["answers"]) == (1, 119)
    assert asked(proxy) == {**{str(number): 1 for number in range(120)}, "7": 2}
    proxy.fault = lambda number, body: ""
    monkeypatch.setenv("OPENAI_API_KEY", "second")
    assert generate(*words, "--overwrite").code == 0
    assert asked(proxy, "second") == {"7": 1}
    assert read_manifest(tmp_path / "out")["counts"]["failed"] == 0


def test_the_server_dies_in_the_middle_and_the_same_command_goes_on(
    proxy: Any, server: Any, generate: Generate, words_of: Callable[..., list[str]], tmp_path: Path
) -> None:
    def fault(number: int, body: dict[str, Any]) -> str:
        if number == 50:
            proxy._loop.create_task(proxy._die())
        return ""

    proxy.fault, words = fault, words_of(proxy.url, "out", "retries=1")
    said = generate(*words)
    assert said.code == 1
    assert "gives no answers any more: no connection" in said.err
    assert "What was answered is stored: the same command goes on from there" in said.err
    assert not (tmp_path / "out").exists()
    before, sent, proxy.fault = stored(tmp_path / "out.requests"), len(proxy.seen), lambda number, body: ""
    assert 40 < before < 51
    proxy.start()
    assert generate(*words).code == 0
    assert len(proxy.seen) - sent == 120 - before
    measured = read_manifest(tmp_path / "out")["measured"]
    assert (measured["asked"], measured["reused"]) == (120 - before, before)
    assert generate(*words_of(server.url, "whole")).code == 0
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_the_command_is_killed_and_goes_on(
    proxy: Any,
    server: Any,
    generate: Generate,
    words_of: Callable[..., list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """kill -9: nothing that was stored is paid again, and the output is that of an uninterrupted run, byte by byte."""
    words = words_of(proxy.url, "out")
    monkeypatch.setenv("OPENAI_API_KEY", "first")
    process = subprocess.Popen(
        [sys.executable, "-m", "gradir.generate", *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while stored(tmp_path / "out.requests") < 30:
        assert process.poll() is None
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    before = stored(tmp_path / "out.requests")
    assert 30 <= before < 120
    assert not (tmp_path / "out").exists()
    monkeypatch.setenv("OPENAI_API_KEY", "second")
    assert generate(*words).code == 0
    first, second = asked(proxy, "first"), asked(proxy, "second")
    assert max(*first.values(), *second.values()) == 1
    assert len(first | second) == 120
    assert len(second) == 120 - before  # all that was not stored, and nothing else
    counts, measured = (read_manifest(tmp_path / "out")[name] for name in ("counts", "measured"))
    assert (measured["asked"], measured["reused"]) == (120 - before, before)
    assert generate(*words_of(server.url, "whole")).code == 0
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    assert read_manifest(tmp_path / "whole")["counts"] == counts
    assert not list(tmp_path.glob(".out*"))
