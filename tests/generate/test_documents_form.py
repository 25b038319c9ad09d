"""Answers as models give them: read where there is one way to read them, and refused with a reason where there is not."""

from __future__ import annotations

import json

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradir.generate.documents_form import check, markers_of, parse_all, parse_one, refuses, repeats, schema, written
from gradir.llm.asking import Unusable

GRADES = (3, 2, 1, 0)
FOUR = {3: "A spar carries the wing.", 2: "Wings have parts.", 1: "Aircraft fly.", 0: "Bread needs yeast."}
GOOD = written(FOUR)
texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1).map(str.strip).filter(bool)


def reason(text: str, grades: tuple[int, ...] = GRADES) -> str:
    with pytest.raises(Unusable) as error:
        parse_all(text, grades)
    return str(error.value)


@given(st.fixed_dictionaries({grade: texts for grade in GRADES}), st.booleans())
def test_json_is_read_as_json(found: dict[int, str], plain: bool) -> None:
    value = {f"grade_{grade}": text for grade, text in found.items()}
    assert parse_all(json.dumps(value, ensure_ascii=plain, indent=None if plain else 2), GRADES) == found


def test_the_schema_takes_what_is_wanted_and_nothing_else() -> None:
    rule = json.loads(schema(GRADES, longest=30))
    jsonschema.validate(json.loads(GOOD), rule)
    assert list(rule["properties"]) == ["grade_3", "grade_2", "grade_1", "grade_0"]
    for wrong in ({"grade_3": "x"}, {**json.loads(GOOD), "note": "x"}, {**json.loads(GOOD), "grade_0": "y" * 31}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, rule)


MENDED = {
    "code fence": f"```json\n{GOOD}\n```",
    "prose around it": f"Here {{as you asked}} they are:\n{GOOD}\nI hope that {{this}} helps!",
    "a thought": f'<think>Perhaps {{"grade_3": "no"}}?</think>\n{GOOD}',
    "bare digits": GOOD.replace("grade_", ""),
    "spelt otherwise": GOOD.replace("grade_3", "Grade 3").replace("grade_2", "grade-2"),
    "a comma too many": GOOD.replace("}", ",}"),
    "single quotes": GOOD.replace('"', "'"),
    "typographic quotes": "{" + ", ".join(f"“grade_{grade}”: “{text}”" for grade, text in FOUR.items()) + "}",
    "names without quotes": "{" + ",\n".join(f'grade_{grade}: "{text}"' for grade, text in FOUR.items()) + "\n}",
    "no brace at the end": GOOD.removesuffix("}"),
    "no quote and no brace at the end": GOOD.removesuffix('"}'),
    "python, with a note after it": GOOD.replace('"', "'") + "\nNote: 'grade' is TREC's.",
}


@pytest.mark.parametrize("text", MENDED.values(), ids=MENDED)
def test_what_is_mended(text: str) -> None:
    assert parse_all(text, GRADES) == FOUR


def test_quotes_and_line_breaks_inside_a_text() -> None:
    one = 'It\'s the "main" spar,\nthey say.'
    for quote in "\"'":
        answer = "{" + ", ".join(f"{quote}grade_{grade}{quote}: {quote}{one} {grade}{quote}" for grade in GRADES) + "}"
        assert parse_all(answer, GRADES) == {grade: f"{one} {grade}" for grade in GRADES}


def test_escapes_in_what_is_not_quite_json() -> None:
    answer = r"{'grade_3': 'It\'s \"one\"\n\u00e9 \ud83d\ude00 \\ x', 'grade_0': 'no'}"
    assert parse_all(answer, (3, 0)) == {3: 'It\'s "one"\né 😀 \\ x', 0: "no"}


def test_only_the_grades_asked_for() -> None:
    assert list(parse_all(GOOD, (0, 3))) == [0, 3]


REFUSED = {
    "nothing": ("", "no JSON object"),
    "prose": ("A spar carries the wing.", "no JSON object"),
    "a refusal": ("I'm sorry, but I can't help with that.", "refusal"),
    "cut off in a word": (GOOD[: GOOD.index("yeast")], "cut off"),
    "cut off before the last": (GOOD[: GOOD.index(', "grade_0')], "a grade missing"),
    "cut off in a name": (GOOD[: GOOD.index("_0")], "cut off"),
    "a grade missing": (written({3: "a", 2: "b", 1: "c"}), "a grade missing"),
    "a grade twice": (GOOD.replace("grade_2", "grade_3"), "a grade twice"),
    "a grade twice, not quite JSON": (GOOD.replace("grade_2", "grade_3").replace('"', "'"), "a grade twice"),
    "no text": (GOOD.replace('"Wings have parts."', "7"), "a grade that is not text"),
    "deeper": (GOOD.replace('"Wings have parts."', '{"text": "x"}'), "a grade that is not text"),
    "broken escape": (GOOD.replace('"', "'").replace("parts", r"\u12"), "broken JSON"),
}


