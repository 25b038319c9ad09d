"""Contiguous shards of a corpus, as Pyserini cuts them, and the estimate of a dry run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradir import encode
from gradir.data.vectors import VectorShards
from gradir.encode.rows import Texts, taken, within

FAST: dict[str, Any] = {"device": "cpu", "dtype": "float32", "part_size": 10}


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("many") / "corpus.jsonl"
    path.write_text("".join(json.dumps({"_id": f"d{i}", "text": "a"}) + "\n" for i in range(40)))
    return path


@given(shards=st.integers(1, 40), limit=st.integers(1, 60) | st.none())
def test_shards_are_those_of_pyserini(many: Path, shards: int, limit: int | None) -> None:
    """Pyserini: `int(total / shards)` documents each, the last one to the end."""
    total = min(40, limit or 40)
    if shards > total:
        return
    size = int(total / shards)
    for shard in range(shards):
        end = total if shard == shards - 1 else min((shard + 1) * size, total)
        source = taken(Texts(str(many), "passage"), limit, shard, shards)
        assert [row.id for row in source.rows()] == [f"d{i}" for i in range(shard * size, end)]
        assert source.total() == end - shard * size


def test_shards_together_are_the_corpus(tiny: Any, corpus: Path, tmp_path: Path) -> None:
    found = []
    for shard in range(3):
        output = tmp_path / f"v{shard}"
        encode.run(str(tiny("bert")), output, corpus=str(corpus), shard_id=shard, shard_num=3, **FAST)
        found += [docid for part, _ in VectorShards(output).parts() for docid in part]
    assert found == [*(f"d{i}" for i in range(64)), "blank", "empty"]


@pytest.mark.parametrize(("shard", "shards"), [(-1, 2), (2, 2), (0, 0), (0, -1), (5, 1)])
def test_numbers_that_are_no_shards(many: Path, shard: int, shards: int, raises_error: Any) -> None:
    with raises_error(f"--shard-id {shard} --shard-num {shards}", "from 0"):
        taken(Texts(str(many), "passage"), None, shard, shards)


def test_more_shards_than_texts(many: Path, raises_error: Any) -> None:
    with raises_error("there are only 3 texts", "fewer shards"):
        taken(Texts(str(many), "passage"), 3, 0, 4)


def test_another_shard_is_another_run(tiny: Any, corpus: Path, tmp_path: Path, raises_error: Any) -> None:
    one: Any = {"corpus": str(corpus), **FAST}
    encode.run(str(tiny("bert")), tmp_path / "v", shard_id=0, shard_num=2, **one)
    with raises_error("shard_id: 0 -> 1"):
        encode.run(str(tiny("bert")), tmp_path / "v", shard_id=1, shard_num=2, **one)
    with raises_error("part_size: 10 -> 11"):
        encode.run(str(tiny("bert")), tmp_path / "v", shard_id=0, shard_num=2, **(one | {"part_size": 11}))


@pytest.mark.parametrize(
    ("total", "span", "left"), [(None, (0, 3), None), (5, (0, 3), 3), (5, (4, 9), 1), (5, (6, 9), 0)]
)
def test_rows_within_a_span(total: int | None, span: tuple[int, int], left: int | None) -> None:
    assert within(total, span) == left


def test_a_dry_run_writes_nothing_and_estimates(encoder: str, corpus: Path, tmp_path: Path) -> None:
    text = encode.run(encoder, tmp_path / "v", corpus=str(corpus), dry_run=True, **FAST).text
    values = {name: int(value) for name, value in (line.split("\t") for line in text.splitlines())}
    assert list(values) == ["documents", "tokens", "seconds", "bytes"]
    assert not (tmp_path / "v").exists()
    encode.run(encoder, tmp_path / "v", corpus=str(corpus), **(FAST | {"part_size": 100}))
    size = (tmp_path / "v" / "part-00000.parquet").stat().st_size
    assert values["documents"] == 66
    assert 0.9 * size < values["bytes"] < 1.1 * size
    from gradir.engine.encoder import Encoder

    opened = Encoder.open(encoder, "cpu", "float32")
    opened.encode([json.loads(line)["text"] for line in corpus.read_text().splitlines()])
    assert values["tokens"] == opened.tokens


@pytest.mark.parametrize("format", ["pyserini", "faiss"])
def test_a_dry_run_knows_the_size_of_other_formats(tiny: Any, corpus: Path, tmp_path: Path, format: Any) -> None:
    one: Any = {"corpus": str(corpus), "format": format, **FAST}
    text = encode.run(str(tiny("bert")), tmp_path / "v", dry_run=True, **one).text
    encode.run(str(tiny("bert")), tmp_path / "v", **one)
    size = sum(path.stat().st_size for path in (tmp_path / "v").iterdir())
    assert 0.95 * size < int(text.split("\t")[-1]) < 1.05 * size


def test_a_batch_size_is_texts_of_full_length(tiny: Any, corpus: Path, tmp_path: Path, raises_error: Any) -> None:
    from gradir.data.manifest import read_manifest

    encode.run(str(tiny("bert")), tmp_path / "v", corpus=str(corpus), batch_size=4, max_length=16, **FAST)
    assert read_manifest(tmp_path / "v")["config"]["batch_tokens"] == 64
    for wrong in ({"batch_size": 0}, {"batch_size": 4, "batch_tokens": 64}):
        with raises_error("--batch-size"):
            encode.run(str(tiny("bert")), tmp_path / "w", corpus=str(corpus), **wrong, **FAST)
    with raises_error("--part-size 0"):
        encode.run(str(tiny("bert")), tmp_path / "w", corpus=str(corpus), **(FAST | {"part_size": 0}))
