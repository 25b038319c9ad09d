"""What an impact index refuses, and that nothing is left behind that looks like one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradir import index
from gradir.data.vectors import write_part, write_vocab
from gradir.errors import GradirError


@pytest.fixture
def refused(tmp_path: Path) -> Any:
    """Index, expect our error with all these words, and nothing at the output or beside it."""

    def check(shards: Path, *words: str, type: Any = "impact") -> None:
        out = tmp_path / "out"
        with pytest.raises(GradirError) as caught:
            index.run(shards, out / "index", type)
        for word in words:
            assert word in str(caught.value)
        assert not out.exists() or not list(out.iterdir())

    return check


@pytest.mark.parametrize(
    ("term", "words"),
    [
        ("a b", ["white space", "'a b'"]),
        ("a\u00a0b", ["white space"]),
        ("\u3000", ["white space"]),
        ("a\u241f1", ["white space or ␟"]),
        ("", ["empty term"]),
        ("x" * 256, ["256 characters", "255"]),
        ("😀" * 128, ["256 characters", "255"]),  # Lucene counts UTF-16 units
    ],
)
def test_terms_that_lucene_would_split_or_cut(sparse_shards: Any, refused: Any, term: str, words: list[str]) -> None:
    refused(sparse_shards(np.array([[1, 0], [0, 2]]), ["ok", term]), "vocab.txt:2", "d1", *words)


def test_such_terms_are_allowed_where_no_document_uses_them(
    sparse_shards: Any, impact_search: Any, tmp_path: Path
) -> None:
    shards = sparse_shards(np.array([[5, 0, 0, 0], [3, 0, 0, 0]]), ["ok", "    ", "", "y" * 300])
    index.run(shards, tmp_path / "index", "impact")
    assert impact_search(tmp_path / "index", [{"ok": 2, "    ": 9, "y" * 300: 1}], 5) == [[("d0", 10.0), ("d1", 6.0)]]


def test_a_term_with_two_ids(sparse_shards: Any, refused: Any) -> None:
    refused(sparse_shards(np.eye(3, dtype=int), ["a", "b", "a"]), "vocab.txt:1", "'a'", "line 3")


def test_a_vocabulary_shorter_than_a_term_id(sparse_shards: Any, refused: Any) -> None:
    shards = sparse_shards(np.array([[1, 0, 0], [0, 0, 4]]), ["a", "b", "c"], docids=["x", "y"])
    write_vocab(shards, ["a", "b"])
    refused(shards, "part-00000", "document y", "term 2", "only 2 lines")


def test_no_vocabulary(sparse_shards: Any, refused: Any) -> None:
    shards = sparse_shards(np.eye(2, dtype=int), ["a", "b"])
    (shards / "vocab.txt").unlink()
    refused(shards, "vocab.txt", "missing")


@pytest.mark.parametrize("parts", [1, 2])
def test_duplicate_ids_within_and_across_parts(sparse_shards: Any, refused: Any, parts: int) -> None:
    refused(
        sparse_shards(np.ones((4, 1), dtype=int), ["a"], ["d1", "twice", "d3", "twice"], parts=parts),
        f"part-0000{parts - 1}.parquet:{4 // parts}",
        "'twice' was used before",
    )


def test_duplicate_ids_farther_apart_than_is_remembered_whole(
    sparse_shards: Any, refused: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gradir.data.ids.Duplicates.BLOCK", 4)
    docids = [*(f"d{i}" for i in range(9)), "d0"]
    refused(sparse_shards(np.ones((10, 1), dtype=int), ["a"], docids, parts=3), "'d0' was used before")


@pytest.mark.parametrize(("docid", "word"), [("a b", "white space"), ("a\nb", "white space"), ("", "empty")])
@pytest.mark.parametrize("type", ["impact", "flat"])
def test_ids_that_a_run_cannot_hold(
    sparse_shards: Any, dense_shards: Any, refused: Any, docid: str, word: str, type: str
) -> None:
    ones = np.ones((2, 1), dtype=int)
    shards = sparse_shards(ones, ["a"], ["d", docid]) if type == "impact" else dense_shards(ones * 1.0, ["d", docid])
    refused(shards, "part-00000.parquet:2", word, "document id", type=type)


def test_an_id_longer_than_lucene_takes(sparse_shards: Any, refused: Any) -> None:
    refused(sparse_shards(np.ones((2, 1), dtype=int), ["a"], ["d", "x" * 40_000]), "document xxxx", "Lucene could not")


def test_impacts_that_sum_to_more_than_lucene_counts(sparse_shards: Any, refused: Any) -> None:
    matrix = np.array([[1, 1], [2**31 - 1, 1]])
    refused(sparse_shards(matrix, ["a", "b"]), "part-00000.parquet:2", "document d1", "2147483648", "2**31")


def test_nothing_but_empty_documents(sparse_shards: Any, refused: Any) -> None:
    refused(sparse_shards(np.zeros((3, 2), dtype=int), ["a", "b"]), "no document has a term")


def test_a_document_that_lucene_lost(sparse_shards: Any, refused: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from gradir.index.segment_writer import SegmentWriter

    add = SegmentWriter.add

    def forgetful(writer: SegmentWriter, *documents: Any) -> None:
        add(writer, *documents)
        writer.documents += 1

    monkeypatch.setattr(SegmentWriter, "add", forgetful)
    refused(sparse_shards(np.ones((3, 1), dtype=int), ["a"]), "holds 3 of 4 documents")


def test_shards_of_the_wrong_kind(sparse_shards: Any, dense_shards: Any, refused: Any, tmp_path: Path) -> None:
    refused(dense_shards(np.eye(3)), "holds dense vectors", "Use flat, hnsw")
    refused(
        sparse_shards(np.eye(3, dtype=int), ["a", "b", "c"], to="s"),
        "splade",
        "Use impact or opensearch-bulk",
        type="flat",
    )
    write_part(tmp_path / "odd", 0, ["d"], np.eye(1), {"kind": "odd"})
    refused(tmp_path / "odd", "'odd'")


def test_shards_that_are_not_finished_damaged_or_missing(sparse_shards: Any, refused: Any, tmp_path: Path) -> None:
    shards = sparse_shards(np.eye(3, dtype=int), ["a", "b", "c"], parts=3)
    (shards / "manifest.partial.json").write_text("{}")
    refused(shards, "not finished", "gradir encode")
    (shards / "manifest.partial.json").unlink()
    (shards / "part-00002.parquet").write_bytes(b"PAR1")
    refused(shards, "part-00002", "damaged")
    (shards / "part-00001.parquet").unlink()
    refused(shards, "missing")
    refused(tmp_path / "nowhere", "holds no vector shards")


@pytest.mark.parametrize(
    ("type", "flags"),
    [
        ("impact", {}),
        ("impact", {"to_json": True}),
        ("impact", {"top_k": 2, "term_quantile": 0.5}),
        ("opensearch-bulk", {}),
        ("flat", {}),
        ("hnsw", {}),
        ("faiss", {"factory": "SQ8"}),
        ("lucene-flat", {}),
    ],
)
def test_no_documents(
    sparse_shards: Any, dense_shards: Any, raises_error: Any, tmp_path: Path, type: Any, flags: Any
) -> None:
    dense = type in ("flat", "hnsw", "faiss", "lucene-flat")
    shards = dense_shards(np.zeros((0, 4))) if dense else sparse_shards(np.zeros((0, 2), dtype=int), ["a", "b"])
    with raises_error(str(shards), "no document"):
        index.run(shards, tmp_path / "out" / "index", type, **flags)
    assert not list((tmp_path / "out").iterdir())
    assert shards.exists()


def test_pruning_that_leaves_nothing(sparse_shards: Any, raises_error: Any, tmp_path: Path) -> None:
    with raises_error("no document has a term"):
        index.run(sparse_shards(np.eye(3, dtype=int), ["a", "b", "c"]), tmp_path / "index", "impact", min_impact=2)
    assert not (tmp_path / "index").exists()
