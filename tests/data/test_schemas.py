from __future__ import annotations

import jsonschema
import pytest

from gradir.data.schemas import load

GENERATED = ["generated_query", "generated_document", "judgement", "agreement", "audit", "dropped"]
DESIGN = {
    "format": 1,
    "kind": "splade",
    "pooling": "max",
    "normalize": False,
    "query_prefix": "",
    "passage_prefix": "",
    "max_query_length": 256,
    "max_passage_length": 256,
    "impact_scale": 51.2,
    "special_tokens": "drop",
    "top_k_query": None,
    "top_k_passage": None,
    "query_side": "encoder",
    "tokenizer_sha256": "0" * 64,
    "weights_sha256": "f" * 64,
}


@pytest.mark.parametrize("name", ["manifest", "graded_list", "encoder", "composition", *GENERATED])
def test_schemas_are_sound_and_name_their_draft(name):
    schema = load(name)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["properties"]["format"] == {"const": 1}


def valid(value: object) -> bool:
    return jsonschema.Draft202012Validator(load("encoder")).is_valid(value)


def test_the_encoder_of_the_design_is_valid():
    assert valid(DESIGN)
    assert valid(DESIGN | {"kind": "dense", "pooling": "mean", "impact_scale": None})
    assert valid(DESIGN | {"kind": "reranker", "top_k_query": 64})


@pytest.mark.parametrize("key", DESIGN)
def test_every_key_of_an_encoder_is_needed(key):
    assert not valid({name: value for name, value in DESIGN.items() if name != key})


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "colbert"},
        {"format": 2},
        {"impact_scale": 0},
        {"impact_scale": None},  # of a SPLADE encoder
        {"max_query_length": 0},
        {"top_k_passage": 0},
        {"weights_sha256": "…"},
        {"normalize": "no"},
        {"dimension": 384},
    ],
)
def test_other_values_and_keys_are_not_valid(change):
    assert not valid(DESIGN | change)
