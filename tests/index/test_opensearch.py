"""`--type opensearch-bulk`: the requests hold the vectors, and fit what the engines take."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest

from gradir import index
from gradir.data.vectors import VectorShards
from gradir.index import opensearch

VOCABULARY = [".", "u.s.", "%", "%2E", "##ing", "naïve", "日本", '"', "\\", "\u200b", *(f"t{i}" for i in range(20))]


def requests(folder: Path) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """(action, document) of all files in name order."""
    lines = [line for file in sorted(folder.glob("bulk-*.ndjson")) for line in file.read_bytes().split(b"\n")[:-1]]
    return [(json.loads(lines[i]), json.loads(lines[i + 1])) for i in range(0, len(lines), 2)]


@pytest.fixture
def collection(sparse_shards: Any) -> Path:
    rng = np.random.default_rng(2)
    matrix = rng.integers(1, 500, (40, len(VOCABULARY))) * (rng.random((40, len(VOCABULARY))) < 0.5)
    matrix[[3, 39]] = 0
    matrix[0] = 2**20 + 1
    return sparse_shards(matrix, VOCABULARY, [f"é{i}" for i in range(40)], parts=3)


def test_the_vectors_come_back(collection: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opensearch, "_FILE_BYTES", 4000)
    index.run(collection, tmp_path / "papers", "opensearch-bulk")
    files = sorted((tmp_path / "papers").glob("bulk-*"))
    assert len(files) > 2
    assert all(file.stat().st_size <= 4000 and file.read_bytes().endswith(b"\n") for file in files)
    expected = []
    for docids, vectors in VectorShards(collection).sparse_parts():
        for row, docid in enumerate(docids):
            terms, impacts = (half.tolist() for half in vectors.row(row))
            expected.append((docid, {VOCABULARY[t]: i for t, i in zip(terms, impacts, strict=True)}))
    found = requests(tmp_path / "papers")
    assert {action["index"]["_index"] for action, _ in found} == {"papers"}
    names = [name for _, document in found for name in document.get("impacts", {})]
    assert not any("." in name for name in names)
    assert [
        (action["index"]["_id"], {unquote(name): impact for name, impact in document.get("impacts", {}).items()})
        for action, document in found
    ] == expected
    assert found[3][1] == {}
    counts = json.loads((tmp_path / "papers" / "manifest.json").read_text())["counts"]
    postings = sum(len(vector) for _, vector in expected)
    assert counts == {"documents": 40, "postings": postings, "terms": 30, "empty": 2, "files": len(files)}


def test_a_document_larger_than_a_file_stands_alone(
    sparse_shards: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opensearch, "_FILE_BYTES", 10)
    index.run(sparse_shards(np.ones((3, 1), dtype=int), ["a"]), tmp_path / "i", "opensearch-bulk")
    assert [file.read_text().count("\n") for file in sorted((tmp_path / "i").glob("bulk-*"))] == [2, 2, 2]


def test_texts_come_with_the_vectors(sparse_shards: Any, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.jsonl"
    texts = [{"_id": f"d{i}", "title": "T", "text": f"text “{i}”\nline"} for i in range(5)]
    corpus.write_text("".join(json.dumps(text) + "\n" for text in texts))
    shards = sparse_shards(np.ones((3, 1), dtype=int), ["a"], ["d0", "d2", "d4"])
    index.run(shards, tmp_path / "i", "opensearch-bulk", store_raw=str(corpus))
    assert [document["contents"] for _, document in requests(tmp_path / "i")] == [
        f"T text “{i}”\nline" for i in (0, 2, 4)
    ]
    for engine in ("opensearch", "elasticsearch"):
        properties = json.loads((tmp_path / "i" / f"mapping.{engine}.json").read_text())["mappings"]["properties"]
        assert set(properties) == {"impacts", "contents"}


def test_each_engine_has_its_mapping_and_query(collection: Path, tmp_path: Path) -> None:
    index.run(collection, tmp_path / "papers", "opensearch-bulk")
    read = {file.name: json.loads(file.read_text()) for file in (tmp_path / "papers").glob("*.json")}
    for engine, type in (("opensearch", "rank_features"), ("elasticsearch", "sparse_vector")):
        mapping = read[f"mapping.{engine}.json"]["mappings"]
        assert mapping == {"dynamic": "strict", "properties": {"impacts": {"type": type}}}
    clauses = read["query.opensearch.json"]["query"]["bool"]["should"]
    vector = read["query.elasticsearch.json"]["query"]["sparse_vector"]["query_vector"]
    assert [clause["rank_feature"]["field"] for clause in clauses] == [f"impacts.{name}" for name in vector]
    assert [clause["rank_feature"]["boost"] for clause in clauses] == list(vector.values())
    assert list(vector) == ["%2E", "u%2Es%2E", "%25"]
    readme = (tmp_path / "papers" / "README.txt").read_text()
    for name in ("mapping.opensearch.json", "query.elasticsearch.json", "/papers/_search", "_bulk"):
        assert name in readme


@pytest.mark.parametrize("name", ["Papers", "_papers", "-p", "+p", "a b", "a,b", "a#b", "a:b", "a*", 'a"'])
def test_names_that_the_engines_refuse(collection: Path, raises_error: Any, tmp_path: Path, name: str) -> None:
    with raises_error(f"called {name}", "lower case"):
        index.run(collection, tmp_path / name, "opensearch-bulk")
    assert not list(tmp_path.glob("*/bulk*"))


def test_an_id_longer_than_the_engines_take(sparse_shards: Any, raises_error: Any, tmp_path: Path) -> None:
    shards = sparse_shards(np.ones((2, 1), dtype=int), ["a"], ["ok", "é" * 257])
    with raises_error("514 bytes", "512", "part-00000"):
        index.run(shards, tmp_path / "i", "opensearch-bulk")
    assert not (tmp_path / "i").exists()
