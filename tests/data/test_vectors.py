from __future__ import annotations

import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gradir.data.vectors import (
    SparseVectors,
    VectorShards,
    _offsets,
    concatenate_sparse,
    part_path,
    read_part,
    write_part,
    write_vocab,
)
from gradir.errors import GradirError, InputError

DENSE = {"kind": "dense", "encoder": "abc"}
SPLADE = {"kind": "splade", "encoder": "abc", "scale": 51.2}

row = st.dictionaries(st.integers(0, 2**31 - 1), st.integers(1, 2**31 - 1), max_size=5)
rows = st.lists(row, max_size=6)


def sparse(dicts: list[dict[int, int]]) -> SparseVectors:
    terms = [term for one in dicts for term in sorted(one)]
    impacts = [one[term] for one in dicts for term in sorted(one)]
    indptr = [sum(map(len, dicts[:i])) for i in range(len(dicts) + 1)]
    return SparseVectors(np.array(indptr, np.int64), np.array(terms, np.int32), np.array(impacts, np.int32))


def dicts(vectors: SparseVectors) -> list[dict[int, int]]:
    found = [vectors.row(i) for i in range(len(vectors))]
    return [dict(zip(terms.tolist(), impacts.tolist(), strict=True)) for terms, impacts in found]


def names(count: int, start: int = 0) -> list[str]:
    return [f"d{n}" for n in range(start, start + count)]


@given(rows, st.data())
def test_take_is_indexing(one, data):
    order = data.draw(st.lists(st.integers(0, len(one) - 1), max_size=8)) if one else []
    taken = sparse(one).take(np.array(order, np.int64))
    assert dicts(taken) == [one[i] for i in order]
    assert (taken.indptr.dtype, taken.terms.dtype, taken.impacts.dtype) == (np.int64, np.int32, np.int32)
    assert dicts(sparse(one).take(order)) == dicts(taken)


@given(st.lists(rows, max_size=4))
def test_concatenation_is_that_of_lists(parts):
    joined = concatenate_sparse([sparse(part) for part in parts])
    assert dicts(joined) == [one for part in parts for one in part]
    assert (joined.indptr.dtype, joined.terms.dtype, joined.impacts.dtype) == (np.int64, np.int32, np.int32)


def test_pointers_that_do_not_fit_are_a_mistake_of_the_caller():
    for indptr in [[0, 1], [1, 2], [0, 3]]:
        with pytest.raises(ValueError, match="indptr"):
            SparseVectors(np.array(indptr), np.zeros(2, np.int32), np.zeros(2, np.int32))


@given(st.lists(rows, min_size=1, max_size=3))
def test_sparse_round_trip(tmp_path_factory, parts):
    folder = tmp_path_factory.mktemp("v")
    for number, part in enumerate(parts):
        write_part(folder, number, names(len(part), 10 * number), sparse(part), SPLADE)
    shards = VectorShards(folder)
    assert len(shards) == sum(map(len, parts))
    assert shards.counts == [len(part) for part in parts]
    assert shards.kind == "splade"
    assert shards.metadata == SPLADE
    found = list(shards.sparse_parts())
    assert [docids for docids, _ in found] == [names(len(part), 10 * n) for n, part in enumerate(parts)]
    assert [dicts(vectors) for _, vectors in found] == parts
    assert all(v.terms.dtype == v.impacts.dtype == np.int32 and v.indptr.dtype == np.int64 for _, v in found)
    table = pq.read_table(part_path(folder, 0))
    assert [str(field.type).replace("element", "item") for field in table.schema] == [
        "string",
        "list<item: int32>",
        "list<item: int32>",
    ]
    assert [
        dict(zip(terms, impacts, strict=True))
        for terms, impacts in zip(table["terms"].to_pylist(), table["impacts"].to_pylist(), strict=True)
    ] == parts[0]


shapes = hnp.array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=5)


