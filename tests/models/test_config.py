"""What an encoder folder says of itself, in the three forms that are read."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from gradir.data.schemas import load
from gradir.models.config import EncoderConfig, check_config, position_limit, read_config, write_config

BERT = {"model_type": "bert", "architectures": ["BertModel"], "max_position_embeddings": 512}


# gradir.json


def test_gradir_json_comes_back_as_written(tmp_path: Path, write: Any) -> None:
    config = EncoderConfig(
        "splade", "max", query_prefix="frage: „", max_query_length=8, impact_scale=100.0, top_k_passage=7
    )
    write_config(tmp_path, config)
    assert read_config(tmp_path) == config


def test_what_is_written_validates(tmp_path: Path) -> None:
    write_config(tmp_path, EncoderConfig("dense", "cls", tokenizer_sha256="0" * 64, weights_sha256="a" * 64))
    jsonschema.validate(json.loads((tmp_path / "gradir.json").read_text()), load("encoder"))


def test_a_dense_encoder_may_have_no_scale(tmp_path: Path, raises_error: Any, write: Any) -> None:
    value = {"format": 1, "kind": "dense", "pooling": "mean", "impact_scale": None, "top_k_query": None}
    assert read_config(write(tmp_path, gradir=value)) == EncoderConfig("dense", "mean")
    with raises_error("`impact_scale` is null"):
        read_config(write(tmp_path, gradir=value | {"kind": "splade", "pooling": "max"}))


def test_all_problems_of_gradir_json_are_listed(tmp_path: Path, raises_error: Any, write: Any) -> None:
    value = {
        "format": 1,
        "kind": "spade",
        "normalise": True,
        "max_query_length": 0,
        "max_passage_length": "256",
        "impact_scale": -1,
        "special_tokens": "hide",
        "top_k_query": 1.5,
        "normalize": "no",
        "query_prefix": None,
        "query_side": "table",
    }
    with raises_error(
        f"{tmp_path}/gradir.json: ",
        "unknown key `normalise`, did you mean 'normalize'?",
        "no `pooling`",
        '`kind` is "spade", not one of dense, splade',
        "`max_query_length` is 0, not a whole number above 0",
        '`max_passage_length` is "256"',
        "`impact_scale` is -1, not a number above 0",
        "`special_tokens` is",
        "`top_k_query` is 1.5",
        '`normalize` is "no", not true or false',
        "`query_prefix` is null, not text",
        "`query_side` is",
    ):
        read_config(write(tmp_path, gradir=value))


@pytest.mark.parametrize(
    "field",
    [name for name in asdict(EncoderConfig("dense", "mean")) if name not in ("normalize", "pool_prefix", "expansion")],
)
def test_true_is_no_value_of_any_other_field(tmp_path: Path, raises_error: Any, field: str, write: Any) -> None:
    value = {"format": 1, "kind": "dense", "pooling": "mean"} | {field: True}
    with raises_error(f"`{field}` is true"):
        read_config(write(tmp_path, gradir=value))


@pytest.mark.parametrize(("kind", "pooling"), [("splade", "mean"), ("splade", "last"), ("dense", "sum")])
def test_pooling_must_go_with_the_kind(tmp_path: Path, raises_error: Any, kind: str, pooling: str, write: Any) -> None:
    with raises_error(f"pooling '{pooling}' does not go with a {kind} encoder"):
        read_config(write(tmp_path, gradir={"format": 1, "kind": kind, "pooling": pooling}))


@pytest.mark.parametrize(
    ("kind", "pooling", "change"),
    [
        ("splade", "max", {"dimensions": 8}),
        ("splade", "max", {"pool_prefix": False}),
        ("dense", "max", {"activation": "log1p_relu"}),
        ("dense", "last", {"expansion": False}),
        ("dense", "mean", {"query_side": "idf"}),
    ],
)
def test_values_that_only_the_other_kind_may_have(
    tmp_path: Path, raises_error: Any, write: Any, kind: str, pooling: str, change: dict[str, Any]
) -> None:
    with raises_error(
        f"`{next(iter(change))}` is ", f"only a {'dense' if kind == 'splade' else 'splade'} encoder may have"
    ):
        read_config(write(tmp_path, gradir={"format": 1, "kind": kind, "pooling": pooling} | change))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "gradir.json:1: not JSON"),
        ("[]", "not a JSON object"),
        ('{"kind": "dense", "pooling": "mean"}', "no integer `format`"),
        ('{"format": 99}', "format 99"),
    ],
)
def test_a_damaged_gradir_json(tmp_path: Path, raises_error: Any, text: str, problem: str, write: Any) -> None:
    with raises_error(str(tmp_path), problem):
        read_config(write(tmp_path, gradir=text))


def test_a_file_that_is_not_utf8(tmp_path: Path, raises_error: Any) -> None:
    (tmp_path / "gradir.json").write_bytes(b"\xff{}")
    with raises_error("gradir.json: not UTF-8"):
        read_config(tmp_path)


# plain Hugging Face


@pytest.mark.parametrize(
    ("architectures", "kind", "pooling"),
    [
        (["BertForMaskedLM"], "splade", "max"),
        (["BertModel"], "dense", "mean"),
        ([], "dense", "mean"),
        (None, "dense", "mean"),
    ],
)
def test_a_plain_folder(tmp_path: Path, architectures: Any, kind: str, pooling: str, write: Any) -> None:
    config = read_config(write(tmp_path, config=BERT | {"architectures": architectures}))
    assert (config.kind, config.pooling, config.normalize) == (kind, pooling, kind == "dense")
    assert config.max_passage_length == 256


def test_a_plain_folder_of_a_small_model(tmp_path: Path, write: Any) -> None:
    assert read_config(write(tmp_path, config=BERT | {"max_position_embeddings": 64})).max_query_length == 64


def test_a_folder_without_a_model(tmp_path: Path, raises_error: Any) -> None:
    with raises_error(f"{tmp_path}: holds no encoder (no config.json)"):
        read_config(tmp_path)


@pytest.mark.parametrize(
    ("settings", "limit"),
    [
        (BERT, 512),
        ({"model_type": "roberta", "max_position_embeddings": 514, "pad_token_id": 1}, 512),
        ({"model_type": "mpnet", "max_position_embeddings": 514}, 512),
        ({"model_type": "t5"}, None),
        ({"model_type": "xlnet", "max_position_embeddings": -1}, None),
    ],
)
def test_position_limits(settings: dict[str, Any], limit: int | None) -> None:
    assert position_limit(settings) == limit


@pytest.mark.parametrize("family", ["bert", "distilbert", "roberta"])
def test_the_position_limit_is_what_the_model_takes(tiny: Any, family: str) -> None:
    import torch
    from transformers import AutoModel

    model = AutoModel.from_pretrained(tiny(family)).eval()
    limit = position_limit(model.config.to_dict())
    assert limit == 64
    model(input_ids=torch.full((1, limit), 5))
    with pytest.raises((IndexError, RuntimeError)):
        model(input_ids=torch.full((1, limit + 1), 5))


def test_queries_may_have_a_limit_of_their_own(raises_error: Any) -> None:
    check_config(EncoderConfig("dense", "mean", max_query_length=600), 512, 1024)
    with raises_error("`max_query_length` is 600, but the model takes at most 256 tokens"):
        check_config(EncoderConfig("dense", "mean", max_query_length=600), 512, 256)


def test_lengths_over_the_limit_are_listed(raises_error: Any) -> None:
    with raises_error("`max_query_length` is 600", "`max_passage_length` is 700", "at most 512 tokens"):
        check_config(EncoderConfig("dense", "mean", max_query_length=600, max_passage_length=700), 512)
    check_config(EncoderConfig("dense", "mean", max_query_length=512, max_passage_length=512), 512)
