"""The JSON files of a Hugging Face model folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gradir.errors import InputError

WHOLE = "Copy the whole model folder again"

# Families whose positions are counted from the padding id + 1, so that 514 rows hold 512 tokens.
_OFFSET_POSITIONS = (
    "roberta",
    "xlm-roberta",
    "xlm-roberta-xl",
    "roberta-prelayernorm",
    "camembert",
    "mpnet",
    "longformer",
)


def read_model_settings(folder: Path) -> dict[str, Any]:
    """Hugging Face's `config.json`.

    Raises:
        InputError: There is none, or it is malformed.
    """
    if not (folder / "config.json").exists():
        raise InputError(folder, "holds no encoder (no config.json)", "Name a Hugging Face model folder")
    return read_object(folder / "config.json")


def position_limit(settings: Mapping[str, Any]) -> int | None:
    """The most tokens that a model takes, by its `config.json`; None where it names no limit."""
    positions: Any = settings.get("max_position_embeddings")
    if not is_count(positions):
        return None
    padding = settings.get("pad_token_id")
    taken = (1 if padding is None else padding) + 1 if settings.get("model_type") in _OFFSET_POSITIONS else 0
    return int(positions) - taken


def read_object(path: Path, missing: dict[str, Any] | None = None) -> dict[str, Any]:
    """A JSON object; `missing` where there is no such file and that will do."""
    if missing is not None and not path.exists():
        return missing
    value = read_json(path)
    if not isinstance(value, dict):
        raise InputError(path, "not a JSON object", WHOLE)
    return value


def read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(path, "is missing", "Copy the whole model folder") from None
    except UnicodeDecodeError:
        raise InputError(path, "not UTF-8", WHOLE) from None
    except json.JSONDecodeError as error:
        raise InputError(path, f"not JSON ({error.msg})", WHOLE, error.lineno) from None


def is_count(value: Any) -> bool:
    """Whether this is a whole number above 0."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
