"""Queries one at a time give the same run, and a table of times."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gradir import search
from gradir.search.latency import percentiles, table

CPU: dict[str, Any] = {"device": "cpu", "dtype": "float32"}


def test_percentiles_by_hand() -> None:
    found = percentiles([0.001] * 100, [0.001 * number for number in range(1, 101)])
    assert found["encode"] == {"p50": 1, "p90": 1, "p95": 1, "p99": 1, "mean": 1}
    assert found["search"] == pytest.approx({"p50": 50.5, "p90": 90.1, "p95": 95.05, "p99": 99.01, "mean": 50.5})
    assert found["total"]["p90"] == pytest.approx(91.1)
    lines = table(found).splitlines()
    assert lines[0].split() == ["ms", "p50", "p90", "p95", "p99", "mean"]
    assert lines[3].split() == ["total", "51.50", "91.10", "96.05", "100.01", "51.50"]


@pytest.mark.parametrize("type", ["bm25", "impact"])
def test_the_run_is_the_same(
    type: str, indexed: Any, splade: Path, collection: Path, read: Any, tmp_path: Path
) -> None:
    encoder = str(splade) if type == "impact" else None
    given: tuple[Any, ...] = (indexed(type), str(collection))
    usual = search.run(*given, tmp_path / "usual", encoder, **CPU)
    outcome = search.run(*given, tmp_path / "timed", encoder, latency=True, **CPU)
    assert read(tmp_path / "timed") == read(tmp_path / "usual")
    assert usual.text == ""
    assert [line.split()[0] for line in outcome.text.splitlines()] == ["ms", "encode", "search", "total"]
    measured = json.loads((tmp_path / "timed.manifest.json").read_text())["measured"]["latency_ms"]
    assert measured["search"]["p99"] >= measured["search"]["p50"] > 0
    again = search.run(*given, tmp_path / "timed", encoder, latency=True, **CPU)
    assert "nothing to do" in again.message
    assert again.text == outcome.text
