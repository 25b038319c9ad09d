"""`--append` and `--type merge`: the index of all documents at once, made in steps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradir import index

VOCAB = [f"t{i}" for i in range(12)]


@pytest.fixture
def halves(sparse_shards: Any) -> tuple[Path, Path, Path]:
    """(all 30 documents, the first 18, the last 12)."""
    rng = np.random.default_rng(4)
    matrix = rng.integers(1, 90, (30, 12)) * (rng.random((30, 12)) < 0.5)
    matrix[[2, 25]] = 0
    docids = [f"d{i}" for i in rng.permutation(30)]
    cuts = {"all": slice(0, 30), "first": slice(0, 18), "last": slice(18, 30)}
    return tuple(sparse_shards(matrix[cut], VOCAB, docids[cut], parts=2, to=name) for name, cut in cuts.items())  # type: ignore[return-value]


def manifest(folder: Path) -> Any:
    return json.loads((folder / "manifest.json").read_text())


def same(impact_search: Any, one: Path, other: Path) -> None:
    rng = np.random.default_rng(9)
    queries = [{VOCAB[term]: int(rng.integers(1, 50)) for term in rng.choice(12, 4, replace=False)} for _ in range(8)]
    found = [impact_search(folder, queries, 40) for folder in (one, other)]
    assert found[0] == found[1]
    counts = [manifest(folder)["counts"] for folder in (one, other)]
    assert counts[0] | {"terms": 0} == counts[1] | {"terms": 0}


@pytest.mark.parametrize("optimize", [True, False])
def test_shards_merged_are_the_index_of_all(halves: Any, impact_search: Any, tmp_path: Path, optimize: bool) -> None:
    parts = [tmp_path / f"shard{i}" for i in range(3)]
    for i, part in enumerate(parts):
        index.run(halves[0], part, "impact", shard_id=i, shard_num=3, top_k=5)
    index.run(halves[0], tmp_path / "whole", "impact", top_k=5)
    outcome = index.run(parts, tmp_path / "merged", "merge", optimize=optimize)
    same(impact_search, tmp_path / "whole", tmp_path / "merged")
    config = manifest(tmp_path / "whole")["config"]
    assert manifest(tmp_path / "merged")["config"] == config | ({} if optimize else {"optimize": False})
    assert "impact index, 30 documents (2 empty)" in outcome.message
    assert "nothing to do" in index.run(parts, tmp_path / "merged", "merge", optimize=optimize).message


def test_an_index_appended_to_is_the_index_of_all(halves: Any, impact_search: Any, tmp_path: Path) -> None:
    whole, first, last = halves
    index.run(whole, tmp_path / "whole", "impact", top_k=7)
    index.run(first, tmp_path / "index", "impact", top_k=7)
    index.run(last, tmp_path / "index", "impact", top_k=7, append=True)
    same(impact_search, tmp_path / "whole", tmp_path / "index")
    assert [Path(known["path"]).name for known in manifest(tmp_path / "index")["inputs"]] == ["first", "last"]
    assert set(manifest(tmp_path / "index")["files"]) == {
        file.name for file in (tmp_path / "index").iterdir() if file.name != "manifest.json"
    }
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "index").iterdir()}
    for shards in (first, last):
        assert "nothing to do" in index.run(shards, tmp_path / "index", "impact", top_k=7, append=True).message
    assert before == {file: file.stat().st_mtime_ns for file in (tmp_path / "index").iterdir()}
    assert {path.name for path in tmp_path.iterdir()} == {"all", "first", "last", "whole", "index"}


def test_what_cannot_be_appended_leaves_the_index_as_it_was(
    halves: Any, sparse_shards: Any, dense_shards: Any, raises_error: Any, tmp_path: Path
) -> None:
    _, first, last = halves
    index.run(first, tmp_path / "index", "impact")
    index.run(dense_shards(np.eye(3)), tmp_path / "flat", "flat")
    before = {file.name: file.read_bytes() for file in (tmp_path / "index").iterdir()}
    again = sparse_shards(np.ones((2, 12), dtype=int), VOCAB, ["new", "d0"], to="again")
    with raises_error(f"{again}: document id 'd0' was used before"):
        index.run(again, tmp_path / "index", "impact", append=True)
    for flags, words in (
        ({"top_k": 3}, "top_k: None -> 3"),
        ({"store_raw": "corpus.jsonl"}, "store_raw: None -> True"),
    ):
        with raises_error("not made in the same way", words):
            index.run(last, tmp_path / "index", "impact", append=True, **flags)
    index.run(first, tmp_path / "forward", "impact", forward=True)
    with raises_error("forward", "cannot be appended to"):
        index.run(last, tmp_path / "forward", "impact", append=True)
    with raises_error("nowhere", "Leave --append out"):
        index.run(last, tmp_path / "nowhere", "impact", append=True)
    with raises_error("flat", "is no impact"):
        index.run(last, tmp_path / "flat", "impact", append=True)
    with raises_error("is no impact"):
        index.run([tmp_path / "index", tmp_path / "flat"], tmp_path / "merged", "merge")
    assert before == {file.name: file.read_bytes() for file in (tmp_path / "index").iterdir()}
    assert not [path for path in tmp_path.iterdir() if "partial" in path.name or path.name == "merged"]


def test_indexes_made_in_different_ways_are_not_merged(halves: Any, raises_error: Any, tmp_path: Path) -> None:
    index.run(halves[1], tmp_path / "a", "impact", top_k=3)
    index.run(halves[2], tmp_path / "b", "impact", top_k=4)
    with raises_error("top_k: 3 -> 4"):
        index.run([tmp_path / "a", tmp_path / "b"], tmp_path / "merged", "merge")
    with raises_error("used before"):
        index.run([tmp_path / "a", tmp_path / "a"], tmp_path / "merged", "merge")
    with raises_error("nowhere"):
        index.run([tmp_path / "a", tmp_path / "nowhere"], tmp_path / "merged", "merge")
    with raises_error("lies over or inside"):
        index.run([tmp_path / "a", tmp_path / "b"], tmp_path / "b", "merge", overwrite=True)
    assert not (tmp_path / "merged").exists()


def test_bm25_indexes_are_merged_too(tmp_path: Path) -> None:
    from pyserini.search.lucene import LuceneSearcher

    texts = ["red apple", "green apple pie", "red brick", "a pie of red apples"]
    for name, rows in {"all": texts, "a": texts[:3], "b": texts[3:]}.items():
        lines = [{"_id": f"d{texts.index(text)}", "text": text} for text in rows]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        index.run(tmp_path / f"{name}.jsonl", tmp_path / name, "bm25")
    index.run([tmp_path / "a", tmp_path / "b"], tmp_path / "merged", "merge")
    hits = []
    for name in ("all", "merged"):
        searcher = LuceneSearcher(str(tmp_path / name))
        hits.append([(hit.docid, hit.score) for hit in searcher.search("red apples", 10)])
        searcher.close()
    assert hits[0] == hits[1]
    assert len(hits[0]) == 4


def test_an_index_that_another_program_writes(halves: Any, raises_error: Any, tmp_path: Path) -> None:
    from jnius import autoclass

    for name, shards in zip(("a", "b"), halves[1:], strict=True):
        index.run(shards, tmp_path / name, "impact")
    path = autoclass("java.nio.file.Paths").get(str(tmp_path / "b"))
    directory = autoclass("org.apache.lucene.store.FSDirectory").open(path)
    lock = directory.obtainLock("write.lock")
    try:
        with raises_error("Another program is writing it"):
            index.run([tmp_path / "a", tmp_path / "b"], tmp_path / "merged", "merge")
        with raises_error("Another program is writing it"):
            index.run(halves[1], tmp_path / "b", "impact", append=True)
        assert (tmp_path / "b" / "write.lock").exists()
    finally:
        lock.close()
        directory.close()
    index.run([tmp_path / "a", tmp_path / "b"], tmp_path / "merged", "merge")
