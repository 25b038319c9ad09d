"""JSON Schemas (draft 2020-12) of the files that gradir writes, and of what users write under `lists` (`composition`)."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any


def load(name: str) -> dict[str, Any]:
    """A schema by its name: `manifest`, `graded_list`, `encoder`, `composition`; of what `gradir generate` writes
    `generated_query`, `generated_document`, `judgement`, `agreement`, `dropped` and `audit`.
    """
    text = resources.files(__name__).joinpath(f"{name}.json").read_text(encoding="utf-8")
    return dict(json.loads(text))
