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


def write(folder: Path, **files: Any) -> Path:
    """A folder of JSON files; `__` stands for `/`, and text is written as it is."""
    for name, value in ({"config": BERT} | files).items():
        path = folder / f"{name.replace('__', '/')}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        if value is not None:
            path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    return folder


def modules(*names: str) -> list[dict[str, Any]]:
    """`modules.json`: the first at the root, the others in a subfolder each."""
    paths = ["", *(f"{i}_{name}" for i, name in enumerate(names[1:], 1))]
    return [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{name}"}
        for i, (name, path) in enumerate(zip(names, paths, strict=True))
    ]


# gradir.json


def test_gradir_json_comes_back_as_written(tmp_path: Path) -> None:
    config = EncoderConfig(
        "splade", "max", query_prefix="frage: „", max_query_length=8, impact_scale=100.0, top_k_passage=7
    )
    write_config(tmp_path, config)
    assert read_config(tmp_path) == config


def test_what_is_written_validates(tmp_path: Path) -> None:
    write_config(tmp_path, EncoderConfig("dense", "cls", tokenizer_sha256="0" * 64, weights_sha256="a" * 64))
    jsonschema.validate(json.loads((tmp_path / "gradir.json").read_text()), load("encoder"))


def test_a_dense_encoder_may_have_no_scale(tmp_path: Path, raises_error: Any) -> None:
    value = {"format": 1, "kind": "dense", "pooling": "mean", "impact_scale": None, "top_k_query": None}
    assert read_config(write(tmp_path, gradir=value)) == EncoderConfig("dense", "mean")
    with raises_error("`impact_scale` is null"):
        read_config(write(tmp_path, gradir=value | {"kind": "splade", "pooling": "max"}))


def test_all_problems_of_gradir_json_are_listed(tmp_path: Path, raises_error: Any) -> None:
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


@pytest.mark.parametrize("field", [name for name in asdict(EncoderConfig("dense", "mean")) if name != "normalize"])
def test_true_is_no_value_of_any_other_field(tmp_path: Path, raises_error: Any, field: str) -> None:
    value = {"format": 1, "kind": "dense", "pooling": "mean"} | {field: True}
    with raises_error(f"`{field}` is true"):
        read_config(write(tmp_path, gradir=value))


@pytest.mark.parametrize(("kind", "pooling"), [("splade", "mean"), ("dense", "max")])
def test_pooling_must_go_with_the_kind(tmp_path: Path, raises_error: Any, kind: str, pooling: str) -> None:
    with raises_error(f"pooling '{pooling}' does not go with a {kind} encoder"):
        read_config(write(tmp_path, gradir={"format": 1, "kind": kind, "pooling": pooling}))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "gradir.json:1: not JSON"),
        ("[]", "not a JSON object"),
        ('{"kind": "dense", "pooling": "mean"}', "no integer `format`"),
        ('{"format": 99}', "format 99"),
    ],
)
def test_a_damaged_gradir_json(tmp_path: Path, raises_error: Any, text: str, problem: str) -> None:
    with raises_error(str(tmp_path), problem):
        read_config(write(tmp_path, gradir=text))


def test_a_file_that_is_not_utf8(tmp_path: Path, raises_error: Any) -> None:
    (tmp_path / "gradir.json").write_bytes(b"\xff{}")
    with raises_error("gradir.json: not UTF-8"):
        read_config(tmp_path)


# sentence-transformers


def test_the_modules_of_sentence_transformers(tmp_path: Path) -> None:
    folder = write(
        tmp_path,
        modules=modules("Transformer", "Pooling", "Normalize"),
        **{"1_Pooling__config": {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}},
        sentence_bert_config={"max_seq_length": 128, "do_lower_case": False},
        config_sentence_transformers={"prompts": {"query": "q: ", "document": "", "passage": "p: "}},
    )
    expected = EncoderConfig(
        "dense", "mean", True, query_prefix="q: ", passage_prefix="p: ", max_query_length=128, max_passage_length=128
    )
    assert read_config(folder) == expected


@pytest.mark.parametrize(
    ("settings", "pooling"),
    [
        ({"pooling_mode_cls_token": True}, "cls"),
        ({"pooling_mode": "cls"}, "cls"),
        ({"pooling_mode": ["mean"]}, "mean"),
        ({"pooling_mode": "mean", "include_prompt": False}, "mean"),  # there is no prompt
    ],
)
def test_poolings(tmp_path: Path, settings: dict[str, Any], pooling: str) -> None:
    folder = write(tmp_path, modules=modules("Transformer", "Pooling"), **{"1_Pooling__config": settings})
    config = read_config(folder)
    assert (config.pooling, config.normalize) == (pooling, False)


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"pooling_mode": "lasttoken"}, "pools by lasttoken"),
        ({"pooling_mode": ["mean", "cls"]}, "pools by mean and cls"),
        ({"pooling_mode_max_tokens": True}, "pools by pooling_mode_max_tokens"),
        ({}, "pools by nothing"),
    ],
)
def test_other_poolings_are_refused(tmp_path: Path, raises_error: Any, settings: Any, problem: str) -> None:
    with raises_error(problem, "Only mean or cls"):
        read_config(write(tmp_path, modules=modules("Transformer", "Pooling"), **{"1_Pooling__config": settings}))


