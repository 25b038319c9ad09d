"""Attributes: what files may hold, and the draw."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from scipy.stats import chi2_contingency, chisquare

from gradir.errors import GradirError, InputError
from gradir.generate.attributes import Attribute, attributes_of, draw, instruction, read_attributes

TWO = (
    Attribute("n", "About {value} sentences.", (None, 2, 5)),
    Attribute("who", "Written by {value}.", ("a pilot", None)),
)


def test_our_own_list_has_what_sycl_draws() -> None:
    found = {one.name: one for one in attributes_of(None, "documents")}
    assert {"sentences", "difficulty", "style", "persona"} <= set(found)
    assert all(None in one.values and "{value}" in one.say for one in found.values())
    assert attributes_of(None, "documents") == read_attributes() != attributes_of(None, "queries")
    assert attributes_of("none", "documents") == ()


def test_a_draw_depends_on_seed_query_and_number_alone() -> None:
    first = draw(TWO, 13, "q1")
    assert first == draw(TWO, 13, "q1")
    assert draw(TWO[:1], 13, "q1")["n"] == first["n"]  # a list more or less changes no other one
    for seed, qid, number in ((14, "q", 0), (13, "r", 0), (13, "q", 1)):
        assert any(draw(TWO, 13, f"q{i}") != draw(TWO, seed, f"{qid}{i}", number) for i in range(9))


def test_draws_are_even_and_independent() -> None:
    three = (*TWO, TWO[0]._replace(name="m"))
    drawn = [draw(three, 13, f"q{i}") for i in range(3000)]
    for attribute in three:
        counts = Counter(one[attribute.name] for one in drawn)
        assert chisquare([counts[value] for value in attribute.values]).pvalue > 0.001
    both = Counter((one["n"], one["m"]) for one in drawn)
    table = [[both[n, m] for m in TWO[0].values] for n in TWO[0].values]
    assert chi2_contingency(table).pvalue > 0.001


def test_the_instruction_says_what_was_drawn() -> None:
    assert instruction(TWO, {"n": 5, "who": "a pilot"}) == "About 5 sentences. Written by a pilot."
    assert instruction(TWO, {"n": None, "who": None}) == ""
    braces = (Attribute("x", "{value} and {value}", ("{value}",)),)
    assert instruction(braces, {"x": "{value}"}) == "{value} and {value}"


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("format: 1\nattributes:\n  tone: {say: 'Be {value}.', values: [null, rude, 3]}\n")
    assert read_attributes(file) == (Attribute("tone", "Be {value}.", (None, "rude", 3)),)
    assert attributes_of(str(file), "queries") == read_attributes(file)


def test_all_problems_of_a_file_at_once(tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(
        "atributes: 1\nattributes:\n  a: {say: no slot, valeus: [1]}\n  b: [1]\n  c: {say: '{value}', values: [{x: 1}]}\n"
    )
    with pytest.raises(InputError) as error:
        read_attributes(file)
    text = str(error.value)
    for part in (
        "did you mean 'attributes'?",
        "did you mean 'values'?",
        "`a`: `say` is not",
        "`b`: not a mapping",
        "`c`: `values`",
    ):
        assert part in text


@pytest.mark.parametrize("text", ["attributes: [", "attributes: {}", "[]", ""])
def test_files_that_hold_no_attributes(tmp_path: Path, text: str) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(text)
    with pytest.raises(InputError, match=r"bad\.yaml"):
        read_attributes(file)


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(GradirError, match="no such file"):
        attributes_of("nowhere.yaml", "documents")