@given(hnp.arrays(np.float32, shapes, elements=st.floats(width=32, allow_nan=False, allow_infinity=False)))
def test_dense_round_trip(tmp_path_factory, vectors):
    folder = tmp_path_factory.mktemp("v")
    write_part(folder, 0, names(len(vectors)), vectors, DENSE)
    shards = VectorShards(folder)
    ((docids, found),) = shards.dense_parts()
    assert docids == names(len(vectors))
    assert found.shape == vectors.shape
    assert found.dtype == np.float32
    assert found.tobytes() == vectors.tobytes()
    table = pq.read_table(part_path(folder, 0))
    assert table.schema.field("docid").type == pa.string()
    assert table.schema.field("vector").type.value_type == pa.float32()
    assert table["vector"].to_pylist() == vectors.tolist()


def test_other_precisions_and_memory_orders(tmp_path):
    vectors = np.arange(6, dtype=np.float64).reshape(2, 3) / 7
    write_part(tmp_path, 0, names(2), vectors, DENSE)
    write_part(tmp_path, 1, names(2), np.asfortranarray(vectors.astype(np.float32)), DENSE)
    write_part(tmp_path, 2, names(2), vectors.astype(np.float16), DENSE)
    types = [pq.read_schema(part_path(tmp_path, n)).field("vector").type.value_type for n in range(3)]
    assert types == [pa.float32(), pa.float32(), pa.float16()]
    found = [vectors for _, vectors in VectorShards(tmp_path).dense_parts()]
    assert all(one.dtype == np.float32 for one in found)
    assert np.array_equal(found[0], vectors.astype(np.float32))
    assert np.array_equal(found[1], vectors.astype(np.float32))
    assert np.array_equal(found[2], vectors.astype(np.float16).astype(np.float32))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_vectors_that_are_no_numbers_are_refused(tmp_path, refuses, bad, dtype):
    vectors = np.zeros((3, 2), dtype)
    vectors[1, 1] = bad
    with refuses("document d1: its vector holds NaN or infinity. Are the model's weights sound?"):
        write_part(tmp_path, 0, names(3), vectors, DENSE)
    assert list(tmp_path.iterdir()) == []


def test_what_overflows_single_precision_is_refused(tmp_path, refuses):
    with refuses("document d0: its vector holds NaN or infinity"), np.errstate(over="ignore"):
        write_part(tmp_path, 0, ["d0"], np.full((1, 2), 1e300), DENSE)


@pytest.mark.parametrize("bad", [0, -1, 2**31, 2**40])
def test_impacts_out_of_range_are_refused(tmp_path, refuses, bad):
    impacts = np.array([1, 2**31 - 1, bad], np.int64)
    vectors = SparseVectors(np.array([0, 2, 2, 3]), np.array([4, 5, 6], np.int32), impacts)  # type: ignore[arg-type]
    with refuses(f"document d2: an impact of {bad}. Impacts must be above 0 and below 2**31"):
        write_part(tmp_path, 0, names(3), vectors, SPLADE)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("terms", [[1, 5, 5, 0], [1, 6, 5, 0], [1, -1, 5, 0], [1, 2**31, 2**31 + 1, 0]])
def test_terms_that_do_not_ascend_are_refused(tmp_path, refuses, terms):
    vectors = SparseVectors(np.array([0, 1, 3, 4, 4]), np.array(terms, np.int64), np.ones(4, np.int32))  # type: ignore[arg-type]
    with refuses("document d1: term id ", "Sort the terms of each document, each once"):
        write_part(tmp_path, 0, names(4), vectors, SPLADE)


def test_impacts_that_are_no_integers_are_a_mistake_of_the_caller(tmp_path):
    vectors = SparseVectors(np.array([0, 1]), np.zeros(1, np.int32), np.array([1.5]))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="must be integers"):
        write_part(tmp_path, 0, ["d0"], vectors, SPLADE)
    with pytest.raises(ValueError, match="2 ids for 1 vectors"):
        write_part(tmp_path, 0, names(2), np.zeros((1, 2), np.float32), DENSE)


