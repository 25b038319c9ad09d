"""The compact ids are the lines of the file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradir.data.docids import Docids
from gradir.errors import GradirError

IDS = st.lists(st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=6), max_size=12)


@given(docids=IDS, data=st.data(), ended=st.booleans())
def test_rows_are_lines(docids: list[str], data: st.DataObject, ended: bool) -> None:
    text = "".join(f"{docid}\n" for docid in docids)
    held = Docids((text if ended else text[:-1]).encode())
    assert len(held) == len(docids)
    rows = data.draw(st.lists(st.integers(0, max(0, len(docids) - 1)), max_size=0 if not docids else 20))
    assert held.take(np.array(rows, dtype=np.int64)) == [docids[row] for row in rows]


@given(docids=IDS.map(lambda ids: list(dict.fromkeys(ids))), data=st.data())
def test_rows_of_ids(docids: list[str], data: st.DataObject) -> None:
    asked = data.draw(st.lists(st.sampled_from([*docids, "no id"]), max_size=20))
    held = Docids("".join(f"{docid}\n" for docid in docids).encode())
    assert held.rows_of(asked).tolist() == [docids.index(docid) if docid in docids else -1 for docid in asked]


def test_white_space_at_the_end_of_a_line_is_no_part_of_an_id(tmp_path: Path) -> None:
    (tmp_path / "docid").write_bytes("a \r\nÄ\t\nb".encode())
    assert Docids.read(tmp_path / "docid").take(np.arange(3)) == ["a", "Ä", "b"]


def test_what_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "docid").write_bytes(b"a\n\xff\xfe\n")
    with pytest.raises(GradirError, match="docid: is no UTF-8 text"):
        Docids.read(tmp_path / "docid")
