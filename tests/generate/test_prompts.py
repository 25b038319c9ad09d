"""Prompts: ours are sound, a user's is checked."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from gradir.errors import GradirError, InputError
from gradir.generate.prompts import Prompt, load, names, parse, source

BEIR = """arguana bioasq climate-fever cqadupstack dbpedia-entity fever fiqa hotpotqa msmarco nfcorpus nq quora robust04 scidocs
    scifact signal trec-covid trec-news webis-touche2020"""
OTHERS = "chat chat-claim chat-keyword chat-title claim inpars inpars-gbq keyword question title"
SOUND = """
format: 1
name: terse
kind: queries
head: "Texts and queries."
example: |
  Text: {document}
  Query: {query}
examples:
  - {document: a, query: b}
body: |
  Text: {document}
  Query:
stop: ["\\n"]
sampling: {max_tokens: 8, temperature: 0.5}
"""


def test_there_is_a_prompt_for_every_task_and_style() -> None:
    assert names("queries") == sorted([*BEIR.split(), *OTHERS.split()])


@pytest.mark.parametrize("name", names())
def test_ours_are_whole(name: str) -> None:
    prompt = load(name)
    assert prompt.name == name
    assert prompt.about
    assert "\n" not in prompt.about
    assert not prompt.paper or re.fullmatch(r"\d{4}\.\d{5}", prompt.paper)


@pytest.mark.parametrize("name", names("queries"))
def test_ours_for_queries_end_where_the_model_goes_on_and_stop_at_a_line_break(name: str) -> None:
    prompt = load(name)
    assert prompt.slots - {"number"} == {"document", "in_language"}
    assert prompt.body == prompt.body.rstrip()
    if prompt.mode == "completion":
        assert prompt.body.endswith(":")
        assert prompt.stop == ("\n",)
        assert len(prompt.examples) >= 2
        # what is left to write begins where an example has its query
        assert prompt.example.split("{query}")[0].rstrip().endswith(prompt.body.rpartition("\n")[2])


def test_examples_of_ours_are_distinct_and_do_not_answer_with_the_text_itself() -> None:
    for name in names("queries"):
        for example in load(name).examples:
            assert example["query"] not in example["document"]
            assert len(example["document"]) > len(example["query"]) or name == "quora" or name == "arguana"


def test_a_file_is_read_as_it_stands() -> None:
    prompt = parse(SOUND, "terse.yaml")
    assert prompt == Prompt(
        name="terse",
        kind="queries",
        head="Texts and queries.",
        example="Text: {document}\nQuery: {query}",
        examples=({"document": "a", "query": "b"},),
        body="Text: {document}\nQuery:",
        stop=("\n",),
        sampling={"max_tokens": 8, "temperature": 0.5},
    )


def test_the_name_is_the_files_where_it_says_none(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(SOUND.replace("name: terse\n", ""), encoding="utf-8")
    assert load(str(path)).name == "mine"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("body: |", "bodi: |"), ["unknown key 'bodi', did you mean 'body'?", "'body' is missing"]),
        (("kind: queries", "kind: query"), ["'kind' is not one of queries, documents, judgements"]),
        (("name: terse", "mode: chatty"), ["'mode' is not one of completion, chat"]),
        (("name: terse", "paper: 2202.05144"), ["'paper' is not text"]),
        (("  Text: {document}\n  Query:\n", "  Query:\n"), ["'body' has no slot {document}"]),
        (("query: b", "quest: b"), ["example 1 has no 'query'"]),
        (("example: |\n  Text: {document}\n  Query: {query}\n", ""), ["'examples' without 'example'"]),
        (("temperature: 0.5", "heat: 0.5"), ["'sampling' is not a mapping of max_tokens, temperature, top_p, top_k"]),
        (('stop: ["\\n"]', "stop: x"), ["'stop' is not a list of texts"]),
        (("name: terse", "system: be brief"), ["'system' is for mode: chat"]),
        (("format: 1", "format: 2"), ["format 2", "Upgrade"]),
        (("format: 1\n", ""), ["no integer `format`"]),
        (("kind: queries", "kind: [queries"), ["not YAML"]),
    ],
)
def test_what_is_wrong_is_said(change: tuple[str, str], words: list[str], raises_error: Any) -> None:
    assert change[0] in SOUND
    with raises_error("terse.yaml", *words):
        parse(SOUND.replace(*change), "terse.yaml")


def test_all_that_is_wrong_is_said_at_once(raises_error: Any) -> None:
    with raises_error("'shots'", "'about'", "unknown key 'sytem', did you mean 'system'?"):
        parse(SOUND + "shots: -1\nabout: 3\nsytem: x\n", "terse.yaml")


def test_a_plain_template_ends_at_the_query(tmp_path: Path) -> None:
    path = tmp_path / "mine.txt"
    path.write_text("Read: {document}\nAsk: {query}\nNever shown", encoding="utf-8")
    prompt = load(str(path), "queries")
    assert (prompt.name, prompt.body, prompt.stop) == ("mine", "Read: {document}\nAsk:", ("\n",))
    path.write_text("no slot at all", encoding="utf-8")
    with pytest.raises(InputError, match=r"mine.txt: has no slot \{document\}"):
        load(str(path))


def test_unknown_names_and_kinds(tmp_path: Path) -> None:
    with pytest.raises(GradirError, match="no prompt 'inpar', did you mean 'inpars'"):
        load("inpar")
    with pytest.raises(GradirError, match="'inpars' is for queries, not documents"):
        load("inpars", "documents")
    with pytest.raises(InputError, match="cannot be read"):
        load(str(tmp_path / "none.yaml"))
    with pytest.raises(GradirError, match="no prompt"):
        load("../prompts/inpars")


def test_the_digest_is_of_what_the_model_sees() -> None:
    prompt = parse(SOUND, "terse.yaml")
    assert parse(SOUND.replace("name: terse", "name: other\nabout: said otherwise"), "x.yaml").digest == prompt.digest
    for change in [("Texts and", "Text and"), ("query: b", "query: c"), ("0.5", "0.6"), ('"\\n"', '"\\n\\n"')]:
        assert change[0] in SOUND
        assert parse(SOUND.replace(*change), "terse.yaml").digest != prompt.digest


def test_source_is_the_file_itself(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(source("inpars")[1], encoding="utf-8")
    assert load(str(path)).digest == load("inpars").digest


@pytest.mark.parametrize("name", names())
def test_what_a_model_goes_on_from_is_tokenised_as_in_the_examples(name: str) -> None:
    """No blank at the end, where a tokenizer would begin the next word with it; no line break inside a sentence."""
    prompt = load(name)
    for text in (prompt.system, prompt.head, prompt.example, prompt.body):
        assert text == text.rstrip()
        assert not re.search(r"[a-z,]\n[a-z]", text)
    if prompt.mode == "completion":
        cue = prompt.body.rpartition("\n")[2]
        assert cue.endswith(":")
        assert f"{cue} {{query}}" in prompt.example.splitlines()
        assert prompt.stop == ("\n",)
