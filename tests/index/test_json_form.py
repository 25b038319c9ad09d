"""`--to-json`: Anserini's own IndexCollection makes an index of it with the scores of ours."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradir import index, jvm


@pytest.fixture
def anserini_index() -> Any:
    """Index a folder of JSON lines with Anserini's own program; returns the number of documents."""
    jvm.ensure()
    from jnius import autoclass

    def make(command: str, output: Path) -> int:
        words = shlex.split(command.replace("INDEX", str(output)))
        assert words[:3] == ["gradir", "pyserini", "index.lucene"]
        # `pyserini index.lucene` takes a dash off each flag, and no more
        words = [word[1:] if word.startswith("--") else word for word in words[3:]]
        autoclass("io.anserini.index.IndexCollection").main([*words, "-quiet"])
        path = autoclass("java.nio.file.Paths").get(str(output))
        reader = autoclass("org.apache.lucene.index.DirectoryReader").open(
            autoclass("org.apache.lucene.store.FSDirectory").open(path)
        )
        documents = reader.numDocs()
        reader.close()
        return int(documents)

    return make


def test_anserini_makes_the_same_index_of_it(
    sparse_shards: Any, impact_search: Any, anserini_index: Any, tmp_path: Path
) -> None:
    rng = np.random.default_rng(11)
    vocab = ["##ing", "naïve", "日本", '"', "\\", "<all>", "|", "a😀", *(f"t{i}" for i in range(30))]
    matrix = rng.integers(1, 40, (50, len(vocab))) * (rng.random((50, len(vocab))) < 0.4)
    matrix[7] = 0
    shards = sparse_shards(matrix, vocab, [f"doc{i}" for i in rng.permutation(50)], parts=3)
    index.run(shards, tmp_path / "ours", "impact", top_k=12)
    written = index.run(shards, tmp_path / "json", "impact", top_k=12, to_json=True, threads=4)
    assert anserini_index(written.next_command, tmp_path / "theirs") == 49  # the empty document is left out
    queries = [
        {vocab[term]: int(rng.integers(1, 99)) for term in rng.choice(len(vocab), 6, replace=False)} for _ in range(20)
    ]
    ours, theirs = (impact_search(tmp_path / name, queries, 50) for name in ("ours", "theirs"))
    assert ours == theirs
    assert any(ours)


@pytest.mark.parametrize(("threads", "sizes"), [(1, [7]), (3, [2, 2, 3]), (20, [1] * 7)])
def test_a_file_for_each_thread_in_the_order_of_the_documents(
    sparse_shards: Any, tmp_path: Path, threads: int, sizes: list[int]
) -> None:
    matrix = np.array([[1, 0, 2]] * 6 + [[0, 0, 0]])
    index.run(
        sparse_shards(matrix, ["a", "b", "c"], parts=2), tmp_path / "out", "impact", to_json=True, threads=threads
    )
    files = sorted((tmp_path / "out" / "documents").iterdir())
    rows = [[json.loads(line) for line in file.read_text().splitlines()] for file in files]
    assert [len(found) for found in rows] == sizes
    expected = [{"id": f"d{i}", "contents": "", "vector": {"a": 1, "c": 2}} for i in range(6)]
    assert [row for found in rows for row in found] == [*expected, {"id": "d6", "contents": "", "vector": {}}]
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["config"]["type"] == "impact-json"
    assert manifest["counts"] == {"documents": 7, "postings": 12, "terms": 2, "empty": 1, "files": len(sizes)}


def test_what_anserini_would_split_or_take_twice(sparse_shards: Any, raises_error: Any, tmp_path: Path) -> None:
    split = sparse_shards(np.eye(2, dtype=int), ["a", "b c"], to="split")
    twice = sparse_shards(np.ones((2, 1), dtype=int), ["a"], ["d", "d"], to="twice")
    empty = sparse_shards(np.zeros((2, 1), dtype=int), ["a"], to="empty")
    for shards, words in ((split, ["white space"]), (twice, ["used before"]), (empty, ["no document has a term"])):
        with raises_error(*words):
            index.run(shards, tmp_path / "out", "impact", to_json=True)
        assert not (tmp_path / "out").exists()
