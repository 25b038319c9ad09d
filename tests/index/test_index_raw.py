"""`--store-raw`: each document gets its own text, or the stage says why not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradir import index, jvm


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Documents 0 to 9 of odd texts, one of them empty."""
    path = tmp_path / "corpus.jsonl"
    texts = [
        {"_id": f"d{i}", "title": "Ein Käfer" if i % 2 else "", "text": f'{i} “q” \\ "z"\n日本 \U0001f600' if i else ""}
        for i in range(10)
    ]
    path.write_text("".join(json.dumps(text) + "\n" for text in texts), encoding="utf-8")
    return path


def ones(sparse_shards: Any, docids: list[str], parts: int = 1, to: str = "v") -> Path:
    return sparse_shards(np.ones((len(docids), 1), dtype=int), ["a"], docids, parts=parts, to=to)


@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("taken", [range(10), [0, 3, 4, 9], [5]])
def test_pyserini_reads_each_documents_own_text(
    sparse_shards: Any, corpus: Path, tmp_path: Path, taken: Any, parts: int
) -> None:
    docids = [f"d{i}" for i in taken]
    index.run(ones(sparse_shards, docids, parts), tmp_path / "index", "impact", store_raw=str(corpus))
    jvm.ensure()
    from pyserini.search.lucene import LuceneSearcher

    searcher = LuceneSearcher(str(tmp_path / "index"))
    for i, docid in zip(taken, docids, strict=True):
        title, text = ("Ein Käfer " if i % 2 else ""), (f'{i} “q” \\ "z"\n日本 \U0001f600' if i else "")
        assert json.loads(searcher.doc(docid).raw()) == {"id": docid, "contents": (title + text).strip()}
    searcher.close()


def test_a_shard_of_the_vectors_gets_its_own_texts(sparse_shards: Any, corpus: Path, tmp_path: Path) -> None:
    from pyserini.search.lucene import LuceneSearcher

    shards = ones(sparse_shards, [f"d{i}" for i in range(10)], parts=3)
    index.run(shards, tmp_path / "index", "impact", store_raw=str(corpus), shard_id=1, shard_num=3)
    searcher = LuceneSearcher(str(tmp_path / "index"))
    assert [json.loads(searcher.doc(f"d{i}").raw())["id"] for i in (3, 4, 5)] == ["d3", "d4", "d5"]
    assert searcher.doc("d6") is None
    searcher.close()


@pytest.mark.parametrize(
    ("docids", "words"),
    [
        (["d1", "x", "d2"], ["does not hold document x"]),
        (["d1", "d2", "d11"], ["does not hold document d11"]),
        (["d1", "d5", "d3"], ["another order", "document d3"]),
    ],
)
@pytest.mark.parametrize("type", ["impact", "opensearch-bulk"])
def test_a_corpus_that_does_not_belong_to_the_vectors(
    sparse_shards: Any, raises_error: Any, corpus: Path, tmp_path: Path, docids: list[str], words: list[str], type: Any
) -> None:
    with raises_error(str(corpus), *words, "the corpus that was encoded"):
        index.run(ones(sparse_shards, docids), tmp_path / "index", type, store_raw=str(corpus))
    assert not (tmp_path / "index").exists()


def test_no_corpus(sparse_shards: Any, raises_error: Any, tmp_path: Path) -> None:
    with raises_error("nowhere", "no such file"):
        index.run(ones(sparse_shards, ["d1"]), tmp_path / "index", "impact", store_raw=str(tmp_path / "nowhere"))


def test_a_changed_corpus_is_other_work(sparse_shards: Any, raises_error: Any, corpus: Path, tmp_path: Path) -> None:
    shards = ones(sparse_shards, ["d1", "d2"])
    index.run(shards, tmp_path / "index", "impact", store_raw=str(corpus))
    corpus.write_text(corpus.read_text().replace("Ein", "Kein"))
    with raises_error("other content"):
        index.run(shards, tmp_path / "index", "impact", store_raw=str(corpus))
