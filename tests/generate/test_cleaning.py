"""Answers of a model as queries, or the reason why they are none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradir.generate.cleaning import Cleaner
from gradir.generate.prompts import load, names

INPARS, CHAT = Cleaner(load("inpars")), Cleaner(load("chat"))


@pytest.mark.parametrize(
    ("answer", "query"),
    [
        (" how long is a day ", "how long is a day"),
        ("\n\n  first line\nsecond line", "first line"),
        ("tabs\tand  blanks\x00 here", "tabs and blanks here"),
        ('"quoted"', "quoted"),
        ("“quoted”", "quoted"),
        ("„quoted“", "quoted"),
        ("«quoted»", "quoted"),
        ("`code`", "code"),
        ("**bold**", "bold"),
        ("*'both'*", "both"),
        ('"cut off befo', "cut off befo"),
        ('"one" and "two"', '"one" and "two"'),
        ("'tis the season", "'tis the season"),
        ("*args in python", "*args in python"),
        ("__init__ method", "__init__ method"),
        ("1. numbered", "numbered"),
        ("(2) numbered", "numbered"),
        ("- listed", "listed"),
        ("• listed", "listed"),
        ('1) "both"', "both"),
        ("a) lettered", "lettered"),
        ("## heading", "heading"),
        ("1999 in music", "1999 in music"),
        ("3.5 inch disk", "3.5 inch disk"),
        ("24: the first season", "24: the first season"),
        ("-5 degrees", "-5 degrees"),
        ("Relevant Query: what is it", "what is it"),
        ("relevant query: 1. 'what is it'", "what is it"),
        ("<think>The user wants\na query.</think>\n\nwhat is it", "what is it"),
        ("日本の首都は", "日本の首都は"),
        ("half a pair\ud83d here", "half a pair here"),
        ("cut off in a letter \ufffd\ufffd", "cut off in a letter"),
        ("no, no, no, no", "no, no, no, no"),
        ("what does xs <| fun x -> x do", "what does xs <| fun x -> x do"),
        ("1000000000000000000", "1000000000000000000"),
    ],
)
def test_what_is_kept(answer: str, query: str) -> None:
    assert INPARS.clean(answer) == (query, None)


@pytest.mark.parametrize(
    ("answer", "query"),
    [
        ("Query: what is it", "what is it"),
        ("**Question:** What is it?", "What is it?"),
        ("**Search query**: what is it", "what is it"),
        ("Sure! Here is a question:\n\n1. **What is it?**", "What is it?"),
        ("Title: Wing spars", "Wing spars"),
        ("Query of grade 3: what is it", "what is it"),
        ("what is it:", "what is it:"),
    ],
)
def test_frames_of_chat_models(answer: str, query: str) -> None:
    assert CHAT.clean(answer) == (query, None)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("", "empty"),
        (" \n\t ", "empty"),
        ("?!", "empty"),
        ('""', "empty"),
        ("<think>and so on without end", "empty"),
        ("what is it Document: A swarm", "marker"),
        ("what is it Example 5:", "marker"),
        ("Example 12: what", "marker"),
        ("this Relevant Query: that", "marker"),
        ("this Relevant Query in German: that", "marker"),
        ("ask <|im_end|> now", "marker"),
        ("ask </s>", "marker"),
        ("do it [/INST]", "marker"),
        ("do it <<SYS>>", "marker"),
        ("the the the the the the the the the", "repetition"),
        ("what is what is what is what is what is", "repetition"),
        ("ha" * 40, "repetition"),
        ("because of the wing, because of the wing, because of the wing, because of the wing, ", "repetition"),
        ("東京の" * 20, "repetition"),
        ("a caf\ufffd in town", "broken"),
    ],
)
def test_what_is_refused(answer: str, reason: str) -> None:
    assert INPARS.clean(answer).reason == reason


def test_markers_are_those_of_the_prompt() -> None:
    assert INPARS.clean("Abstract: x").reason is None
    assert Cleaner(load("scifact")).clean("see Abstract: x").reason == "marker"
    assert INPARS.clean("document: small letters are words").reason is None
    assert INPARS.clean("myDocument: x").reason is None


@pytest.mark.parametrize("name", names("queries"))
def test_the_examples_of_our_own_prompts_are_queries(name: str) -> None:
    prompt = load(name)
    for example in prompt.examples:
        assert Cleaner(prompt).clean(f" {example['query']}\n") == (example["query"], None)


@given(st.text())
def test_a_query_is_one_line_that_stays_as_it_is(answer: str) -> None:
    text, reason = INPARS.clean(answer)
    if reason is None:
        assert text == text.strip()
        assert len(text.splitlines()) == 1
        text.encode()
        assert INPARS.clean(text) == (text, None)
