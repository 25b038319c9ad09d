"""The two writers of impact indexes, gradir's Java classes and Lucene's own IndexWriter, write the same index."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from test_impact_scores import collection

from gradir import jvm
from gradir.data.vectors import SparseVectors, VectorShards
from gradir.errors import GradirError
from gradir.index import impact
from gradir.index.source import Source


def sparse(matrix: np.ndarray) -> SparseVectors:
    """The rows of a matrix of impacts."""
    rows = csr_matrix(matrix)
    return SparseVectors(rows.indptr.astype(np.int64), rows.indices.astype(np.int32), rows.data.astype(np.int32))


def silent(count: int) -> None:
    """No progress is shown."""


@pytest.fixture
def both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Write shards with each writer; returns the two folders."""

    def write(shards: Path, **options: Any) -> list[Path]:
        folders = [tmp_path / "java", tmp_path / "tokens"]
        for folder in folders:
            folder.mkdir()
        impact.write(Source(VectorShards(shards)), folders[0], silent, **options)
        with monkeypatch.context() as without:
            without.setattr("gradir.jvm.helper", lambda name: None)
            impact.write(Source(VectorShards(shards)), folders[1], silent, **options)
        return folders

    return write


def contents(folder: Path) -> dict[str, Any]:
    """Everything an index holds, through Lucene."""
    from jnius import autoclass

    postings_flags = autoclass("org.apache.lucene.index.PostingsEnum").FREQS
    with jvm.lucene_reader(folder) as reader:
        assert reader.leaves().size() == 1
        leaf = reader.leaves().get(0).reader()
        found: dict[str, Any] = {"documents": leaf.maxDoc()}
        for field in ("contents", "id"):
            terms, listed = leaf.terms(field), {}
            walk = terms.iterator()
            while (term := walk.next()) is not None:
                postings, rows = walk.postings(None, postings_flags), []
                while (number := postings.nextDoc()) < 2**31 - 1:
                    rows.append((number, postings.freq()))
                listed[term.utf8ToString()] = (rows, walk.docFreq(), walk.totalTermFreq())
            found[field] = listed
            found[f"{field} sums"] = (
                terms.size(), terms.getDocCount(), terms.getSumDocFreq(), terms.getSumTotalTermFreq()
            )  # fmt: skip
        values = leaf.getBinaryDocValues("id")
        found["values"] = [(values.nextDoc(), values.binaryValue().utf8ToString()) for _ in range(leaf.maxDoc())]
        stored = [leaf.document(number) for number in range(leaf.maxDoc())]
        found["stored"] = [(one.get("id"), one.get("raw")) for one in stored]
        found["norms"] = leaf.getNormValues("contents") is not None
        vectors = [leaf.getTermVector(number, "contents") for number in range(leaf.maxDoc())]
        found["vectors"] = [None if vector is None else list(_frequencies(vector)) for vector in vectors]
    return found


def _frequencies(vector: Any) -> Iterator[tuple[str, int]]:
    walk = vector.iterator()
    while (term := walk.next()) is not None:
        yield term.utf8ToString(), walk.totalTermFreq()


def check(folder: Path) -> None:
    """Lucene's own CheckIndex finds nothing wrong."""
    from jnius import autoclass

    path = autoclass("java.nio.file.Paths").get(str(folder))
    directory = autoclass("org.apache.lucene.store.FSDirectory").open(path)
    checking = autoclass("org.apache.lucene.index.CheckIndex")(directory)
    assert checking.checkIndex().clean
    checking.close()
    directory.close()


@pytest.mark.parametrize("seed", range(4))
def test_the_same_documents_postings_and_stored_fields(sparse_shards: Any, both: Any, seed: int) -> None:
    matrix, vocab, docids, _ = collection(seed)
    one, other = both(sparse_shards(matrix, vocab, docids, parts=2))
    found = contents(one)
    assert found == contents(other)
    assert found["stored"] == [(docid, None) for docid in docids]
    assert len(found["contents"]) == (matrix > 0).any(axis=0).sum()
    check(one)