def test_empty_documents_are_rows_with_empty_lists(tmp_path):
    write_part(tmp_path, 0, names(3), sparse([{}, {3: 1}, {}]), SPLADE)
    assert pq.read_table(part_path(tmp_path, 0))["terms"].to_pylist() == [[], [3], []]
    ((_, vectors),) = VectorShards(tmp_path).sparse_parts()
    assert dicts(vectors) == [{}, {3: 1}, {}]


@pytest.mark.parametrize("size", [0, 7])
def test_a_part_without_rows_keeps_its_size(tmp_path, size):
    write_part(tmp_path, 0, [], np.zeros((0, size), np.float32), DENSE)
    write_part(tmp_path, 1, ["d0"], np.zeros((1, size), np.float32), DENSE)
    assert [vectors.shape for _, vectors in VectorShards(tmp_path).dense_parts()] == [(0, size), (1, size)]


def test_parts_are_byte_equal_in_whatever_order_they_are_written(tmp_path):
    parts = [sparse([{n: 1}, {}, {n: 2, n + 1: 3}]) for n in range(4)]
    for folder, order in [("one", [0, 1, 2, 3]), ("two", [3, 1, 0, 2, 1])]:
        for number in order:
            write_part(tmp_path / folder, number, names(3, 3 * number), parts[number], SPLADE)
        write_vocab(tmp_path / folder, ["a", "b"])
    one, two = ({f.name: f.read_bytes() for f in (tmp_path / n).iterdir()} for n in ["one", "two"])
    assert one == two
    assert len(one) == 5


def test_parts_beyond_five_digits_stay_in_order(tmp_path, monkeypatch):
    write_part(tmp_path, 0, ["d0"], np.zeros((1, 1), np.float32), DENSE)
    for number in [99_999, 100_000, 100_001]:
        shutil.copy(part_path(tmp_path, 0), part_path(tmp_path, number))
    with pytest.raises(InputError) as caught:
        VectorShards(tmp_path)
    assert caught.value.path == str(part_path(tmp_path, 99_999))
    part_path(tmp_path, 0).unlink()
    monkeypatch.setattr("gradir.data.vectors.part_path", lambda folder, n: part_path(folder, n + 99_999))
    assert [file.name for file in VectorShards(tmp_path).files] == [
        f"part-{n}.parquet" for n in (99_999, 100_000, 100_001)
    ]


def test_a_folder_like_a_hive_partition_adds_no_column(tmp_path):
    write_part(tmp_path / "docid=7", 0, ["d0"], np.ones((1, 2), np.float32), DENSE)
    docids, vectors = read_part(part_path(tmp_path / "docid=7", 0))
    assert docids == ["d0"]
    assert np.array_equal(vectors, np.ones((1, 2), np.float32))


@pytest.fixture
def folder(tmp_path):
    for number in range(3):
        write_part(tmp_path, number, names(50, 50 * number), sparse([{n: n + 1} for n in range(50)]), SPLADE)
    write_vocab(tmp_path, ["a"])
    return tmp_path


def test_folders_that_are_no_shards(tmp_path, folder, refuses):
    for empty in [tmp_path / "no", tmp_path / "empty"]:
        with refuses(f"{empty}: holds no vector shards (part-00000.parquet …). Make them: gradir encode"):
            VectorShards(empty)
    part_path(folder, 1).unlink()
    with refuses(f"{part_path(folder, 2)}: part 1 is missing before it. Encode again"):
        VectorShards(folder)
    part_path(folder, 0).unlink()
    with refuses("part 0 is missing before it"):
        VectorShards(folder)


def test_mixed_encoders_are_refused(folder, refuses):
    write_part(folder, 2, ["x"], sparse([{1: 1}]), SPLADE | {"scale": 100})
    with refuses(f"{part_path(folder, 2)}: was made by another encoder or with other settings than part 0"):
        VectorShards(folder)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_truncated_part_is_refused(folder, refuses, share):
    path = part_path(folder, 1)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    for read in [lambda: VectorShards(folder), lambda: read_part(path)]:
        with refuses(f"{path}: is damaged or no Parquet file", "Remove it and encode again"):
            read()


