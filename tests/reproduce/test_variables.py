from __future__ import annotations

from pathlib import Path

import pytest

from gradir.errors import GradirError
from gradir.reproduce.variables import Variables, parse_settings


def test_references_are_filled_and_keep_their_type():
    variables = Variables({"n": 3, "corpus": "${root}/c", "root": "r", "deep": ["${n}"]}, {"root": "s"}, Path("out"))
    filled = variables.fill({"a": "${n}", "b": "x${n}y", "c": ["${corpus}/${here}", 1, None], "d": {"e": "${deep}"}})
    assert filled == {"a": 3, "b": "x3y", "c": ["s/c/out", 1, None], "d": {"e": [3]}}


def test_unknown_and_circular_variables_are_refused():
    variables = Variables({"corpus": "c", "a": "${b}", "b": "x${a}"}, {}, Path("o"))
    with pytest.raises(GradirError, match=r"no variable 'corpsu', did you mean 'corpus'\?"):
        variables.fill("${corpsu}")
    with pytest.raises(GradirError, match="a -> b -> a"):
        variables.fill("${a}")


def test_minilm_is_the_installed_one_unless_set(minilm):
    assert Path(Variables({}, {}, Path("o")).fill("${minilm}")) == minilm
    assert Variables({}, {"minilm": "other"}, Path("o")).fill("${minilm}") == "other"


def test_settings_are_yaml_and_all_their_problems_are_told():
    known = {"steps": 1, "name": "x"}
    assert parse_settings(["steps=20", "name=[a, 1.5]", "minilm=m=n"], known) == {
        "steps": 20,
        "name": ["a", 1.5],
        "minilm": "m=n",
    }
    with pytest.raises(GradirError) as caught:
        parse_settings(["steps", "stepz=1", "name=["], known)
    for told in ("'steps' is not KEY=VALUE", "'stepz', did you mean 'steps'?", "'name=[': the value is no YAML"):
        assert told in str(caught.value)
