"""`--llm` and `--llm-option KEY=VALUE` as they were given: checked before anything is opened; and what the model is called."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import NamedTuple

from gradir.errors import GradirError, nearest
from gradir.llm.options import PRICES, read_options

# The dataclass of each engine's options. vLLM's own are known to vLLM alone; it is not imported before there is work for it.
_SETTINGS = {"hf": ("gradir.llm.hf_engine", "Settings"), "openai": ("gradir.llm.openai_engine", "Settings")}
_DECIDE = ("dtype", "kv_cache_dtype", "quantization", "hf_overrides")


class Prices(NamedTuple):
    """What a million tokens cost, of prompts and of answers, in any currency."""

    input: float = 0.0
    output: float = 0.0


FREE = Prices()


class Given(NamedTuple):
    """A language model as `--llm` and `--llm-option` name it.

    Attributes:
        engine: `hf`, `openai` or `vllm`.
        model: A folder, a name on the hub, or the name by which a server knows it.
        identity: What it is called in the keys of the store: engine, content of the model, options that change its answers.
        options: Of the engine.
        prices: Of a million tokens.
    """

    engine: str
    model: str
    identity: str
    options: dict[str, str]
    prices: Prices


def read_llm(llm: str, options: Sequence[str] = ()) -> Given:
    """What `--llm ENGINE:MODEL` and the options name.

    Raises:
        GradirError: Tells all that is wrong, a line each.
    """
    from gradir.llm import ENGINES
    from gradir.llm.identity import check_model, model_identity

    engine, colon, model = llm.partition(":")
    if not colon or not model or engine not in ENGINES:
        known = ", ".join(f"{name}:MODEL" for name in ENGINES)
        raise GradirError(f"--llm {llm} is not one of {known}{nearest(engine, ENGINES) if colon else ''}")
    problems, identity = [], model
    own, prices = dict[str, str](), FREE
    try:
        own, prices = read_given(engine, options)
    except GradirError as error:
        problems.append(str(error))
    try:
        if engine != "openai":
            check_model(model)
            identity = model_identity(model)
    except GradirError as error:
        problems.append(str(error))
    if problems:
        raise GradirError("\n".join(problems))
    return Given(engine, model, f"{engine}:{identity}{deciding(own)}", own, prices)


def read_given(engine: str, options: Sequence[str]) -> tuple[dict[str, str], Prices]:
    """The engine's own options, as text, and the prices.

    Args:
        engine: `hf`, `openai` or `vllm`.
        options: KEY=VALUE, each key once. A hyphen in a key is read as an underscore.

    Raises:
        GradirError: Tells all that is wrong.
    """
    found: dict[str, str] = {}
    problems = []
    for option in options:
        key, equals, value = option.partition("=")
        key, value = key.strip().replace("-", "_"), value.strip()
        if not equals or not key or not value:
            problems.append(f"{option!r} is not KEY=VALUE")
        elif key in found:
            problems.append(f"{key} is given twice")
        elif key in PRICES and not _is_price(value):
            problems.append(f"{key}={value} is not a price, a number of 0 or more")
        found[key] = value
    prices = Prices(*(_price(found.get(name, "0")) for name in PRICES))
    own = {key: value for key, value in found.items() if key and key not in PRICES}
    told = [f"--llm-option: {'; '.join(problems)}"] if problems else []
    if engine in _SETTINGS:
        module, name = _SETTINGS[engine]
        try:
            read_options(getattr(import_module(module), name), engine, own)
        except GradirError as error:
            told.append(str(error))
    if told:
        raise GradirError("\n".join(told))
    return own, prices


def deciding(options: Mapping[str, str]) -> str:
    """Those options that change the answers, `?dtype=float32&…`: they belong to the identity of the model."""
    chosen = [f"{key}={options[key]}" for key in _DECIDE if key in options]
    return "?" + "&".join(chosen) if chosen else ""


def _price(value: str) -> float:
    return float(value) if _is_price(value) else 0.0


def _is_price(value: str) -> bool:
    try:
        return 0 <= float(value) < math.inf
    except ValueError:
        return False
