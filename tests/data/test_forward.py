"""A forward index gives back the rows that were written, by number, and is refused when files of it are missing or cut."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradir.data.forward import Forward, ForwardWriter
from gradir.data.vectors import SparseVectors
from gradir.errors import InputError

ROW = st.dictionaries(st.integers(0, 40), st.integers(1, 2**31 - 1), max_size=6)


def vectors(rows: list[dict[int, int]]) -> SparseVectors:
    indptr = np.cumsum([0, *map(len, rows)]).astype(np.int64)
    pairs = [pair for row in rows for pair in sorted(row.items())]
    terms, impacts = (np.array([pair[i] for pair in pairs], np.int32) for i in (0, 1))
    return SparseVectors(indptr, terms, impacts)


def rows_of(found: SparseVectors) -> list[dict[int, int]]:
    return [dict(zip(*(side.tolist() for side in found.row(i)), strict=True)) for i in range(len(found))]


@given(batches=st.lists(st.lists(ROW, max_size=5), max_size=4), seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_rows_come_back(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[dict[int, int]]], seed: int
) -> None:
    folder = tmp_path_factory.mktemp("forward")
    vocab = [f"t{i}" for i in range(41)]
    with ForwardWriter(folder, vocab) as writer:
        for batch in batches:
            writer.add(vectors(batch))
    rows = [row for batch in batches for row in batch]
    opened = Forward(folder)
    assert (len(opened), opened.vocab) == (len(rows), vocab)
    order = np.random.default_rng(seed).integers(0, max(1, len(rows)), 7 if rows else 0)
    assert rows_of(opened.take(order)) == [rows[i] for i in order]


@pytest.mark.parametrize(("vocab", "impact", "sizes"), [(10, 65_535, (2, 2)), (65_537, 65_536, (4, 4))])
def test_numbers_take_two_bytes_where_they_fit(tmp_path: Path, vocab: int, impact: int, sizes: tuple[int, int]) -> None:
    with ForwardWriter(tmp_path, ["t"] * vocab) as writer:
        writer.add(vectors([{0: 1, 5: 9}]))
        writer.add(vectors([{vocab - 1: impact}]))
    opened = Forward(tmp_path)
    assert (opened.terms.itemsize, opened.impacts.itemsize) == sizes
    assert rows_of(opened.take(np.array([1, 0]))) == [{vocab - 1: impact}, {0: 1, 5: 9}]


def test_what_is_not_whole_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no forward index.*--forward"):
        Forward(tmp_path)
    with pytest.raises(KeyError), ForwardWriter(tmp_path, ["a"]) as writer:
        writer.add({}["nothing"])
    with pytest.raises(InputError, match="no forward index"):
        Forward(tmp_path)
    with ForwardWriter(tmp_path, ["a"]) as writer:
        writer.add(vectors([{0: 1}, {0: 2}]))
    for name in ("starts", "terms", "impacts", "vocab"):
        path = tmp_path / f"forward.{name}"
        whole = path.read_bytes()
        path.unlink()
        with pytest.raises(InputError, match="damaged"):
            Forward(tmp_path)
        if name != "vocab":
            path.write_bytes(whole[:-1])
            with pytest.raises(InputError, match=f"forward.{name} has {len(whole) - 1} bytes, not {len(whole)}"):
                Forward(tmp_path)
        path.write_bytes(whole)
    assert len(Forward(tmp_path)) == 2
