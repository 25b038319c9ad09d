"""The impact searcher gives the sums by hand, on every index and for every odd query, as Pyserini's searcher does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from gradir import jvm
from gradir.data.vectors import SparseVectors, write_part, write_vocab
from gradir.errors import GradirError
from gradir.search.impact import ImpactSearcher

SPLADE = {"kind": "splade", "encoder": "test"}


def sparse(matrix: Any) -> SparseVectors:
    """The rows of a matrix of impacts."""
    rows = csr_matrix(np.asarray(matrix))
    return SparseVectors(rows.indptr.astype(np.int64), rows.indices.astype(np.int32), rows.data.astype(np.int32))


def indexed(folder: Path, matrix: Any, docids: list[str], **options: Any) -> tuple[Path, list[str]]:
    """(index, vocabulary) of a matrix of impacts."""
    from gradir.data.vectors import VectorShards
    from gradir.index import impact
    from gradir.index.source import Source

    vocab = [f"t{i}" for i in range(np.asarray(matrix).shape[1])]
    write_vocab(folder / "vectors", vocab)
    write_part(folder / "vectors", 0, docids, sparse(matrix), SPLADE)
    (folder / "index").mkdir()
    impact.write(Source(VectorShards(folder / "vectors")), folder / "index", lambda count: None, **options)
    return folder / "index", vocab


def by_hand(matrix: Any, queries: Any, docids: list[str], hits: int) -> list[list[tuple[str, float]]]:
    """Score descending, then docid ascending; nothing without a score."""
    found = []
    for scores in np.asarray(queries, dtype=np.int64) @ np.asarray(matrix, dtype=np.int64).T:
        singles = np.asarray(scores).astype(np.float32).tolist()
        ranked = sorted((-score, docid) for score, docid in zip(singles, docids, strict=True) if score)
        found.append([(docid, -score) for score, docid in ranked[:hits]])
    return found


def pairs(rankings: Any) -> list[list[tuple[str, float]]]:
    return [list(zip(ranking.docids, ranking.scores.tolist(), strict=True)) for ranking in rankings]


@given(
    seed=st.integers(0, 10_000),
    documents=st.integers(1, 40),
    terms=st.integers(1, 12),
    largest=st.sampled_from([1, 2, 300, 40_000]),
    hits=st.sampled_from([1, 2, 5, 1000]),
)
@settings(max_examples=25, deadline=None)
def test_the_sums_by_hand(
    tmp_path_factory: pytest.TempPathFactory, seed: int, documents: int, terms: int, largest: int, hits: int
) -> None:
    rng = np.random.default_rng(seed)
    matrix = rng.integers(1, largest + 1, (documents, terms)) * (rng.random((documents, terms)) < rng.random())
    matrix[0, 0] = 1
    docids = [f"{number:x}é" if number % 2 else str(number) for number in rng.permutation(3 * documents)[:documents]]
    index, vocab = indexed(tmp_path_factory.mktemp("index"), matrix, docids)
    queries = rng.integers(0, largest + 1, (4, terms)) * (rng.random((4, terms)) < 0.6)
    queries[1] = 0
    searcher = ImpactSearcher(index, vocab, 2)
    assert searcher.documents == documents
    found = searcher.search(sparse(queries), hits)
    assert pairs(found) == by_hand(matrix, queries, docids, hits)
    searcher.close()


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, list[str], Path, list[str]]:
    """More documents than two windows of sums, with many ties."""
    rng = np.random.default_rng(3)
    matrix = rng.integers(1, 4, (40_000, 12)) * (rng.random((40_000, 12)) < 0.2)
    matrix[30_000:, 11] = 0
    docids = [f"{number}" for number in rng.permutation(40_000)]
    return matrix, docids, *indexed(tmp_path_factory.mktemp("large"), matrix, docids)


@pytest.mark.parametrize("hits", [10, 1000, 50_000])
@pytest.mark.parametrize("threads", [1, 3])
def test_many_documents_with_ties(large: Any, hits: int, threads: int) -> None:
    matrix, docids, index, vocab = large
    queries = np.zeros((5, 12), dtype=int)
    queries[0], queries[1, 11], queries[2, [0, 3]], queries[4, :6] = 1, 2, [5, 7], 3
    found = ImpactSearcher(index, vocab, threads).search(sparse(queries), hits)
    assert pairs(found) == by_hand(matrix, queries, docids, hits)


def test_pyserinis_searcher_gives_the_same(large: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    _, _, index, vocab = large
    queries = sparse(np.random.default_rng(0).integers(0, 3, (6, 12)))
    ours = pairs(ImpactSearcher(index, vocab, 2).search(queries, 500))
    monkeypatch.setattr("gradir.jvm.helper", lambda name: None)
    theirs = pairs(ImpactSearcher(index, vocab, 2).search(queries, 500))
    # Anserini lowers ties by 1e-6 each, as the writer of runs does
    assert [[docid for docid, _ in row] for row in ours] == [[docid for docid, _ in row] for row in theirs]
    for our, their in zip(ours, theirs, strict=True):
        assert [score for _, score in our] == pytest.approx([score for _, score in their], abs=2e-3)


def test_terms_that_the_index_lacks_and_no_queries_at_all(tmp_path: Path) -> None:
    index, _ = indexed(tmp_path, [[2, 0], [3, 1]], ["a", "b"])
    searcher = ImpactSearcher(index, ["unknown", "t1", "😀", "t0"], 2)
    assert pairs(searcher.search(sparse([[9, 0, 4, 0], [5, 0, 0, 7]]), 10)) == [[], [("b", 21.0), ("a", 14.0)]]
    assert searcher.search(sparse(np.zeros((0, 4), dtype=int)), 10) == []


def test_a_query_of_thousands_of_terms(tmp_path: Path) -> None:
    matrix = np.ones((3, 3000), dtype=int)
    matrix[1] += 1
    index, vocab = indexed(tmp_path, matrix, ["a", "b", "c"])
    found = ImpactSearcher(index, vocab, 1).search(sparse(np.full((1, 3000), 2)), 10)
    assert pairs(found) == [[("b", 12_000.0), ("a", 6_000.0), ("c", 6_000.0)]]


def test_an_index_of_several_segments_with_a_deleted_document(tmp_path: Path) -> None:
    first, vocab = indexed(tmp_path / "one", [[1, 0], [5, 2]], ["d1", "d2"])
    second, _ = indexed(tmp_path / "two", [[4, 0], [9, 9], [5, 2]], ["d3", "d4", "d0"])
    both = tmp_path / "both"
    both.mkdir()
    jvm.helper("IndexMerge").merge(f"{first}\n{second}", str(both), False)
    replace(both, "d4", by="d5")
    with jvm.lucene_reader(both) as reader:
        assert (reader.leaves().size(), reader.numDocs(), reader.maxDoc()) == (3, 5, 6)
    found = ImpactSearcher(both, vocab, 2).search(sparse([[1, 1]]), 10)
    assert pairs(found) == [[("d0", 7.0), ("d2", 7.0), ("d3", 4.0), ("d1", 1.0)]]


def replace(index: Path, docid: str, by: str) -> None:
    """Put a document without terms in another's place, as Lucene does: the old one stays in its segment, marked."""
    from jnius import autoclass

    config = autoclass("org.apache.lucene.index.IndexWriterConfig")()
    config.setMergePolicy(autoclass("org.apache.lucene.index.NoMergePolicy").INSTANCE)
    path = autoclass("java.nio.file.Paths").get(str(index))
    directory = autoclass("org.apache.lucene.store.FSDirectory").open(path)
    writer = autoclass("org.apache.lucene.index.IndexWriter")(directory, config)
    document = autoclass("org.apache.lucene.document.Document")()
    document.add(autoclass("org.apache.lucene.document.StringField")(
        "id", by, autoclass("org.apache.lucene.document.Field$Store").YES
    ))  # fmt: skip
    value = autoclass("org.apache.lucene.util.BytesRef")(by.encode())
    document.add(autoclass("org.apache.lucene.document.BinaryDocValuesField")("id", value))
    writer.updateDocument(autoclass("org.apache.lucene.index.Term")("id", docid), document)
    writer.close()


def test_no_index_and_a_damaged_one(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(GradirError, match=r"empty.*no Lucene index.*index again"):
        ImpactSearcher(tmp_path / "empty", ["a"], 1)
    index, vocab = indexed(tmp_path, [[1]], ["a"])
    file = next(index.glob("*.doc")) if list(index.glob("*.doc")) else next(index.glob("*.tim"))
    file.unlink()
    with pytest.raises(GradirError, match="index again"):
        ImpactSearcher(index, vocab, 1)
