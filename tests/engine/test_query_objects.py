"""What Pyserini's searchers are given in place of its own encoders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradir.data.vectors import SparseVectors
from gradir.engine.batching import token_batches
from gradir.engine.devices import bfloat16_pays, choose_device, choose_dtype
from gradir.engine.encoder import Encoder
from gradir.engine.query_encoders import DenseQueryEncoder, KnownQueries, SparseQueryEncoder, to_dicts


def test_to_dicts_has_python_integers_and_empty_rows() -> None:
    vectors = SparseVectors(
        np.array([0, 2, 2, 3]), np.array([0, 2, 1], dtype=np.int32), np.array([7, 8, 9], dtype=np.int32)
    )
    dicts = to_dicts(vectors, ["a", "b", "c"])
    assert dicts == [{"a": 7, "c": 8}, {}, {"b": 9}]
    assert {type(impact) for row in dicts for impact in row.values()} == {int}


def test_queries_one_by_one_are_those_of_a_batch(tiny: Any, sentences: list[str]) -> None:
    sparse = SparseQueryEncoder(Encoder.open(tiny("bert", head=True), "cpu", "float32"))
    dense = DenseQueryEncoder(Encoder.open(tiny("bert"), "cpu", "float32"))
    together = sparse.encode_batch(sentences[:3])
    for text, row in zip(sentences, together, strict=False):
        alone = sparse.encode(text, max_length=7)  # what Pyserini's searchers may pass along is not looked at
        assert max(abs(alone.get(term, 0) - row.get(term, 0)) for term in {*alone, *row}) <= 1
    np.testing.assert_allclose(dense.encode_batch(sentences[:2])[1], dense.encode(sentences[1]), atol=1e-5)
    assert dense.encode(sentences[0]).shape == (32,)
    assert sparse.encode("") == {}


def test_a_folder_is_opened_as_it_is_asked_for(tiny: Any, sentences: list[str]) -> None:
    sparse = SparseQueryEncoder(tiny("bert", head=True), device="cpu", dtype="float32", impact_scale=100.0)
    opened = Encoder.open(tiny("bert", head=True), "cpu", "float32", impact_scale=100.0)
    assert sparse.encode(sentences[0]) == to_dicts(opened.encode(sentences[:1], "query"), opened.vocab())[0]
    dense = DenseQueryEncoder(str(tiny("bert")), device="cpu", dtype="float32")
    np.testing.assert_array_equal(
        dense.encode(sentences[0]), Encoder.open(tiny("bert"), "cpu", "float32").encode(sentences[:1], "query")[0]
    )
    assert (dense.encode(sentences[0]).dtype, dense.encode_batch([]).shape) == (np.float32, (0, 32))
    with pytest.raises(TypeError, match="open already"):
        SparseQueryEncoder(opened, device="cpu")


def test_the_wrong_kind_of_encoder_is_refused(tiny: Any, raises_error: Any) -> None:
    with raises_error("this one is dense", "DenseQueryEncoder"):
        SparseQueryEncoder(Encoder.open(tiny("bert"), "cpu"))
    with raises_error("this one is SPLADE", "SparseQueryEncoder"):
        DenseQueryEncoder(Encoder.open(tiny("bert", head=True), "cpu"))


def test_known_queries_give_what_they_were_given() -> None:
    known = KnownQueries(["a", "b"], [np.float32([1, 2]), np.float32([3, 4])])
    assert known.encode("b").tolist() == [3, 4]
    assert known.encode_batch(["b", "a"]).tolist() == [[3, 4], [1, 2]]


@settings(deadline=None, database=None)
@given(st.lists(st.integers(0, 50), max_size=40), st.integers(1, 120))
def test_batches_hold_every_text_once_within_the_budget(lengths: list[int], budget: int) -> None:
    batches = [batch.tolist() for batch in token_batches(lengths, budget)]
    places = [place for batch in batches for place in batch]
    assert sorted(places) == list(range(len(lengths)))
    assert places == sorted(range(len(lengths)), key=lambda place: (-lengths[place], place))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[place] for place in batch) <= budget


@pytest.mark.parametrize("device", ["cuda:99", "nonsense", ""])
def test_a_device_that_is_not_there(device: str, raises_error: Any) -> None:
    with raises_error(f"--device {device}", "--device cpu"):
        choose_device(device)


def test_number_formats(raises_error: Any, minilm: Path) -> None:
    cpu = choose_device("cpu")
    assert str(choose_dtype("float16", cpu)) == "torch.float16"
    assert str(choose_dtype("auto", cpu)) == ("torch.bfloat16" if bfloat16_pays(cpu) else "torch.float32")
    with raises_error("--dtype float8", "bfloat16"):
        choose_dtype("float8", cpu)
