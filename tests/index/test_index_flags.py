"""The flags of `gradir index`: what does not fit is refused before any work, all at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradir import index


def test_all_problems_at_once(sparse_shards: Any, raises_error: Any, tmp_path: Path) -> None:
    shards = sparse_shards(np.eye(2, dtype=int), ["a", "b"])
    with raises_error(
        "--factory is for --type faiss, not impact",
        "--m is for --type hnsw or lucene-hnsw, not impact",
        "--int8 is for --type lucene-flat or lucene-hnsw",
        "--top-k 0: give 1 or more",
        "--term-quantile 1.0: give a number between 0 and 1",
        "--shard-id 2 --shard-num 2",
        "--threads -1: give 1 or more",
    ):
        index.run(
            shards,
            tmp_path / "index",
            "impact",
            factory="PQ8",
            m=8,
            int8=True,
            top_k=0,
            term_quantile=1.0,
            shard_id=2,
            shard_num=2,
            threads=-1,
        )
    assert not (tmp_path / "index").exists()


@pytest.mark.parametrize(
    ("type", "flags", "words"),
    [
        ("faiss", {}, ["needs --factory"]),
        ("flat", {"top_k": 3}, ["--top-k is for --type impact or opensearch-bulk, not flat"]),
        ("bm25", {"shard_num": 2}, ["--shard-num is for", "not bm25"]),
        ("hnsw", {"m": 1}, ["--m 1: give 2 or more"]),
        ("hnsw", {"ef_search": 0}, ["--ef-search 0"]),
        ("merge", {}, ["several indexes"]),
        ("impact", {"append": True, "overwrite": True}, ["give one of them"]),
        ("impact", {"append": True, "term_quantile": 0.5}, ["all documents at once"]),
        ("impact", {"to_json": True, "forward": True, "optimize": False}, ["--forward is not", "--optimize is not"]),
        ("impact", {"sample_queries": Path("topics")}, ["answers are exact"]),
        ("opensearch-bulk", {"store_docvectors": True}, ["--store-docvectors is for --type impact"]),
    ],
)
def test_flags_that_do_not_fit(raises_error: Any, tmp_path: Path, type: Any, flags: Any, words: list[str]) -> None:
    with raises_error(*words):
        index.run(tmp_path / "none", tmp_path / "index", type, **flags)


def test_one_input_alone(raises_error: Any, tmp_path: Path) -> None:
    with raises_error("--type impact takes one --input, not 2"):
        index.run([tmp_path / "a", tmp_path / "b"], tmp_path / "index", "impact")


def test_the_manifest_holds_what_decides_the_result(sparse_shards: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text("".join(json.dumps({"_id": f"d{i}", "text": f"text {i}"}) + "\n" for i in range(9)))
    shards = sparse_shards(rng.integers(1, 9, (9, 5)), list("abcde"), parts=2)
    index.run(
        shards,
        tmp_path / "index",
        "impact",
        top_k=3,
        store_raw=str(corpus),
        store_docvectors=True,
        shard_id=1,
        shard_num=2,
        threads=2,
        memory_buffer=32,
    )
    manifest = json.loads((tmp_path / "index" / "manifest.json").read_text())
    config = manifest["config"]
    assert config.pop("encoder")["impact_scale"] == 51.2
    assert config == {
        "type": "impact",
        "top_k": 3,
        "store_raw": True,
        "store_docvectors": True,
        "shard_id": 1,
        "shard_num": 2,
    }
    assert manifest["counts"]["documents"] == 5
    assert [Path(known["path"]).name for known in manifest["inputs"]] == ["v", "corpus.jsonl"]
    # what only takes more or less time or memory is no other work
    again = index.run(
        shards,
        tmp_path / "index",
        "impact",
        top_k=3,
        store_raw=str(corpus),
        store_docvectors=True,
        shard_id=1,
        shard_num=2,
        threads=1,
    )
    assert "nothing to do" in again.message


def test_the_report(sparse_shards: Any, tmp_path: Path) -> None:
    matrix = np.array([[5, 0, 0], [0, 0, 0], [1, 2, 0]])
    message = index.run(sparse_shards(matrix, ["a", "b", "c"]), tmp_path / "index", "impact").message
    assert "impact index, 3 documents (1 empty); 2 terms; 3 postings; " in message
    measured = json.loads((tmp_path / "index" / "manifest.json").read_text())["measured"]
    size = sum(file.stat().st_size for file in (tmp_path / "index").iterdir() if file.name != "manifest.json")
    assert measured["bytes"] == size
    assert measured["bytes_per_document"] == round(size / 3, 1)
    assert f"{size / 3:.0f} bytes a document" in message
    assert {"documents_per_second", "seconds", "peak_memory_mib"} <= set(measured)
    assert not any(name.startswith("recall") for name in measured)


@pytest.mark.parametrize("topics", [False, True])
def test_the_recall_of_a_graph(dense_shards: Any, tmp_path: Path, topics: bool) -> None:
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(300, 16)).astype(np.float32)
    sample = dense_shards(rng.normal(size=(7, 16)), to="topics") if topics else None
    flags = {"m": 2, "ef_construction": 4, "ef_search": 4, "sample_queries": sample}
    outcome = index.run(dense_shards(vectors), tmp_path / "index", "hnsw", **flags)
    measured = json.loads((tmp_path / "index" / "manifest.json").read_text())["measured"]
    assert 0 < measured["recall@100"] < measured["recall@10"] < 0.99
    assert (
        f"on {'7 topics' if topics else 'documents as queries'}: recall@10 {measured['recall@10']:.3f}"
        in outcome.message
    )


def test_topics_are_refused_before_any_work(
    dense_shards: Any, sparse_shards: Any, raises_error: Any, tmp_path: Path
) -> None:
    documents = dense_shards(np.eye(4))
    others = dense_shards(np.eye(3), to="others")
    sparse = sparse_shards(np.eye(3, dtype=int), ["a", "b", "c"], to="sparse")
    for topics, words in (
        (others, "vectors of 3 numbers"),
        (sparse, "splade"),
        (tmp_path / "none", "no vector shards"),
    ):
        with raises_error(words):
            index.run(documents, tmp_path / "index", "hnsw", sample_queries=topics)
