"""What Pyserini, FAISS and Lucene wrote, as vector shards: the same vectors, and the same runs after `gradir index`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradir import convert, index
from gradir.convert.__main__ import main
from gradir.convert.parts import parts
from gradir.data.vectors import SparseVectors, VectorShards

Vector = dict[str, int]


def jsonl(path: Path, vectors: dict[str, Any]) -> Path:
    """Embeddings as Pyserini's JsonlRepresentationWriter leaves them."""
    lines = (json.dumps({"id": docid, "contents": "x", "vector": vector}) for docid, vector in vectors.items())
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def sparse(folder: Path) -> dict[str, Vector]:
    """`{docid: {term: impact}}` of sparse shards, in their order."""
    shards, found = VectorShards(folder), {}
    vocab = shards.vocab()
    for docids, vectors in shards.sparse_parts():
        for i, docid in enumerate(docids):
            terms, impacts = vectors.row(i)
            assert terms.tolist() == sorted(set(terms.tolist()))
            found[docid] = {vocab[t]: n for t, n in zip(terms.tolist(), impacts.tolist(), strict=True)}
    return found


@pytest.fixture(scope="module")
def random_impacts() -> dict[str, Vector]:
    """300 documents of 40 terms; every seventh has none."""
    rng = np.random.default_rng(5)
    terms = [f"t{i}" for i in range(38)] + ["##ing", "é"]
    return {
        f"d{n}": {term: int(rng.integers(1, 400)) for term in terms if n % 7 and rng.random() < 0.3} for n in range(300)
    }


@pytest.fixture(scope="module")
def lucene(tmp_path_factory: pytest.TempPathFactory, random_impacts: dict[str, Vector]) -> Path:
    """An impact index that Anserini's IndexCollection wrote of them, in segments of two files."""
    from gradir import jvm

    jvm.ensure()
    from jnius import autoclass

    root = tmp_path_factory.mktemp("anserini")
    items = list(random_impacts.items())
    for number in range(2):
        jsonl(root / "json" / f"{number}.jsonl", dict(items[number::2]))
    words = ["-collection", "JsonVectorCollection", "-input", str(root / "json"), "-index", str(root / "index")]
    words += ["-generator", "DefaultLuceneDocumentGenerator", "-threads", "2", "-impact", "-pretokenized", "-quiet"]
    autoclass("io.anserini.index.IndexCollection").main(words)
    return root / "index"


def test_sparse_embeddings_keep_every_weight(tmp_path: Path, random_impacts: dict[str, Vector]) -> None:
    items = list(random_impacts.items())
    jsonl(tmp_path / "e" / "a.jsonl", dict(items[:150]) | {"zero": {"t1": 0, "t2": 3.0}})
    jsonl(tmp_path / "e" / "b.jsonl", dict(items[150:]))
    outcome = convert.run(tmp_path / "e", tmp_path / "v")
    found = sparse(tmp_path / "v")
    assert found == random_impacts | {"zero": {"t2": 3}}
    assert list(found) == [*list(random_impacts)[:150], "zero", *list(random_impacts)[150:]]
    shards = VectorShards(tmp_path / "v")
    assert shards.vocab() == sorted(shards.vocab())
    assert shards.metadata == {
        "kind": "splade",
        "encoder": "foreign",
        "impact_scale": 51.2,
        "max_query_length": 256,
        "max_passage_length": 256,
    }
    counts = json.loads((tmp_path / "v" / "manifest.json").read_text())["counts"]
    assert counts == {"documents": 301, "postings": sum(map(len, found.values())), "empty": 43}
    assert "--type impact" in outcome.next_command
    assert "nothing to do" in convert.run(tmp_path / "e", tmp_path / "v").message


