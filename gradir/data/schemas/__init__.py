"""JSON Schemas (draft 2020-12) of the files that gradir writes, and of what users write under `lists` (`composition`)."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any


def load(name: str) -> dict[str, Any]:
    """The schema `manifest`, `graded_list`, `encoder`, `composition`, `generated_query`, `generated_document` or `judgement`."""
    text = resources.files(__name__).joinpath(f"{name}.json").read_text(encoding="utf-8")
    return dict(json.loads(text))
