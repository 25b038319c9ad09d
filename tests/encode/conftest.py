from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(params=["dense", "splade"])
def encoder(request: Any, tiny: Any) -> str:
    return str(tiny("bert", head=request.param == "splade"))


@pytest.fixture
def corpus(tmp_path: Path, corpus_file: Path) -> Path:
    """64 documents and two blank ones, in a file that may be changed."""
    path = Path(shutil.copy(corpus_file, tmp_path / "corpus.jsonl"))
    with path.open("a", encoding="utf-8") as stream:
        stream.write('{"_id": "blank", "title": "", "text": " "}\n{"_id": "empty", "text": ""}\n')
    return path


@pytest.fixture
def topics(tmp_path: Path) -> Path:
    """Three queries, one of them twice under two ids."""
    path = tmp_path / "topics.tsv"
    path.write_text("q1\twing spar\nq2\tyeast and \u00fcber\nq3\twing spar\n", encoding="utf-8")
    return path


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