def test_the_tokenizer_of_an_encoder_numbers_the_terms(tmp_path: Path, tiny: Any, raises_error: Any) -> None:
    from transformers import AutoTokenizer

    encoder = tiny("bert", head=True)
    jsonl(tmp_path / "e.jsonl", {"a": {"wing": 5, "##s": 2}, "b": {"[CLS]": 3}})
    convert.run(tmp_path / "e.jsonl", tmp_path / "v", str(encoder))
    assert sparse(tmp_path / "v") == {"a": {"wing": 5, "##s": 2}, "b": {"[CLS]": 3}}
    numbers = AutoTokenizer.from_pretrained(encoder).get_vocab()
    assert {term: i for i, term in enumerate(VectorShards(tmp_path / "v").vocab())} == numbers
    jsonl(tmp_path / "other.jsonl", {"a": {"wing": 5}, "b": {"Tragfläche": 2}})
    with raises_error("other.jsonl:2", "document b", "Tragfläche"):
        convert.run(tmp_path / "other.jsonl", tmp_path / "w", str(encoder))
    assert not (tmp_path / "w").exists()


@pytest.mark.parametrize("size", [1, 64, 4096])
def test_a_lucene_index_gives_back_what_was_indexed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lucene: Path, random_impacts: dict[str, Vector], size: int
) -> None:
    monkeypatch.setattr(convert.lucene_index, "_LEAST_DOCUMENTS", size)
    monkeypatch.setattr(convert.lucene_index, "_POSTINGS", 1)
    monkeypatch.setattr(convert.stage, "PART_SIZE", 100)
    convert.run(lucene, tmp_path / "v")
    found = sparse(tmp_path / "v")
    assert found == {docid: vector for docid, vector in random_impacts.items() if vector}  # Anserini drops the others
    from pyserini.index.lucene import LuceneIndexReader

    reader = LuceneIndexReader(str(lucene))
    ids = [reader.convert_internal_docid_to_collection_docid(i) for i in range(len(found))]
    assert list(found) == ids
    assert VectorShards(tmp_path / "v").counts == [100, 100, len(found) - 200]


def test_a_deleted_document_is_left_out(tmp_path: Path, sparse_index: Callable[..., Path]) -> None:
    made = sparse_index(tmp_path, {"a": {"x": 1}, "b": {"x": 2, "y": 3}, "c": {"y": 4}})
    from jnius import autoclass

    store = autoclass("org.apache.lucene.store.FSDirectory").open(autoclass("java.nio.file.Paths").get(str(made)))
    analyzer = autoclass("org.apache.lucene.analysis.core.WhitespaceAnalyzer")()
    config = autoclass("org.apache.lucene.index.IndexWriterConfig")(analyzer)
    config.setMergePolicy(autoclass("org.apache.lucene.index.NoMergePolicy").INSTANCE)
    writer = autoclass("org.apache.lucene.index.IndexWriter")(store, config)
    term = autoclass("org.apache.lucene.index.Term")("id", "b")
    writer.deleteDocuments(autoclass("org.apache.lucene.search.TermQuery")(term))
    writer.commit()
    writer.close()
    (made / "manifest.json").unlink()
    convert.run(made, tmp_path / "v")
    assert sparse(tmp_path / "v") == {"a": {"x": 1}, "c": {"y": 4}}


@pytest.fixture
def sparse_index() -> Callable[..., Path]:
    """Index impacts by `gradir convert` and `gradir index`."""

    def make(root: Path, vectors: dict[str, Vector]) -> Path:
        convert.run(jsonl(root / "made.jsonl", vectors), root / "made")
        index.run(root / "made", root / "made-index", "impact")
        return root / "made-index"

    return make


def test_documents_without_terms_keep_their_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sparse_index: Callable[..., Path]
) -> None:
    monkeypatch.setattr(convert.lucene_index, "_LEAST_DOCUMENTS", 1)
    monkeypatch.setattr(convert.lucene_index, "_POSTINGS", 1)
    given = {"a": {}, "b": {"x": 2**31 - 1}, "c": {}, "d": {}, "e": {"x": 1, "y": 1}}
    convert.run(sparse_index(tmp_path, given), tmp_path / "v")
    assert list(sparse(tmp_path / "v").items()) == list(given.items())


def test_an_index_of_gradirs_own_keeps_its_encoder(tmp_path: Path, sparse_index: Callable[..., Path]) -> None:
    made = sparse_index(tmp_path, {"a": {"x": 1}})
    manifest = json.loads((made / "manifest.json").read_text())
    manifest["config"]["encoder"] |= {"encoder": "ours", "weights_sha256": "1d"}
    (made / "manifest.json").write_text(json.dumps(manifest))
    convert.run(made, tmp_path / "v")
    assert VectorShards(tmp_path / "v").metadata == manifest["config"]["encoder"]


