"""Queries without a model: tables, their formula, and what stands in the vectors."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from gradir.models.config import EncoderConfig
from gradir.models.encoders import StaticEncoder, occurrence
from gradir.models.folder import load_pretrained, open_folder, open_tokenizer, write_splade_folder
from gradir.models.query_side import idf_table
from gradir.models.vocabulary import special_ids


@pytest.fixture
def weighed(tiny: Any, tmp_path: Path) -> Path:
    """A SPLADE encoder whose queries are weighed by a table, special tokens dropped."""
    path = tiny("bert", head=True)
    config = EncoderConfig("splade", "max", query_side="idf", max_query_length=32, max_passage_length=32)
    mlm, tokenizer = load_pretrained("AutoModelForMaskedLM", path)[0], open_tokenizer(path)
    table = torch.from_numpy(idf_table(np.arange(mlm.config.vocab_size) % 50, 50))
    write_splade_folder(tmp_path / "weighed", mlm, tokenizer, config, table)
    return tmp_path / "weighed"


def test_idf_by_hand() -> None:
    expected = [math.log(1 + 10.5 / 0.5), math.log(1 + 7.5 / 3.5), math.log(1 + 0.5 / 10.5)]
    np.testing.assert_allclose(idf_table([0, 3, 10], 10), expected, rtol=1e-6)
    assert idf_table([], 10).dtype == np.float32


def test_idf_in_lucene(pyserini_encoders: Any) -> None:
    from jnius import autoclass

    similarity = autoclass("org.apache.lucene.search.similarities.BM25Similarity")()
    collections = autoclass("org.apache.lucene.search.CollectionStatistics")
    terms = autoclass("org.apache.lucene.search.TermStatistics")
    word = autoclass("org.apache.lucene.util.BytesRef")
    for count in (1, 7, 50):
        collection = collections("contents", 50, 50, 5000, 500)
        theirs = similarity.idfExplain(collection, terms(word(list(b"x")), count, count)).getValue().floatValue()
        assert idf_table([count], 50)[0] == pytest.approx(theirs, rel=1e-6)


@settings(deadline=None, max_examples=50, database=None)
@given(st.lists(st.integers(0, 1000), min_size=1), st.integers(0, 500))
def test_rarer_terms_weigh_more(counts: list[int], more: int) -> None:
    documents = max(counts) + more
    table = idf_table(counts, documents)
    assert (table > 0).all()
    assert (np.diff(table[np.argsort(counts)]) <= 0).all()


@pytest.mark.parametrize("counts", [[1, 11], [1, -1]])
def test_impossible_counts(raises_error: Any, counts: list[int]) -> None:
    with raises_error(f"term 1 stands in {counts[1]} of 10 documents"):
        idf_table(counts, 10)


def test_terms_occur_or_not_however_often() -> None:
    ids, mask = torch.tensor([[3, 3, 1, 0], [0, 2, 0, 0]]), torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0]])
    assert occurrence(ids, mask, 5).tolist() == [[0, 1, 0, 1, 0], [1, 0, 1, 0, 0]]


def test_a_table_stays_float32_in_half_precision() -> None:
    encoder = StaticEncoder(torch.tensor([0.1, 1.2345678])).to(dtype=torch.bfloat16)
    weights = encoder(torch.tensor([[1, 0]]), torch.tensor([[1, 1]]))
    assert weights.dtype == torch.float32
    torch.testing.assert_close(weights, torch.tensor([[0.1, 1.2345678]]))


def test_special_tokens_of_a_query_weigh_nothing(weighed: Path, vectors: Any) -> None:
    opened = open_folder(weighed)
    row = vectors(opened, ["[CLS] wing [SEP] spar"], "query")[0]
    assert row[opened.tokenizer.convert_tokens_to_ids(["wing", "spar"])].all()
    assert not row[special_ids(opened.tokenizer)].any()
    assert np.count_nonzero(row) == 2


def test_binary_queries_need_no_table(tiny: Any, vectors: Any) -> None:
    row = vectors(open_folder(tiny("bert", head=True), query_side="binary"), ["the wing of the spar"], "query")[0]
    assert sorted(row[row > 0]) == [1.0] * 4


def test_queries_may_be_longer_than_the_model_takes(tiny: Any) -> None:
    folder = open_folder(tiny("bert", head=True), query_side="binary", max_query_length=500)
    assert folder.config.max_query_length == 500


def test_a_folder_without_its_table(tiny: Any, raises_error: Any) -> None:
    with raises_error("weighs query terms by `idf`, but holds no table"):
        open_folder(tiny("bert", head=True), query_side="idf")


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ({"other": torch.ones(3)}, "holds no table of weights"),
        ({"weight": torch.ones(3, 3)}, "holds no table of weights"),
        ({"weight": torch.ones(99999)}, "weighs 99999 terms"),
        ({"weight": torch.full((9,), -1.0)}, "negative or no numbers"),
        ({"weight": torch.full((9,), torch.nan)}, "negative or no numbers"),
    ],
)
def test_damaged_tables(weighed: Path, raises_error: Any, table: dict[str, torch.Tensor], problem: str) -> None:
    save_file(table, weighed / "query" / "model.safetensors")
    with raises_error(f"{weighed}/query: ", problem):
        open_folder(weighed)


def test_the_encoder_of_queries_is_missing(tiny: Any, tmp_path: Path, raises_error: Any) -> None:
    folder = Path(shutil.copytree(tiny("bert"), tmp_path / "encoder"))
    (folder / "gradir.json").write_text('{"format": 1, "kind": "dense", "pooling": "mean", "query_side": "separate"}')
    with raises_error(f"{folder}: says that queries have an encoder of their own, but holds no folder query/"):
        open_folder(folder)


@pytest.mark.parametrize(
    ("head", "query", "problem"),
    [
        (False, {"hidden_size": 16}, "gives vectors of 16 numbers, the encoder of documents 32"),
        (False, {"head": True}, "is a splade encoder"),
        (True, {"family": "roberta", "head": True}, "has another vocabulary"),
    ],
)
def test_encoders_of_queries_that_do_not_fit(
    tiny: Any, tmp_path: Path, raises_error: Any, head: bool, query: dict[str, Any], problem: str
) -> None:
    folder = Path(shutil.copytree(tiny("bert", head=head), tmp_path / "encoder"))
    shutil.copytree(tiny(query.pop("family", "bert"), **query), folder / "query")
    kind = {"kind": "splade", "pooling": "max"} if head else {"kind": "dense", "pooling": "mean"}
    lengths = {"max_query_length": 64, "max_passage_length": 64}
    (folder / "gradir.json").write_text(json.dumps({"format": 1, **kind, **lengths, "query_side": "separate"}))
    with raises_error(f"{folder}/query: ", problem):
        open_folder(folder)
