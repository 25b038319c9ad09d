"""`--llm-option KEY=VALUE` as it was given: checked before anything is opened, and parted into the engine's options and prices."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import NamedTuple

from gradir.errors import GradirError
from gradir.llm.options import PRICES, read_options

# The dataclass of each engine's options. vLLM's own are known to vLLM alone; it is not imported before there is work for it.
_SETTINGS = {"hf": ("gradir.llm.hf_engine", "Settings"), "openai": ("gradir.llm.openai_engine", "Settings")}
_DECIDE = ("dtype", "kv_cache_dtype", "quantization", "hf_overrides")


class Prices(NamedTuple):
    """What a million tokens cost, of prompts and of answers, in any currency."""

    input: float = 0.0
    output: float = 0.0


FREE = Prices()


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