def test_with_texts_and_document_vectors(sparse_shards: Any, both: Any) -> None:
    matrix, vocab, docids, _ = collection(7)
    shards = sparse_shards(matrix, vocab, docids)
    texts = [(docid, f'{{"id": "{docid}", "contents": "é {docid}"}}') for docid in docids]
    folders = []
    for folder in both(shards, docvectors=True):
        folders.append(folder)
    found = contents(folders[0])
    assert found == contents(folders[1])
    named = [
        sorted(
            ((term, int(weight)) for term, weight in zip(vocab, row, strict=True) if weight),
            key=lambda pair: pair[0].encode(),
        )
        for row in matrix
    ]
    assert found["vectors"] == [row or None for row in named]
    check(folders[0])
    again = folders[0].with_name("raw")
    again.mkdir()
    impact.write(Source(VectorShards(shards)), again, silent, raw=iter(texts))
    assert contents(again)["stored"] == texts


def test_many_chunks_longer_than_a_read_buffer(tmp_path: Path, both: Any, sparse_shards: Any) -> None:
    rng = np.random.default_rng(5)
    matrix = rng.integers(1, 40_000, (2_500, 60)) * (rng.random((2_500, 60)) < 0.6)
    shards = sparse_shards(matrix, [f"t{i}" for i in range(60)], parts=3)
    one, other = both(shards, memory_mib=1)  # 32,768 postings a chunk: three chunks of some 150 KiB
    assert contents(one) == contents(other)
    check(one)
    assert not [file.name for file in one.iterdir() if "tmp" in file.name]


def test_texts_of_other_documents(sparse_shards: Any, tmp_path: Path) -> None:
    shards = sparse_shards(np.ones((2, 1), dtype=int), ["a"])
    with pytest.raises(GradirError, match="other documents"):
        impact.write(Source(VectorShards(shards)), tmp_path, silent, raw=iter([("d1", "x"), ("d0", "y")]))


def test_an_id_twice_is_seen_by_the_java_classes_too(tmp_path: Path) -> None:
    from gradir.index.segment_writer import SegmentWriter

    vectors = sparse(np.ones((3, 1), dtype=int))
    with (
        pytest.raises(GradirError, match="document id b is used twice"),
        SegmentWriter(jvm.helper("ImpactWriter"), tmp_path, ["t"], False, False) as writer,
    ):
        writer.add(["a", "b", "b"], vectors)
    assert not list(tmp_path.glob("segments*"))


def test_an_error_in_the_block_leaves_no_index(tmp_path: Path) -> None:
    from gradir.index.segment_writer import SegmentWriter

    with (
        pytest.raises(KeyError),
        SegmentWriter(jvm.helper("ImpactWriter"), tmp_path, ["t"], False, False) as writer,
    ):
        writer.add({}["nothing"], sparse(np.ones((1, 1), dtype=int)))
    assert not list(tmp_path.glob("segments*"))
    assert not list(tmp_path.glob("*.tmp"))


def test_pyserini_finds_texts_and_gives_feedback(sparse_shards: Any, tmp_path: Path) -> None:
    matrix = np.zeros(
        (60, 5), dtype=int
    )  # Anserini leaves out of feedback what more than a tenth of the documents have
    matrix[0], matrix[1], matrix[2] = [9, 7, 0, 0, 0], [0, 8, 0, 0, 0], [6, 0, 0, 0, 0]
    matrix[3:, 4] = 1
    shards = sparse_shards(matrix, ["alpha", "beta", "gamma", "delta", "filler"])
    texts = [(f"d{i}", f'{{"id": "d{i}", "contents": "text {i}"}}') for i in range(60)]
    impact.write(Source(VectorShards(shards)), tmp_path, silent, raw=iter(texts), docvectors=True)
    from pyserini.search.lucene import LuceneImpactSearcher

    from gradir.engine.query_encoders import KnownQueries

    searcher = LuceneImpactSearcher(str(tmp_path), KnownQueries(["q"], [{"alpha": 2}]), min_idf=-1)
    assert searcher.doc("d2").raw() == texts[2][1]
    assert {hit.docid for hit in searcher.search("q", 10)} == {"d0", "d2"}
    searcher.set_rocchio(top_fb_terms=3, top_fb_docs=1)
    assert {hit.docid for hit in searcher.search("q", 10)} == {"d0", "d1", "d2"}  # d1 by beta, which d0 has


def test_an_empty_vector_set_of_rows() -> None:
    vectors = sparse(np.array([[0, 2], [0, 0], [1, 1]]))
    part = vectors.rows(slice(1, 3))
    assert isinstance(part, SparseVectors)
    assert [tuple(map(list, part.row(i))) for i in range(2)] == [([], []), ([0, 1], [1, 1])]
