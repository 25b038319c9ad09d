"""A source gives the documents of a shard, and all shards together give every document once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradir.index.source import Source


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 23))
def test_shards_of_a_source_are_its_documents_in_order(odd_parts: Any, shard_num: int) -> None:
    sparse_shards, dense_shards, matrix = odd_parts
    docids, rows, vectors, names = [], [], [], []
    for shard_id in range(shard_num):
        source = Source(sparse_shards, shard_id, shard_num)
        before = len(docids)
        for _, found, part in source.sparse():
            docids += found
            for row in range(len(part)):
                dense = np.zeros(6, dtype=int)
                dense[part.row(row)[0]] = part.row(row)[1]
                rows.append(dense)
        assert len(docids) - before == len(source) == (23 // shard_num if shard_id < shard_num - 1 else len(source))
        names += list(source.docids())
        vectors += [part for _, _, part in Source(dense_shards, shard_id, shard_num).dense()]
    assert docids == names == [f"d{row}" for row in range(23)]
    np.testing.assert_array_equal(rows, matrix)
    np.testing.assert_array_equal(np.concatenate(vectors), matrix)


def test_a_shard_reads_only_its_parts(odd_parts: Any) -> None:
    shards = odd_parts[0]
    assert [file.name[:10] for file in Source(shards, 0, 4).files] == ["part-00000"]
    assert [file.name[:10] for file in Source(shards, 1, 4).files] == ["part-00002", "part-00003"]


def test_shards_that_there_cannot_be(odd_parts: Any, raises_error: Any) -> None:
    with raises_error("--shard-num 24", "only 23 documents"):
        Source(odd_parts[0], 0, 24)
    for shard_id in (-1, 3):
        with raises_error(f"--shard-id {shard_id}"):
            Source(odd_parts[0], shard_id, 3)


def test_the_shards_of_encode_and_index_are_the_same() -> None:
    from gradir.data.spans import shard_span
    from gradir.encode.rows import Texts, taken

    class Counted(Texts):
        def rows(self) -> Any:
            return iter(range(17)[slice(*self.span)])

    for shard_num in range(1, 8):
        for shard_id in range(shard_num):
            span = taken(Counted("", "passage"), None, shard_id, shard_num).span
            assert range(17)[slice(*span)] == range(*shard_span(17, shard_id, shard_num))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_that_no_similarity_can_be_computed_with(
    dense_shards: Any, raises_error: Any, tmp_path: Any, value: float
) -> None:
    from gradir import index

    shards = dense_shards(np.eye(4), parts=2)
    table = pq.read_table(shards / "part-00001.parquet")
    vectors = pa.array([[1.0, 0, 0, 0], [0, value, 0, 0]], pa.list_(pa.float32()))
    pq.write_table(table.set_column(1, "vector", vectors), shards / "part-00001.parquet")
    for type in ("flat", "hnsw"):
        with raises_error("part-00001.parquet:2", "document d3", "NaN or infinity"):
            index.run(shards, tmp_path / "index", type)
    assert not (tmp_path / "index").exists()


@pytest.mark.parametrize(
    ("terms", "impacts", "words"),
    [
        ([0, 1], [3, 0], ["impact of 0", "above 0"]),
        ([0, 1], [-5, 1], ["impact of -5", "above 0"]),
        ([1, 0], [3, 1], ["term id 0 out of order"]),
        ([1, 1], [3, 1], ["term id 1 out of order"]),
        ([-1, 1], [3, 1], ["term id -1 out of order or range"]),
        ([0, 2], [3, 1], ["has term 2", "only 2 lines"]),
    ],
)
@pytest.mark.parametrize("type", ["impact", "opensearch-bulk"])
def test_postings_that_are_no_vector(
    sparse_shards: Any, raises_error: Any, tmp_path: Any, terms: Any, impacts: Any, words: Any, type: Any
) -> None:
    from gradir import index

    shards = sparse_shards(np.ones((2, 2), dtype=int), ["a", "b"])
    table = pq.read_table(shards / "part-00000.parquet")
    table = table.set_column(1, "terms", pa.array([[0, 1], terms], pa.list_(pa.int32())))
    table = table.set_column(2, "impacts", pa.array([[1, 1], impacts], pa.list_(pa.int32())))
    pq.write_table(table, shards / "part-00000.parquet")
    with raises_error("part-00000.parquet:2", "document d1", *words):
        index.run(shards, tmp_path / "index", type)
    assert not (tmp_path / "index").exists()


@pytest.mark.parametrize("values", [[5, 2**32 + 5], [5, -(2**40)], [0.5, 7.5]])
def test_impacts_that_are_no_integers_of_32_bits(
    sparse_shards: Any, raises_error: Any, tmp_path: Any, values: Any
) -> None:
    # a cast would make 5 of the first, 0 of the second and third
    from gradir import index

    shards = sparse_shards(np.ones((2, 1), dtype=int), ["a"])
    table = pq.read_table(shards / "part-00000.parquet")
    table = table.set_column(2, "impacts", pa.array([[value] for value in values]))
    pq.write_table(table, shards / "part-00000.parquet")
    with raises_error("part-00000.parquet", "impacts", "Encode again"):
        index.run(shards, tmp_path / "index", "impact")
    assert not (tmp_path / "index").exists()