def test_lucene_scores_are_the_same_after_conversion(
    tmp_path: Path, lucene: Path, random_impacts: dict[str, Vector]
) -> None:
    convert.run(lucene, tmp_path / "v")
    index.run(tmp_path / "v", tmp_path / "i", "impact")
    from pyserini.search.lucene import LuceneImpactSearcher

    queries = [dict(list(vector.items())[:5]) for vector in list(random_impacts.values())[1:6]]

    class Queries:
        def encode(self, number: str) -> Vector:
            return queries[int(number)]

    runs = []
    for folder in (lucene, tmp_path / "i"):
        searcher = LuceneImpactSearcher(str(folder), Queries(), min_idf=-1)
        runs.append([[(hit.docid, hit.score) for hit in searcher.search(str(q), 1000)] for q in range(len(queries))])
        searcher.close()
    assert runs[0] == runs[1]
    assert min(map(len, runs[0])) > 100


@pytest.mark.parametrize("kind", ["flat", "hnsw"])
def test_a_faiss_folder_gives_back_its_vectors_and_its_run(tmp_path: Path, kind: str) -> None:
    import faiss

    vectors = np.random.default_rng(2).normal(size=(5000, 16)).astype(np.float32)
    made = faiss.IndexFlatIP(16) if kind == "flat" else faiss.IndexHNSWFlat(16, 8, faiss.METRIC_INNER_PRODUCT)
    made.add(vectors)
    (tmp_path / "f").mkdir()
    faiss.write_index(made, str(tmp_path / "f" / "index"))
    docids = [f"d{i}" for i in range(5000)]
    (tmp_path / "f" / "docid").write_text("".join(f"{docid}\n" for docid in docids))
    outcome = convert.run(tmp_path / "f", tmp_path / "v")
    assert "note" not in outcome.message
    shards = VectorShards(tmp_path / "v")
    assert shards.counts == [4096, 904]
    assert shards.metadata == {
        "kind": "dense",
        "encoder": "foreign",
        "max_query_length": 256,
        "max_passage_length": 256,
    }
    assert [docid for part, _ in shards.parts() for docid in part] == docids
    np.testing.assert_array_equal(np.concatenate([part for _, part in shards.dense_parts()]), vectors)
    if kind == "flat":
        index.run(tmp_path / "v", tmp_path / "i", "flat")
        again = faiss.read_index(str(tmp_path / "i" / "index"))
        np.testing.assert_array_equal(again.search(vectors[:20], 10)[1], made.search(vectors[:20], 10)[1])


def test_what_a_faiss_index_cannot_give_is_said(tmp_path: Path) -> None:
    import faiss

    vectors = np.random.default_rng(2).normal(size=(300, 16)).astype(np.float32)
    made = faiss.index_factory(16, "SQ8", faiss.METRIC_L2)
    made.train(vectors)
    made.add(vectors)
    (tmp_path / "f").mkdir()
    faiss.write_index(made, str(tmp_path / "f" / "index"))
    (tmp_path / "f" / "docid").write_text("".join(f"d{i}\n" for i in range(300)))
    message = convert.run(tmp_path / "f", tmp_path / "v").message
    assert "compressed vectors" in message
    assert "another metric" in message


