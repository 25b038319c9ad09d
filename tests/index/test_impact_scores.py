"""An impact index searched by Pyserini's own searcher gives the integer dot products of the shards."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradir import index

ODD_TERMS = [
    "##ing",
    "|",
    "a|b",
    "naïve",
    "é",
    "e\u0301",
    "日本",
    "😀",
    "a😀",
    "İ",
    "ﬁ",
    "\u200b",
    "<all>",
    '"',
    "\\",
    "AND",
]
ODD_TERMS += ["x" * 255, "日" * 255, "😀" * 127]


def whole(found: Any) -> Any:
    """Scores as integers: Anserini lowers ties by 1e-6 each."""
    return [[(docid, round(score)) for docid, score in hits] for hits in found]


def collection(seed: int) -> tuple[np.ndarray, list[str], list[str], list[dict[str, int]]]:
    """(impacts, vocabulary, docids, queries) of a random collection with the odd cases in it."""
    rng = np.random.default_rng(seed)
    vocab = ODD_TERMS + [f"t{i}" for i in range(rng.integers(1, 60))]
    documents = int(rng.integers(5, 120))
    matrix = rng.integers(1, 300, (documents, len(vocab))) * (rng.random((documents, len(vocab))) < rng.random())
    matrix[:, vocab.index("<all>")] = 7
    matrix[rng.integers(documents)] = 0
    matrix[0] = 1
    matrix[1, 1] = 100_000
    docids = [str(number) for number in rng.permutation(documents * 3)[:documents]]
    queries = [
        {vocab[i]: int(rng.integers(1, 150)) for i in rng.choice(len(vocab), rng.integers(1, 15), replace=False)}
        for _ in range(6)
    ]
    return matrix, vocab, docids, [*queries, {"<all>": 1}, {"a😀": 3, "unknown": 9}, {}, {term: 1 for term in vocab}]


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("k", [5, 1000])
def test_scores_and_order_equal_sums_by_hand(
    seed: int, k: int, sparse_shards: Any, impact_search: Any, by_hand: Any, tmp_path: Path
) -> None:
    matrix, vocab, docids, queries = collection(seed)
    shards = sparse_shards(matrix, vocab, docids, parts=1 + seed % 3)
    index.run(shards, tmp_path / "index", "impact")
    assert whole(impact_search(tmp_path / "index", queries, k)) == by_hand(matrix, vocab, queries, k, docids)


def test_terms_keep_their_length_whatever_their_impact(sparse_shards: Any, impact_search: Any, tmp_path: Path) -> None:
    # the tokenizer sees term, delimiter and impact as one token
    terms = ["x" * 255, "y" * 250, "😀" * 127]
    impacts = np.array([[100_000, 0, 0], [0, 99_999, 0], [0, 0, 1_000_000]])
    index.run(sparse_shards(impacts, terms), tmp_path / "index", "impact")
    found = impact_search(tmp_path / "index", [{term: 1} for term in terms], 10)
    assert found == [[("d0", 100_000.0)], [("d1", 99_999.0)], [("d2", 1_000_000.0)]]


def test_sums_are_exact_to_2_24_and_rounded_to_single_precision_beyond(
    sparse_shards: Any, impact_search: Any, tmp_path: Path
) -> None:
    matrix = np.array([[16_777_215, 1], [16_777_216, 1], [40_422_948, 1], [2**31 - 2, 1]])
    index.run(sparse_shards(matrix, ["a", "b"]), tmp_path / "index", "impact")
    found = {docid: score for docid, score in impact_search(tmp_path / "index", [{"a": 1, "b": 1}], 10)[0]}
    assert found["d0"] == 16_777_216
    assert {docid: round(score) for docid, score in found.items()} == {
        f"d{row}": int(np.float32(sum(matrix[row].tolist()))) for row in range(4)
    }


def test_more_documents_than_a_chunk_and_than_a_batch_of_strings(
    sparse_shards: Any, impact_search: Any, by_hand: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gradir.index.impact._CHUNK_DOCUMENTS", 7)
    monkeypatch.setattr("gradir.index.impact._POSTING_BYTES", 64 * 2**20 // 40)
    matrix, vocab, docids, queries = collection(99)
    index.run(sparse_shards(matrix, vocab, docids, parts=2), tmp_path / "index", "impact")
    assert whole(impact_search(tmp_path / "index", queries, 50)) == by_hand(matrix, vocab, queries, 50, docids)


def test_empty_documents_are_kept_and_counted(sparse_shards: Any, impact_search: Any, tmp_path: Path) -> None:
    matrix = np.array([[0, 0], [3, 4], [0, 0]])
    index.run(sparse_shards(matrix, ["a", "b"]), tmp_path / "index", "impact")
    manifest = json.loads((tmp_path / "index" / "manifest.json").read_text())
    assert manifest["counts"] == {"documents": 3, "postings": 2, "terms": 2, "empty": 2}
    assert [docid for docid, _ in impact_search(tmp_path / "index", [{"a": 1, "b": 1}], 10)[0]] == ["d1"]
    from pyserini.index.lucene import LuceneIndexReader

    reader = LuceneIndexReader(str(tmp_path / "index"))
    assert reader.stats()["documents"] == 3
    assert reader.doc("d2").docid() == "d2"


def test_indexing_twice_gives_equal_documents_postings_and_scores(
    sparse_shards: Any, impact_search: Any, tmp_path: Path
) -> None:
    from pyserini.index.lucene import LuceneIndexReader

    matrix, vocab, docids, queries = collection(5)
    shards = sparse_shards(matrix, vocab, docids)
    seen = []
    for name in ("one", "two"):
        index.run(shards, tmp_path / name, "impact")
        reader = LuceneIndexReader(str(tmp_path / name))
        postings = [
            (term.term, [(posting.docid, posting.tf) for posting in reader.get_postings_list(term.term, analyzer=None)])
            for term in reader.terms()
        ]
        ids = [reader.convert_internal_docid_to_collection_docid(number) for number in range(len(docids))]
        seen.append((ids, postings, impact_search(tmp_path / name, queries, 1000)))
    assert seen[0] == seen[1]
    assert seen[0][0] == docids
    assert len(seen[0][1]) == (matrix.sum(0) > 0).sum()


def test_anserinis_own_indexing_gives_equal_scores(sparse_shards: Any, impact_search: Any, tmp_path: Path) -> None:
    matrix, vocab, docids, queries = collection(3)
    matrix[matrix > 300] = 300  # IndexCollection repeats a term as often as its impact
    index.run(sparse_shards(matrix, vocab, docids), tmp_path / "ours", "impact")
    (tmp_path / "json").mkdir()
    with (tmp_path / "json" / "vectors.jsonl").open("w", encoding="utf-8") as stream:
        for docid, row in zip(docids, matrix.tolist(), strict=True):
            vector = {term: impact for term, impact in zip(vocab, row, strict=True) if impact}
            stream.write(json.dumps({"id": docid, "contents": "", "vector": vector}) + "\n")
    from jnius import autoclass

    flags = ["-collection", "JsonVectorCollection", "-input", str(tmp_path / "json"), "-index", str(tmp_path / "its")]
    flags += ["-generator", "DefaultLuceneDocumentGenerator", "-threads", "1", "-impact", "-pretokenized", "-quiet"]
    autoclass("io.anserini.index.IndexCollection").main(flags)
    ours, theirs = (impact_search(tmp_path / name, queries, 1000) for name in ("ours", "its"))
    assert ours == theirs
    assert sum(map(len, ours)) > 40


@pytest.mark.e2e
def test_pyserinis_command_gives_the_sums_by_hand(
    sparse_shards: Any, impact_search: Any, by_hand: Any, tmp_path: Path
) -> None:
    matrix, vocab, docids, queries = collection(1)
    index.run(sparse_shards(matrix, vocab, docids), tmp_path / "index", "impact")
    queries = [query for query in queries if query]
    topics, encoded, run = tmp_path / "q.tsv", tmp_path / "queries.jsonl", tmp_path / "run.trec"
    topics.write_text("".join(f"q{i}\tquery {i}\n" for i in range(len(queries))))
    lines = [json.dumps({"id": f"q{i}", "contents": f"query {i}", "vector": q}) for i, q in enumerate(queries)]
    encoded.write_text("\n".join(lines) + "\n")
    command = [sys.executable, "-m", "gradir.cli", "pyserini", "search.lucene", "--impact", "--index"]
    command += [str(tmp_path / "index"), "--topics", str(topics), "--encoder", str(encoded), "--min-idf", "-1"]
    command += ["--output", str(run), "--hits", "1000"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, env=os.environ | {"GRADIR_HEAP": "1g"})
    assert done.returncode == 0, done.stderr
    found: dict[str, list[tuple[str, int]]] = {}
    for line in run.read_text().splitlines():
        qid, _, docid, _, score, _ = line.split()
        found.setdefault(qid, []).append((docid, round(float(score))))
    wanted = by_hand(matrix, vocab, queries, 1000, docids)
    assert found == {f"q{i}": hits for i, hits in enumerate(wanted) if hits}
