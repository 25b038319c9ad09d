"""Tiny recipes over tiny files: commands that read and write text alone, so that a whole recipe takes milliseconds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

Write = Callable[..., Path]

RUNS = {
    "a.trec": {"q1": ["d1", "d2", "d3"], "q2": ["d2", "d1", "d3"]},
    "b.trec": {"q1": ["d3", "d1", "d2"], "q2": ["d1", "d3", "d2"]},
}


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder, made the current one, with two runs of two queries and their qrels: q1 wants d1, q2 wants d2."""
    for name, run in RUNS.items():
        lines = [f"{q} Q0 {d} {i + 1} {9.0 - i:.6f} t\n" for q, docs in run.items() for i, d in enumerate(docs)]
        (tmp_path / name).write_text("".join(lines), encoding="utf-8")
    (tmp_path / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t1\nq2\td2\t1\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def write(files: Path) -> Write:
    """`write(text, name)`: a recipe's file; `format` and `about` are put before it."""

    def make(text: str, name: str = "small.yaml", head: str = "format: 1\nabout: a test\n") -> Path:
        path = files / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(head + text, encoding="utf-8")
        return path

    return make


FUSE = """\
variables: {left: a.trec, depth: 3}
steps:
  - {name: fuse, run: fuse, with: {runs: ["${left}", b.trec], output: "${here}/fused.trec", depth: "${depth}", rrf-k: 1}}
  - {name: look, run: evaluate, with: {qrels: qrels.tsv, run: ["${here}/fused.trec"], measures: [MRR@10]}}
"""
