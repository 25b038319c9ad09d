"""Texts of every bad kind: each has a vector or the documented emptiness, and no document is lost."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradir import encode
from gradir.data.vectors import SparseVectors, VectorShards
from gradir.encode import parts
from gradir.encode.parts import LineParts, VectorParts, found_parts
from gradir.encode.rows import Row

FAST: dict[str, Any] = {"device": "cpu", "dtype": "float32", "part_size": 4}

TEXTS = {
    "empty": "",
    "blank": " \t\n\u3000 ",
    "long": "wing spar " * 100_000,
    "one-word": "w" * 1_000_000,
    "arabic": "\u062c\u0646\u0627\u062d \u0627\u0644\u0637\u0627\u0626\u0631\u0629",
    "hebrew": "\u200f\u05db\u05e0\u05e3 \u05de\u05d8\u05d5\u05e1\u200e",
    "emoji": "\U0001f6e9\ufe0f \U0001f468\u200d\U0001f469\u200d\U0001f467 wing",
    "control": "\x01\x02\x1f\x7f",
    "nul": "\x00wing\x00spar\x00",
    "only-nul": "\x00",
    "separators": "a\u2028b\u0085c\u2029d",
    "bom": "\ufeffwing",
    "plain": "wing spar",
}
NOTHING = ("empty", "blank", "control", "only-nul")


@pytest.mark.parametrize("format", ["shards", "pyserini"])
def test_texts_of_every_kind(encoder: str, tmp_path: Path, format: Any) -> None:
    path = tmp_path / "corpus.jsonl"
    path.write_text("".join(json.dumps({"_id": name, "text": text}) + "\n" for name, text in TEXTS.items()))
    encode.run(encoder, tmp_path / "v", corpus=str(path), format=format, **FAST)
    if format == "pyserini":
        lines = (tmp_path / "v" / "embeddings.jsonl").read_text(encoding="utf-8").splitlines()
        found = {one["id"]: one["vector"] for one in map(json.loads, lines)}
        assert {one["id"]: one["contents"] for one in map(json.loads, lines)} == TEXTS
    else:
        found = {}
        for ids, vectors in VectorShards(tmp_path / "v").parts():
            for i, one in enumerate(ids):
                found[one] = vectors.row(i)[0].tolist() if isinstance(vectors, SparseVectors) else vectors[i].tolist()
    assert list(found) == list(TEXTS)
    if isinstance(found["plain"], dict) or len(found["empty"]) != len(found["plain"]):
        assert [name for name in TEXTS if not found[name]] == list(NOTHING)
    else:
        for name in NOTHING:  # the dense vector of the empty text
            np.testing.assert_allclose(found[name], found["empty"], atol=1e-6)
        assert np.isfinite(list(found.values())).all()


def test_a_full_disk_while_pyserinis_files_are_put_together(
    tiny: Any, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raises_error: Any
) -> None:
    def full(*_: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    given: Any = {"corpus": str(corpus), "format": "pyserini", **FAST}
    with monkeypatch.context() as patch:
        patch.setattr(LineParts, "lines", full)
        with raises_error(f"{tmp_path / 'v'}: cannot be written (No space left on device)", "the same command goes on"):
            encode.run(str(tiny("bert")), tmp_path / "v", **given)
    assert not (tmp_path / "v" / "embeddings.jsonl").exists()
    assert "all parts were there" in encode.run(str(tiny("bert")), tmp_path / "v", **given).message


def test_a_full_disk_while_the_next_window_is_encoded(
    tiny: Any, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raises_error: Any
) -> None:
    """The error of the thread that writes ends the run."""
    calls = []

    def failing(*given: Any) -> None:
        calls.append(given)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(parts, "write_part", failing)
    with raises_error("No space left on device"):
        encode.run(str(tiny("bert")), tmp_path / "v", corpus=str(corpus), **FAST)
    assert len(calls) == 1


@pytest.mark.parametrize("change", ["ids", "texts", "fewer", "more"])
@pytest.mark.parametrize("shards", [1, 2])
def test_a_corpus_that_changes_between_runs_is_refused(
    tiny: Any,
    corpus: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    raises_error: Any,
    change: str,
    shards: int,
) -> None:
    given: Any = {"corpus": str(corpus), "shard_num": shards, **FAST}
    with monkeypatch.context() as patch:
        patch.setattr(parts.VectorParts, "write", _stopping(parts.VectorParts.write))
        with pytest.raises(KeyboardInterrupt):
            encode.run(str(tiny("bert")), tmp_path / "v", **given)
    there = sorted(path.name for path in (tmp_path / "v").iterdir())
    lines = corpus.read_text().splitlines(keepends=True)
    edited = {
        "ids": [lines[0].replace('"d0"', '"e0"'), *lines[1:]],
        "texts": [lines[0].replace("wing", "wind"), *lines[1:]],
        "fewer": lines[:-1],
        "more": [*lines, '{"_id": "new", "text": "new"}\n'],
    }
    corpus.write_text("".join(edited[change]))
    with raises_error(f"input {corpus} -> {corpus}: other content", "--overwrite"):
        encode.run(str(tiny("bert")), tmp_path / "v", **given)
    assert sorted(path.name for path in (tmp_path / "v").iterdir()) == there


def _stopping(write: Any) -> Any:
    def stopping(self: Any, number: int, *rest: Any) -> None:
        if number == 2:
            raise KeyboardInterrupt
        write(self, number, *rest)

    return stopping


def test_an_input_that_ends_before_a_part_is_refused(tmp_path: Path, raises_error: Any) -> None:
    """The last guard, where the corpus has no file that could be compared."""
    found = VectorParts(tmp_path, {"kind": "dense"})
    for number in (0, 1):
        found.write(number, ["a"], ["text"], np.ones((1, 2), np.float32))
    with raises_error("part-00001.parquet: the input has ended before it", "--overwrite"):
        found_parts(found, iter([(0, [Row("a", "text", "text")])]))


def test_a_number_too_large_for_float16(tmp_path: Path, raises_error: Any) -> None:
    with raises_error("document b: a number of its vector is too large for float16", "--vector-dtype float32"):
        VectorParts(tmp_path, {"kind": "dense"}, "float16").write(
            0, ["a", "b"], ["", ""], np.float32([[1, 2], [1, 70000]])
        )


def test_a_damaged_part_of_lines(tmp_path: Path, raises_error: Any) -> None:
    found = LineParts(tmp_path)
    found.write(0, ["a", "b"], ["x", "y"], np.random.default_rng(1).normal(size=(2, 500)).astype(np.float32))
    whole = found.path(0).read_bytes()
    found.path(0).write_bytes(whole[: len(whole) // 2])
    with raises_error("part-00000.jsonl.zst: is damaged"):
        found.read(0)