def test_damage_inside_a_part_is_refused(folder, refuses):
    path = part_path(folder, 1)
    data = bytearray(path.read_bytes())
    data[4:60] = b"\xff" * 56
    path.write_bytes(data)
    with refuses(f"{path}: is damaged or no Parquet file"):
        list(VectorShards(folder).parts())


def test_what_gradir_did_not_write_is_refused(tmp_path, refuses):
    path = part_path(tmp_path, 0)
    with refuses(f"{path}: no such file"):
        read_part(path)
    pq.write_table(pa.table({"docid": ["a"], "vector": [[1.0]]}), path)
    with refuses(f"{path}: was not written by gradir. Convert it"):
        VectorShards(tmp_path)
    docids, vectors = read_part(path)  # yet it can be read, to be converted
    assert (docids, vectors.tolist()) == (["a"], [[1.0]])
    for columns in [{"id": ["a"], "vector": [[1.0]]}, {"docid": ["a"], "terms": [[1]]}]:
        pq.write_table(pa.table(columns), path)
        with refuses(f"{path}: has only the columns {', '.join(columns)}. Is it a vector shard?"):
            read_part(path)
    pq.write_table(pa.table({"docid": ["a", "b"], "vector": [[1.0, 2.0, 3.0], [4.0]]}), path)
    with refuses("holds vectors of different sizes"):
        read_part(path)
    pq.write_table(pa.table({"docid": ["a", "b"], "vector": [[1.0], [None]]}), path)
    with refuses("has empty cells in the column vector"):
        read_part(path)
    pq.write_table(pa.table({"docid": ["a", "b"], "terms": [[1], [2]], "impacts": [[1, 2], []]}), path)
    with refuses("has rows with more terms than impacts, or fewer"):
        read_part(path)
    table = pa.table({"docid": ["a"], "vector": [[1.0]]}).replace_schema_metadata({b"gradir": json.dumps({}).encode()})
    pq.write_table(table, path)
    with refuses(f"{path}: is of kind None, not dense or splade"):
        print(VectorShards(tmp_path).kind)


def test_the_wrong_kind_is_refused(tmp_path, folder, refuses):
    with refuses("holds sparse vectors, dense ones are needed. Use --type impact"):
        list(VectorShards(folder).dense_parts())
    write_part(tmp_path / "dense", 0, ["a"], np.zeros((1, 1), np.float32), DENSE)
    with refuses("holds dense vectors, sparse ones are needed. Use --type flat or hnsw"):
        list(VectorShards(tmp_path / "dense").sparse_parts())


def test_an_interrupted_encoding_does_not_look_finished(folder, refuses):
    (folder / "manifest.partial.json").write_text("{}")
    with refuses(f"{folder}: is not finished. Give its gradir encode command again"):
        VectorShards(folder)
    (folder / "manifest.json").write_text("{}")
    assert len(VectorShards(folder)) == 150


flat = st.text(st.characters(blacklist_characters="\r\n", blacklist_categories=["Cs"]))


@given(st.lists(flat))
def test_the_vocabulary_keeps_its_lines(tmp_path_factory, vocab):
    folder = tmp_path_factory.mktemp("v")
    write_part(folder, 0, [], sparse([]), SPLADE)
    write_vocab(folder, vocab)
    assert VectorShards(folder).vocab() == vocab


def test_terms_with_line_ends_and_missing_vocabularies(folder, refuses):
    for term in ["a\nb", "\r"]:
        with refuses(f"{folder}/vocab.txt: term {term!r} holds a line end. Use another tokenizer."):
            write_vocab(folder, ["a", term])
    assert VectorShards(folder).vocab() == ["a"]  # the earlier one is still whole
    (folder / "vocab.txt").unlink()
    with refuses(f"{folder / 'vocab.txt'}: is missing beside sparse vectors"):
        VectorShards(folder).vocab()


def test_more_numbers_than_offsets_can_count_are_refused():
    assert _offsets(np.array([0, 2**31 - 1])).to_pylist() == [0, 2**31 - 1]
    with pytest.raises(GradirError, match=f"{2**31} numbers in one part, at most .* Put fewer documents into a part"):
        _offsets(np.array([0, 2**31]))
