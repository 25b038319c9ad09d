"""Queries one at a time: how long encoding and searching take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

_SHOWN = (50, 90, 95, 99)


def percentiles(encode: Sequence[float], search: Sequence[float]) -> dict[str, dict[str, float]]:
    """Milliseconds, `{"encode" | "search" | "total": {"p50": …, "p90": …, "p95": …, "p99": …, "mean": …}}`.

    Args:
        encode: Seconds of each query.
        search: The same, in the same order.
    """
    parts = {"encode": np.array(encode), "search": np.array(search)}
    parts["total"] = parts["encode"] + parts["search"]
    return {name: _summary(seconds * 1000) for name, seconds in parts.items()}


def _summary(milliseconds: NDArray[np.float64]) -> dict[str, float]:
    found = {f"p{share}": float(np.percentile(milliseconds, share)) for share in _SHOWN}
    return {name: round(value, 3) for name, value in {**found, "mean": float(milliseconds.mean())}.items()}


def table(summary: Mapping[str, Mapping[str, float]]) -> str:
    """The percentiles for people."""
    names = list(next(iter(summary.values())))
    lines = [f"{'ms':8}" + "".join(f"{name:>10}" for name in names)]
    lines += [f"{part:8}" + "".join(f"{row[name]:10.2f}" for name in names) for part, row in summary.items()]
    return "\n".join(lines)
