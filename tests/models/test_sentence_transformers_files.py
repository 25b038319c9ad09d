"""What sentence-transformers writes, read: by hand-made files, and by what the installed version saves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gradir.models.config import EncoderConfig, read_config


def modules(*names: str) -> list[dict[str, Any]]:
    """`modules.json`: the first at the root, the others in a subfolder each."""
    paths = ["", *(f"{i}_{name}" for i, name in enumerate(names[1:], 1))]
    return [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{name}"}
        for i, (name, path) in enumerate(zip(names, paths, strict=True))
    ]


def test_the_modules_of_sentence_transformers(tmp_path: Path, write: Any) -> None:
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
        ({"pooling_mode": "max"}, "max"),
        ({"pooling_mode": "lasttoken"}, "last"),
        ({"pooling_mode_max_tokens": True, "pooling_mode_lasttoken": False}, "max"),
        ({"pooling_mode_lasttoken": True}, "last"),
        ({"pooling_mode": "mean", "include_prompt": False}, "mean"),  # there is no prompt
    ],
)
def test_poolings(tmp_path: Path, settings: dict[str, Any], pooling: str, write: Any) -> None:
    folder = write(tmp_path, modules=modules("Transformer", "Pooling"), **{"1_Pooling__config": settings})
    config = read_config(folder)
    assert (config.pooling, config.normalize) == (pooling, False)


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"pooling_mode": "weightedmean"}, "pools by weightedmean"),
        ({"pooling_mode": ["mean", "cls"]}, "pools by mean and cls"),
        ({"pooling_mode_mean_sqrt_len_tokens": True}, "pools by pooling_mode_mean_sqrt_len_tokens"),
        ({}, "pools by nothing"),
    ],
)
def test_other_poolings_are_refused(tmp_path: Path, raises_error: Any, settings: Any, problem: str, write: Any) -> None:
    with raises_error(problem, "Only mean, cls, max or lasttoken"):
        read_config(write(tmp_path, modules=modules("Transformer", "Pooling"), **{"1_Pooling__config": settings}))


def test_a_prompt_outside_the_pooling(tmp_path: Path, write: Any) -> None:
    pooling = {"pooling_mode": "mean", "include_prompt": False}
    folder = write(tmp_path, modules=modules("Transformer", "Pooling"), **{"1_Pooling__config": pooling})
    assert not read_config(folder).pool_prefix


@pytest.mark.parametrize(
    ("settings", "query", "passage"),
    [
        ({"prompts": {"query": "q: ", "passage": "p: "}, "default_prompt_name": "query"}, "q: ", "p: "),
        ({"prompts": {"query": "q: "}, "default_prompt_name": "query"}, "q: ", ""),
        ({"prompts": {"sts": "s: "}, "default_prompt_name": "sts"}, "s: ", "s: "),
        ({"prompts": {"sts": "s: ", "query": "", "document": ""}, "default_prompt_name": "sts"}, "", ""),
        ({"prompts": {"sts": "s: "}, "default_prompt_name": None}, "", ""),
    ],
)
def test_prompts(tmp_path: Path, write: Any, settings: Any, query: str, passage: str) -> None:
    files = {"config_sentence_transformers": settings, "1_Pooling__config": {"pooling_mode": "mean"}}
    config = read_config(write(tmp_path, modules=modules("Transformer", "Pooling"), **files))
    assert (config.query_prefix, config.passage_prefix) == (query, passage)


def test_truncation_behind_scaling_is_refused(tmp_path: Path, raises_error: Any, write: Any) -> None:
    files = {"config_sentence_transformers": {"truncate_dim": 8}, "1_Pooling__config": {"pooling_mode": "mean"}}
    folder = write(tmp_path, modules=modules("Transformer", "Pooling"), **files)
    assert read_config(folder).dimensions == 8
    with raises_error("cuts vectors to 8 numbers after they were scaled", "--dimensions"):
        read_config(write(folder, modules=modules("Transformer", "Pooling", "Normalize")))


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (("Transformer", "Pooling", "LSTM"), "has the modules LSTM"),
        (("Transformer", "Pooling", "Normalize", "Dense"), "in the order Transformer, Pooling, Normalize, Dense"),
        (("Pooling", "Transformer"), "in the order Pooling, Transformer"),
        (("Transformer",), "names only Transformer"),
        (("SpladePooling",), "names only SpladePooling"),
        ((), "no modules"),
    ],
)
def test_other_modules_are_refused(
    tmp_path: Path, raises_error: Any, names: tuple[str, ...], problem: str, write: Any
) -> None:
    with raises_error(str(tmp_path), problem):
        read_config(write(tmp_path, modules=modules(*names) if names else []))


@pytest.mark.parametrize("value", ["{}", '[{"type": "a.Transformer"}]', "[3]"])
def test_a_damaged_list_of_modules(tmp_path: Path, raises_error: Any, value: str, write: Any) -> None:
    with raises_error("modules.json: is not a list of modules"):
        read_config(write(tmp_path, modules=value))


def test_paths_outside_the_folder_are_refused(tmp_path: Path, raises_error: Any, write: Any) -> None:
    for path in ("../other", "/etc"):
        listed = [{"idx": 0, "name": "0", "path": path, "type": "sentence_transformers.models.Transformer"}]
        with raises_error("modules.json: names the path", "outside of the folder"):
            read_config(write(tmp_path, modules=listed))


@pytest.mark.parametrize(
    ("routes", "problem"),
    [
        ({}, "has no `types` and `structure`"),
        ({"types": {}, "structure": {"query": []}}, "has no route `document`"),
        ({"types": {}, "structure": {"query": ["a"], "document": []}}, "has no route `query`"),
        (
            {"types": {"../a": "x.Transformer"}, "structure": {"query": ["../a"], "document": []}},
            "outside of the folder",
        ),
    ],
)
def test_damaged_routes(tmp_path: Path, raises_error: Any, write: Any, routes: Any, problem: str) -> None:
    with raises_error("router_config.json", problem):
        read_config(write(tmp_path, modules=modules("Router"), router_config=routes))


def test_lower_case_that_the_tokenizer_does_not_make(tmp_path: Path, raises_error: Any, write: Any) -> None:
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
    tmp_path: Path, declared: int | None, tokenizer: int | None, length: int, write: Any
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
def test_sparse_encoders(tmp_path: Path, raises_error: Any, transformer: str, write: Any) -> None:
    folder = write(
        tmp_path,
        modules=modules(transformer, "SpladePooling"),
        sentence_bert_config={"max_seq_length": 99},
        **{"1_SpladePooling__config": {"pooling_strategy": "max", "activation_function": "relu"}},
    )
    expected = EncoderConfig("splade", "max", special_tokens="keep", max_query_length=99, max_passage_length=99)
    assert read_config(folder) == expected
    change = {"pooling_strategy": "sum", "activation_function": "log1p_relu"}
    listed = modules(transformer, "SpladePooling")
    changed = read_config(write(folder, modules=listed, **{"1_SpladePooling__config": change}))
    assert (changed.pooling, changed.activation) == ("sum", "log1p_relu")
    for change in ({"pooling_strategy": "mean"}, {"activation_function": "gelu"}):
        with raises_error(f"`{next(iter(change))}` is '{next(iter(change.values()))}'"):
            read_config(write(folder, modules=listed, **{"1_SpladePooling__config": change}))


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