def test_dense_embeddings(tmp_path: Path, raises_error: Any) -> None:
    rows = {f"d{i}": [i, 0.5, -1.25] for i in range(1500)}
    convert.run(jsonl(tmp_path / "embeddings.jsonl", rows), tmp_path / "v")
    docids, vectors = zip(*VectorShards(tmp_path / "v").dense_parts(), strict=True)
    assert docids == (list(rows),)
    np.testing.assert_array_equal(vectors[0], np.array(list(rows.values()), np.float32))
    with raises_error("dense vectors", "Leave --encoder out"):
        convert.run(tmp_path / "embeddings.jsonl", tmp_path / "w", "some-encoder")


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ('{"id": "a", "vector": {"x": 2.5}}', ["e.jsonl:1", "'x' is 2.5", "Quantise"]),
        ('{"id": "a", "vector": {"x": -2}}', ["e.jsonl:1", "'x' is -2"]),
        ('{"id": "a", "vector": {"x": true}}', ["'x' is True"]),
        ('{"id": "a", "vector": {"x": NaN}}', ["'x' is nan"]),
        ('{"id": "a", "vector": {"x": 1}}\n{"id": "b", "vector": [1.0]}', ["e.jsonl:2", "mixed"]),
        ('{"id": "a", "vector": [1.0]}\n{"id": "b", "vector": {"x": 1}}', ["e.jsonl:2", "list of 1 numbers"]),
        ('{"id": "a", "vector": [1.0, 2]}\n{"id": "b", "vector": [1]}', ["e.jsonl:2", "list of 2 numbers"]),
        ('{"id": "a", "vector": [NaN]}', ["document a", "NaN"]),
        ('{"id": "a"}', ["e.jsonl:1", "no `vector`"]),
        ('{"id": "a", "vector": "x"}', ["neither an object"]),
        ('{"vector": {"x": 1}}', ["no `id`"]),
        ('{"id": "a b", "vector": {"x": 1}}', ["white space in document id"]),
        ('{"id": "a", "vector": {"x": 1}}\n{"id": "a", "vector": {"x": 1}}', ["'a' was used before"]),
        ("", ["holds no embeddings"]),
        ("{", ["e.jsonl:1", "not a JSON object"]),
    ],
)
def test_damaged_embeddings_are_refused_and_leave_nothing(
    tmp_path: Path, raises_error: Any, lines: str, words: list[str]
) -> None:
    (tmp_path / "e.jsonl").write_text(lines)
    with raises_error(*words):
        convert.run(tmp_path / "e.jsonl", tmp_path / "v")
    assert not (tmp_path / "v").exists()


def test_what_is_no_foreign_artefact_is_refused(tmp_path: Path, raises_error: Any) -> None:
    import faiss

    (tmp_path / "empty").mkdir()
    with raises_error("neither embeddings"):
        convert.run(tmp_path / "empty", tmp_path / "v")
    with raises_error("no such file"):
        convert.run(tmp_path / "nothing", tmp_path / "v")
    with raises_error("over or inside"):
        convert.run(tmp_path / "empty", tmp_path / "empty" / "v")
    (tmp_path / "l").mkdir()
    (tmp_path / "l" / "segments_1").write_bytes(b"no")
    with raises_error("Lucene could not read it"):
        convert.run(tmp_path / "l", tmp_path / "v")
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "index").write_bytes(b"no")
    (tmp_path / "f" / "docid").write_text("a\n")
    with raises_error("no whole FAISS index"):
        convert.run(tmp_path / "f", tmp_path / "v")
    made = faiss.IndexFlatIP(2)
    made.add(np.ones((2, 2), np.float32))
    faiss.write_index(made, str(tmp_path / "f" / "index"))
    with raises_error("2 vectors, but 1 lines"):
        convert.run(tmp_path / "f", tmp_path / "v")


def test_the_command_takes_its_input_without_a_flag(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    jsonl(tmp_path / "e.jsonl", {"a": {"x": 1}})
    assert main([str(tmp_path / "e.jsonl"), "--output", str(tmp_path / "v")]) == 0
    assert capsys.readouterr().err.splitlines()[-1].startswith("next: gradir index --input")


@settings(deadline=None, database=None)
@given(st.lists(st.integers(0, 9), max_size=12), st.integers(1, 7))
def test_parts_hold_every_document_in_order(sizes: list[int], size: int) -> None:
    blocks, start = [], 0
    for count in sizes:
        docids = [str(i) for i in range(start, start + count)]
        rows = np.arange(start, start + count)
        vectors = SparseVectors(np.arange(count + 1), rows.astype(np.int32), (rows + 1).astype(np.int32))
        blocks.append((docids, vectors))
        start += count
    made = list(parts(iter(blocks), size))
    assert [docid for docids, _ in made for docid in docids] == [str(i) for i in range(start)]
    assert [term for _, vectors in made for term in vectors.terms.tolist()] == list(range(start))
    assert [len(docids) for docids, _ in made] == [size] * (start // size) + ([start % size] if start % size else [])
