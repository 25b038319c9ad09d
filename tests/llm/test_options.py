"""`--llm` and `--llm-option`: everything that is wrong is said at once, before anything is opened."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gradir.errors import GradirError
from gradir.llm import ENGINES, open_llm
from gradir.llm.given import FREE, Prices, deciding, read_given


def test_options_and_prices_are_parted() -> None:
    own, prices = read_given("hf", ["batch-size=4", "price_in=0.5", "dtype=float32"])
    assert own == {"batch_size": "4", "dtype": "float32"}
    assert prices == Prices(0.5, 0.0)
    assert read_given("vllm", ["block_size=32"]) == ({"block_size": "32"}, FREE)
    assert read_given("hf", []) == ({}, FREE)


def test_all_problems_are_told_at_once(raises_error: Callable[..., Any]) -> None:
    wrong = ["batchsize=4", "dtype", "context=long", "device=cpu", "device=cuda", "price_in=-1", "price_out=inf", "=3"]
    told = ["'batchsize', did you mean 'batch_size'?", "'dtype' is not KEY=VALUE", "context=long is not a whole number"]
    told += ["device is given twice", "price_in=-1", "price_out=inf", "'=3'"]
    with raises_error(*told):
        read_given("hf", wrong)


@pytest.mark.parametrize(("option", "said"), [("batch_size=0", "batch_size=0"), ("context=-5", "context=-5")])
def test_numbers_out_of_range(option: str, said: str, raises_error: Callable[..., Any]) -> None:
    with raises_error(said, "below 1"):
        read_given("hf", [option])


def test_options_of_a_server(raises_error: Callable[..., Any]) -> None:
    assert read_given("openai", ["concurrency=8", "price_out=2"]) == ({"concurrency": "8"}, Prices(0, 2))
    with raises_error("'concurency', did you mean 'concurrency'?", "timeout=soon", "KEY=VALUE"):
        read_given("openai", ["concurency=8", "timeout=soon", "retries"])


def test_an_equals_sign_may_stand_in_a_value() -> None:
    assert read_given("vllm", ['hf_overrides={"a": "b=c"}'])[0] == {"hf_overrides": '{"a": "b=c"}'}


def test_what_changes_the_answers_is_in_the_models_identity(tiny_llm: Path, tmp_path: Path) -> None:
    assert deciding({"batch_size": "3", "device": "cpu"}) == ""
    names = []
    for i, options in enumerate((["batch_size=3"], ["batch_size=4"], ["dtype=float32"], ["dtype=bfloat16"])):
        with open_llm(f"hf:{tiny_llm}", tmp_path / str(i), options=options) as llm:
            names.append(llm.model)
    assert names[0] == names[1]
    assert len(set(names)) == 3


def test_a_model_has_one_name(tiny_llm: Path, tmp_path: Path) -> None:
    """That of the records is that of the store's keys."""
    from gradir.generate.asking_arguments import Asking
    from gradir.generate.prompts import load

    for llm, url, options in (
        (f"hf:{tiny_llm}", None, ["dtype=float32", "batch_size=3"]),
        ("openai:tiny", "http://127.0.0.1:1/v1", ["concurrency=8", "price_in=1"]),
        ("vllm:org/model@main", None, ["dtype=bfloat16", "kv_cache_dtype=fp8", "max_num_seqs=4"]),
    ):
        asking = Asking(llm, tmp_path / "out", load("inpars"), url, tuple(options))
        with open_llm(llm, tmp_path / llm.partition(":")[0], url, options) as opened:
            assert asking.model() == asking.config()["model"] == opened.model


@pytest.mark.parametrize(
    ("llm", "url", "options", "told"),
    [
        ("tiny", None, [], ["hf:MODEL"]),
        ("openia:tiny", None, [], ["did you mean 'openai'?"]),
        ("hf:", None, [], ["hf:MODEL"]),
        ("hf:/no/such", "http://127.0.0.1:1/v1", ["x=1"], ["--base-url", "no such folder", "'x'"]),
        ("openai:tiny", None, ["retry=3"], ["'retry', did you mean 'retries'?"]),
    ],
)
def test_an_llm_that_cannot_be(
    tmp_path: Path, llm: str, url: str | None, options: list[str], told: list[str], raises_error: Callable[..., Any]
) -> None:
    with raises_error(*told):
        open_llm(llm, tmp_path / "requests", url, options)
    assert not (tmp_path / "requests").exists()


def test_every_engine_that_is_named_is_there() -> None:
    from importlib import import_module

    for module, function in ENGINES.values():
        assert callable(getattr(import_module(module), function))


def test_a_longer_context_than_the_models(tiny_llm: Path, tmp_path: Path) -> None:
    with (
        open_llm(f"hf:{tiny_llm}", tmp_path, options=["context=4096"]) as llm,
        pytest.raises(GradirError, match=r"context=4096.*512 tokens at most"),
    ):
        llm.count("a")
    with open_llm(f"hf:{tiny_llm}", tmp_path, options=["context=100"]) as llm:
        assert llm.context == 100