def test_a_prompt_outside_the_pooling_is_refused(tmp_path: Path, raises_error: Any) -> None:
    folder = write(
        tmp_path,
        modules=modules("Transformer", "Pooling"),
        config_sentence_transformers={"prompts": {"query": "q: "}},
        **{"1_Pooling__config": {"pooling_mode": "mean", "include_prompt": False}},
    )
    with raises_error("prompt's tokens"):
        read_config(folder)


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (("Transformer", "Pooling", "Dense"), "has the modules Dense"),
        (("Router",), "has the modules Router"),
        (("Transformer",), "names only Transformer"),
        (("SpladePooling",), "names only SpladePooling"),
        ((), "no modules"),
    ],
)
def test_other_modules_are_refused(tmp_path: Path, raises_error: Any, names: tuple[str, ...], problem: str) -> None:
    with raises_error(str(tmp_path), problem):
        read_config(write(tmp_path, modules=modules(*names) if names else []))


@pytest.mark.parametrize("value", ["{}", '[{"type": "a.Transformer"}]', "[3]"])
def test_a_damaged_list_of_modules(tmp_path: Path, raises_error: Any, value: str) -> None:
    with raises_error("modules.json: is not a list of modules"):
        read_config(write(tmp_path, modules=value))


def test_an_old_layout_with_the_model_in_a_subfolder(tmp_path: Path, raises_error: Any) -> None:
    listed = modules("Transformer", "Pooling")
    listed[0]["path"] = "0_Transformer"
    with raises_error("keeps its Transformer in 0_Transformer"):
        read_config(write(tmp_path, config=None, modules=listed))


def test_lower_case_that_the_tokenizer_does_not_make(tmp_path: Path, raises_error: Any) -> None:
    files: dict[str, Any] = {
        "modules": modules("Transformer", "Pooling"),
        "sentence_bert_config": {"do_lower_case": True},
        "1_Pooling__config": {"pooling_mode": "mean"},
    }
    with raises_error("sentence_bert_config.json: asks for lower case"):
        read_config(write(tmp_path, **files))
    assert read_config(write(tmp_path, **files, tokenizer_config={"do_lower_case": True})).kind == "dense"


@pytest.mark.parametrize(
    ("declared", "tokenizer", "length"),
    [
        (128, 384, 128),
        (None, 384, 384),  # sentence-transformers 6 leaves the length to the tokenizer
        (None, 10**30, 512),
        (4096, None, 512),
        (None, None, 512),
    ],
)
def test_lengths_are_those_of_sentence_transformers(
    tmp_path: Path, declared: int | None, tokenizer: int | None, length: int
) -> None:
    folder = write(
        tmp_path,
        modules=modules("Transformer", "Pooling"),
        sentence_bert_config={"max_seq_length": declared},
        tokenizer_config={"model_max_length": tokenizer},
        **{"1_Pooling__config": {"pooling_mode": "mean"}},
    )
    assert read_config(folder).max_passage_length == read_config(folder).max_query_length == length


@pytest.mark.parametrize("transformer", ["MLMTransformer", "Transformer"])
def test_sparse_encoders(tmp_path: Path, raises_error: Any, transformer: str) -> None:
    folder = write(
        tmp_path,
        modules=modules(transformer, "SpladePooling"),
        sentence_bert_config={"max_seq_length": 99},
        **{"1_SpladePooling__config": {"pooling_strategy": "max", "activation_function": "relu"}},
    )
    expected = EncoderConfig("splade", "max", special_tokens="keep", max_query_length=99, max_passage_length=99)
    assert read_config(folder) == expected
    for change in ({"pooling_strategy": "sum"}, {"activation_function": "log1p_relu"}):
        with raises_error(f"`{next(iter(change))}` is '{next(iter(change.values()))}'"):
            read_config(
                write(folder, modules=modules(transformer, "SpladePooling"), **{"1_SpladePooling__config": change})
            )


def test_folders_that_sentence_transformers_writes(tiny: Any, tmp_path: Path) -> None:
    """The installed version's own files, saved and read."""
    from sentence_transformers import SentenceTransformer, SparseEncoder
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
    from sentence_transformers.sparse_encoder.modules import SpladePooling

    prompts = {"query": "query: ", "document": "passage: "}
    parts = [Transformer(str(tiny("bert")), max_seq_length=48), Pooling(32, pooling_mode="cls"), Normalize()]
    SentenceTransformer(modules=parts, prompts=prompts).save(str(tmp_path / "dense"))
    assert read_config(tmp_path / "dense") == EncoderConfig(
        "dense",
        "cls",
        True,
        query_prefix="query: ",
        passage_prefix="passage: ",
        max_query_length=48,
        max_passage_length=48,
    )
    mlm = Transformer(str(tiny("bert", head=True)), transformer_task="fill-mask", max_seq_length=40)
    SparseEncoder(modules=[mlm, SpladePooling()]).save(str(tmp_path / "sparse"))
    assert read_config(tmp_path / "sparse") == EncoderConfig(
        "splade", "max", special_tokens="keep", max_query_length=40, max_passage_length=40
    )


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
def test_a_plain_folder(tmp_path: Path, architectures: Any, kind: str, pooling: str) -> None:
    config = read_config(write(tmp_path, config=BERT | {"architectures": architectures}))
    assert (config.kind, config.pooling, config.normalize) == (kind, pooling, kind == "dense")
    assert config.max_passage_length == 256


def test_a_plain_folder_of_a_small_model(tmp_path: Path) -> None:
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


def test_lengths_over_the_limit_are_listed(raises_error: Any) -> None:
    with raises_error("`max_query_length` is 600", "`max_passage_length` is 700", "at most 512 tokens"):
        check_config(EncoderConfig("dense", "mean", max_query_length=600, max_passage_length=700), 512)
    check_config(EncoderConfig("dense", "mean", max_query_length=512, max_passage_length=512), 512)
