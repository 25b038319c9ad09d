"""Duplicates found a file at a time are those found an id at a time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradir.data.ids import Duplicates
from gradir.errors import InputError

IDS = st.lists(st.text("abc", min_size=1, max_size=3), max_size=12)


@given(st.lists(IDS, max_size=4))
def test_all_at_once_or_one_by_one(files: list[list[str]]) -> None:
    everything = [one for ids in files for one in ids]
    seen = Duplicates("id")

    def take() -> None:
        for number, ids in enumerate(files):
            seen.add_all(f"file{number}", ids)
        seen.finish()

    if len(set(everything)) == len(everything):
        take()
        return
    with pytest.raises(InputError, match="was used before") as caught:
        take()
    repeated = {one for one in everything if everything.count(one) > 1}
    assert any(f"id {one!r} was" in caught.value.problem for one in repeated)


def test_the_place_of_the_second_one_is_named() -> None:
    seen = Duplicates("id")
    seen.add_all("one", ["a", "b"])
    with pytest.raises(InputError, match="two:3"):
        seen.add_all("two", ["c", "d", "b"])
    within = Duplicates("id")
    with pytest.raises(InputError, match=r"x:3.*'c' was used before, at x:1"):
        within.add_all("x", ["c", "d", "c"])