@pytest.mark.parametrize(("text", "because"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused(text: str, because: str) -> None:
    assert reason(text) == because


@pytest.mark.parametrize("text", ['{"grade_3": ' + "7" * 5000, '{"grade_3": ' + "[" * 100_000])
def test_digits_and_brackets_without_end(text: str) -> None:
    """Python's reader of JSON has limits of its own."""
    with pytest.raises(Unusable):
        parse_all(text, (3, 0))


@given(st.text(st.sampled_from("{}[]\"'“”:,\\ grade_0123ux\n"), max_size=60))
def test_whatever_comes_is_read_or_refused(text: str) -> None:
    try:
        parse_all(text, (3, 0))
    except Unusable:
        return


def test_an_answer_that_is_one_text() -> None:
    for answer in (
        "The spar.",
        " The spar.\n",
        "```\nThe spar.\n```",
        "```text\nThe spar.\n```\nDone.",
        '"The spar."',
        "“The spar.”",
        "<think>\nOf what?\n</think>\n\nThe spar.",
        "Here is a passage of grade 3:\n\nThe spar.",
        'Sure! Here\'s the passage:\n"The spar."',
        "Passage: The spar.",
        "**Passage of grade 3:**\n\nThe spar.",
        "The spar.\ufffd\ufffd",  # cut off in the middle of a character
    ):
        assert parse_one(answer) == "The spar."
    for as_it_is in ('"Spar" and "rib"', "Here is why: it carries.", "Sure footing matters.", "Passages: two."):
        assert parse_one(as_it_is) == as_it_is
    for empty in ("", " \n", "``` ```", '""', "Here is it:\n\n"):
        with pytest.raises(Unusable, match="empty"):
            parse_one(empty)


MARKERS = markers_of(
    "Query: {query}\nPassage of grade {grade}: {document}", "Query: {query}\nWishes: {attributes}\nWrite: it."
)
UNUSABLE = {
    "empty": ("…", "empty"),
    "refusal": ("As an AI language model, I have no opinion.", "refusal"),
    "another's": ("a spar carries the WING", "text of another grade"),
    "label": ("A wing.\nWishes: none", "marker of the prompt"),
    "template": ("A wing.<|im_end|>", "marker of the prompt"),
    "end": ("A wing.</s>", "marker of the prompt"),
    "another end": ("A wing.<｜end▁of▁sentence｜>", "marker of the prompt"),
    "instruction": ("[INST] A wing.", "marker of the prompt"),
    "repetition": ("the wing " * 20, "endless repetition"),
    "surrogate": ("A \ud83d wing.", "broken characters"),
    "piece of a letter": ("A caf\ufffd wing.", "broken characters"),
    "label with the grade": ("A wing.\nPassage of grade 2: none", "marker of the prompt"),
}


@pytest.mark.parametrize(("text", "because"), UNUSABLE.values(), ids=UNUSABLE)
def test_texts_that_are_unusable(text: str, because: str) -> None:
    with pytest.raises(Unusable) as error:
        check([FOUR[3], text], MARKERS)
    assert str(error.value) == because


def test_texts_that_are_usable() -> None:
    check(FOUR.values(), MARKERS)
    check(["He asked: Query: what is that?", "A < B | C > D and a list [1] of <b>tags</b>"], MARKERS)
    assert markers_of("{document}") is None


def test_what_a_person_may_write_is_no_refusal() -> None:
    for text in (
        "I can't believe how well it flies.",
        "I'm sorry for the late answer; the spar is of steel.",
        "I cannot recommend it.",
    ):
        assert not refuses(text)
    for text in (
        "I cannot help with this.",
        "I’m unable to write that passage.",
        "As a large language model I may err.",
    ):
        assert refuses(text)


def test_repetition_is_told_from_prose(sentences: list[str]) -> None:
    assert not repeats(" ".join(sentences[:8]))
    assert not repeats("ha ha ha ha")
    assert repeats(sentences[0] * 9)
    assert repeats("翼梁很重要。" * 20)
    assert not repeats((sentences[1] + " ") * 2)
