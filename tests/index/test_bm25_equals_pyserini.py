"""A BM25 index gives what Anserini's own indexing of the same texts gives."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradir import index, jvm
from gradir.data.corpus import write_corpus
from gradir.data.records import Document
from gradir.errors import GradirError

WORDS = "wing wings flying flow the of and boundary layer's laminar β-carotene naïve 日本語 𝛽 😀 U.S. 3.14 e-mail run running"


def documents(seed: int) -> list[Document]:
    rng = np.random.default_rng(seed)
    words = [*WORDS.split(), *(f"term{i}" for i in range(80))]
    made = []
    for number in range(200):
        chosen = [words[i] for i in rng.zipf(1.3, rng.integers(3, 60)) % len(words)]
        made.append(Document(f"d{number}", " ".join(chosen[3:]), "" if number % 3 else " ".join(chosen[:3])))
    return [*made, Document("empty", ""), Document("stop", "the of and"), Document("twin", made[0].text, made[0].title)]


def found(folder: Path, queries: list[str]) -> list[list[tuple[str, float]]]:
    from pyserini.search.lucene import LuceneSearcher

    searcher = LuceneSearcher(str(folder))
    searcher.set_bm25(0.9, 0.4)
    return [[(hit.docid, hit.score) for hit in searcher.search(query, k=300)] for query in queries]


@pytest.mark.parametrize("seed", range(2))
def test_order_and_scores_equal_index_collection(seed: int, tmp_path: Path) -> None:
    made = documents(seed)
    write_corpus(tmp_path / "beir" / "corpus.jsonl", made)
    index.run(tmp_path / "beir", tmp_path / "ours", "bm25")
    (tmp_path / "json").mkdir()
    with (tmp_path / "json" / "docs.jsonl").open("w", encoding="utf-8") as stream:
        for document in made:
            stream.write(json.dumps({"id": document.docid, "contents": f"{document.title} {document.text}"}) + "\n")
    from jnius import autoclass

    flags = ["-collection", "JsonCollection", "-input", str(tmp_path / "json"), "-index", str(tmp_path / "its")]
    flags += ["-generator", "DefaultLuceneDocumentGenerator", "-threads", "1", "-quiet"]
    autoclass("io.anserini.index.IndexCollection").main(flags)
    queries = [
        *WORDS.split(),
        "wing flow of the layers",
        "term1 term2 naïve 日本語",
        "𝛽 😀",
        "nothing known",
        "",
        "the",
    ]
    ours = found(tmp_path / "ours", queries)
    assert ours == found(tmp_path / "its", queries)
    assert sum(map(len, ours)) > 500


def test_counts_keep_empty_documents_and_stopwords_only(tmp_path: Path) -> None:
    write_corpus(tmp_path / "corpus.jsonl", documents(0))
    index.run(tmp_path / "corpus.jsonl", tmp_path / "index", "bm25")
    counts = json.loads((tmp_path / "index" / "manifest.json").read_text())["counts"]
    empty = sum(not document.contents.strip() for document in documents(0))
    assert counts == {"documents": 203, "empty": empty}
    assert empty > 0


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (['{"_id": "a", "text": "x"}', '{"_id": "a", "text": "y"}'], ":2: document id 'a' was used before"),
        (['{"_id": "a", "text": ""}', '{"_id": "b", "text": " "}'], "all documents are empty"),
        (['{"_id": "a b", "text": "x"}'], "white space"),
        ([], "holds no documents"),
    ],
)
def test_corpora_that_are_refused(lines: list[str], words: str, tmp_path: Path) -> None:
    jvm.ensure()
    (tmp_path / "corpus.jsonl").write_text("".join(line + "\n" for line in lines))
    with pytest.raises(GradirError, match=words):
        index.run(tmp_path / "corpus.jsonl", tmp_path / "index", "bm25")
    assert [path.name for path in tmp_path.iterdir()] == ["corpus.jsonl"]


def test_a_folder_without_a_corpus(dense_shards: Any, tmp_path: Path) -> None:
    with pytest.raises(GradirError, match="holds no corpus"):
        index.run(dense_shards(np.eye(2)), tmp_path / "index", "bm25")
