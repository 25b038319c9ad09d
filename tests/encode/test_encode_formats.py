"""Formats that Pyserini reads, made from the same vectors as the shards."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradir import encode
from gradir.data.flat_index import write_flat_index
from gradir.data.manifest import read_manifest
from gradir.data.vectors import SparseVectors, VectorShards
from gradir.encode import formats

FAST: dict[str, Any] = {"device": "cpu", "dtype": "float32", "part_size": 10}


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def vectors_by_id(folder: Path) -> dict[str, Any]:
    """What the shards say, as Pyserini's JSON would."""
    shards, found = VectorShards(folder), {}
    for ids, vectors in shards.parts():
        for i, one in enumerate(ids):
            if isinstance(vectors, SparseVectors):
                terms, impacts = vectors.row(i)
                vocab = shards.vocab()
                found[one] = {
                    vocab[term]: impact for term, impact in zip(terms.tolist(), impacts.tolist(), strict=True)
                }
            else:
                found[one] = vectors[i].tolist()
    return found


@pytest.mark.parametrize("source", ["corpus", "topics"])
def test_json_lines(encoder: str, source: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    given: Any = {source: str(request.getfixturevalue(source))}
    encode.run(encoder, tmp_path / "v", **given, **FAST)
    encode.run(encoder, tmp_path / "j", format="pyserini", **given, **FAST)
    name = "embeddings.jsonl" if source == "corpus" else "queries.jsonl"
    assert [path.name for path in (tmp_path / "j").iterdir()] == [name]  # Pyserini reads every file of the folder
    found = read_lines(tmp_path / "j" / name)
    assert {one["id"]: one["vector"] for one in found} == vectors_by_id(tmp_path / "v")
    assert [one["id"] for one in found] == list(vectors_by_id(tmp_path / "v"))
    manifest = read_manifest(tmp_path / "j")
    assert manifest["files"] == [name]
    assert manifest["counts"] == read_manifest(tmp_path / "v")["counts"]
    if source == "topics":
        assert [one["contents"] for one in found] == ["wing spar", "yeast and über", "wing spar"]


@pytest.mark.parametrize("format", ["pyserini", "faiss"])
def test_a_finished_run_does_nothing_and_overwrite_starts_afresh(
    tiny: Any, corpus: Path, tmp_path: Path, format: Any, raises_error: Any
) -> None:
    given: Any = {"corpus": str(corpus), "format": format, **FAST}
    output, one = tmp_path / "o", str(tiny("bert"))
    encode.run(one, output, **given)
    before = {path.name: path.read_bytes() for path in output.iterdir()}
    assert "nothing to do" in encode.run(one, output, **given).message
    with raises_error("limit: None -> 3", "--overwrite"):
        encode.run(one, output, limit=3, **given)
    encode.run(one, output, overwrite=True, **given)
    assert {path.name: path.read_bytes() for path in output.iterdir()} == before
    (output / "mine.txt").write_text("kept")
    with raises_error("holds files that gradir did not make (mine.txt)"):
        encode.run(one, output, overwrite=True, **given)
    for path in output.iterdir():
        path.unlink()
    encode.run(one, output, **given)  # the manifest beside an emptied folder vouches for nothing
    assert {path.name: path.read_bytes() for path in output.iterdir()} == before


KILLED = """
import os, signal, sys
from pathlib import Path
from gradir import encode
from gradir.data.manifest import Job
from gradir.encode import perform

if sys.argv[4] == "parts":
    perform.finish = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
elif sys.argv[4] == "files":
    Job.finish = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
else:
    perform._tidy = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
encode.run(sys.argv[1], Path(sys.argv[2]), corpus=sys.argv[3], device="cpu", dtype="float32", part_size=10, format="pyserini")
"""


@pytest.mark.parametrize("after", ["parts", "files", "manifest"])
def test_a_run_killed_near_its_end_encodes_nothing_again(
    tiny: Any, corpus: Path, tmp_path: Path, after: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: Any = {"corpus": str(corpus), "format": "pyserini", **FAST}
    one = str(tiny("bert", head=True))
    encode.run(one, tmp_path / "whole", **given)
    words = [one, str(tmp_path / "o"), str(corpus), after]
    child = subprocess.run([sys.executable, "-c", KILLED, *words], capture_output=True)
    assert child.returncode == -signal.SIGKILL, child.stderr.decode()
    said = encode.run(one, tmp_path / "o", **given).message
    assert "all parts were there" in said or "nothing to do" in said
    assert [path.name for path in (tmp_path / "o").iterdir()] == ["embeddings.jsonl"]
    name = "embeddings.jsonl"
    assert (tmp_path / "o" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_the_flat_index_is_what_faiss_writes(tmp_path: Path) -> None:
    import faiss

    vectors = np.random.default_rng(1).normal(size=(7, 5)).astype(np.float32)
    index = faiss.IndexFlatIP(5)
    index.add(vectors)
    faiss.write_index(index, str(tmp_path / "theirs"))
    write_flat_index(tmp_path / "ours", 7, 5, iter([vectors[:3], vectors[3:]]), lambda _: None)
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()


def test_faiss_holds_the_vectors_of_the_shards(tiny: Any, corpus: Path, tmp_path: Path) -> None:
    import faiss

    encode.run(str(tiny("bert")), tmp_path / "v", corpus=str(corpus), **FAST)
    encode.run(str(tiny("bert")), tmp_path / "f", corpus=str(corpus), format="faiss", **FAST)
    index = faiss.read_index(str(tmp_path / "f" / "index"))
    expected = vectors_by_id(tmp_path / "v")
    assert (tmp_path / "f" / "docid").read_text().splitlines() == list(expected)
    np.testing.assert_array_equal(index.reconstruct_n(0, index.ntotal), np.float32(list(expected.values())))


def test_tokens_are_repeated_as_often_as_impacts_say(tiny: Any, topics: Path, tmp_path: Path) -> None:
    one = str(tiny("bert", head=True))
    encode.run(one, tmp_path / "v", topics=str(topics), **FAST)
    encode.run(one, tmp_path / "t", topics=str(topics), format="tokens", **FAST)
    for line in (tmp_path / "t" / "queries.tsv").read_text(encoding="utf-8").splitlines():
        qid, text = line.split("\t")
        words = text.split()
        assert {word: words.count(word) for word in words} == vectors_by_id(tmp_path / "v")[qid]


def test_a_query_without_terms_has_no_line_of_tokens(tiny: Any, tmp_path: Path, raises_error: Any) -> None:
    (tmp_path / "topics.tsv").write_text("q1\twing\nq2\t \n")
    with raises_error("query q2 has no terms", "--format pyserini"):
        encode.run(
            str(tiny("bert", head=True)), tmp_path / "t", topics=str(tmp_path / "topics.tsv"), format="tokens", **FAST
        )
    assert not (tmp_path / "t" / "queries.tsv").exists()


def test_a_pickle_is_what_pyserini_looks_queries_up_in(tiny: Any, topics: Path, tmp_path: Path) -> None:
    import pandas

    encode.run(str(tiny("bert")), tmp_path / "v", topics=str(topics), **FAST)
    encode.run(str(tiny("bert")), tmp_path / "p", topics=str(topics), format="pickle", **FAST)
    frame = pandas.read_pickle(tmp_path / "p" / "embedding.pkl")
    assert frame["text"].tolist() == ["wing spar", "yeast and über", "wing spar"]
    assert frame["embedding"][0].dtype == np.float32
    assert dict(zip(frame["id"], map(list, frame["embedding"].tolist()), strict=True)) == vectors_by_id(tmp_path / "v")


def test_float16_halves_dense_shards(tiny: Any, corpus: Path, tmp_path: Path, raises_error: Any) -> None:
    import pyarrow.parquet as pq

    encode.run(str(tiny("bert")), tmp_path / "v", corpus=str(corpus), **FAST)
    encode.run(str(tiny("bert")), tmp_path / "h", corpus=str(corpus), vector_dtype="float16", **FAST)
    assert str(pq.read_schema(tmp_path / "h" / "part-00000.parquet").field("vector").type.value_type) == "halffloat"
    whole, halved = (np.array(list(vectors_by_id(tmp_path / name).values())) for name in ("v", "h"))
    np.testing.assert_array_equal(halved, whole.astype(np.float16).astype(np.float64))
    with raises_error("--vector-dtype float16 is for dense vectors"):
        encode.run(str(tiny("bert", head=True)), tmp_path / "s", corpus=str(corpus), vector_dtype="float16", **FAST)


@pytest.mark.parametrize(
    ("format", "side", "kind", "said"),
    [
        ("tokens", "passage", "splade", "is for topics"),
        ("pickle", "passage", "dense", "is for topics"),
        ("pickle", "query", "splade", "Give pyserini, tokens or shards"),
        ("tokens", "query", "dense", "Give pickle, pyserini or shards"),
        ("faiss", "passage", "splade", "holds dense vectors, these are splade"),
    ],
)
def test_formats_that_cannot_hold_the_vectors(format: Any, side: str, kind: str, said: str, raises_error: Any) -> None:
    with raises_error(said):
        formats.check_format(format, side, kind)
