"""The plots of an audit, as PNG files."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_COLOURS = {0: "#a0aec0", 1: "#a0c4e8", 2: "#4a90d9", 3: "#1a4f8b"}  # darker with the grade
_BLUE = "#2b6cb0"
_SIZE = (6.4, 3.2)


class Plots:
    """Draws into a folder.

    Args:
        folder: Where the files go.

    Attributes:
        made: Names of the files, by title, in order.

    Raises:
        ImportError: matplotlib is not installed.
    """

    def __init__(self, folder: Path):
        import matplotlib as mpl

        mpl.use("Agg")
        self._folder = folder
        self.made: dict[str, str] = {}

    def by_grade(self, name: str, title: str, label: str, values: Mapping[int, NDArray[np.float64]]) -> None:
        """A box for each grade: median, quartiles, and whiskers from the 5th to the 95th percentile."""
        known = {grade: of for grade, of in values.items() if len(of)}
        if not known:
            return
        figure, axes = self._figure()
        boxes = axes.boxplot(
            list(known.values()),
            tick_labels=[f"grade {grade}\nn = {len(of):,}" for grade, of in known.items()],
            whis=(5, 95),
            showfliers=False,
            widths=0.55,
            patch_artist=True,
            medianprops={"color": "#1a202c", "linewidth": 1.6},
        )
        for grade, box in zip(known, boxes["boxes"], strict=True):
            box.set(facecolor=_COLOURS.get(grade, _BLUE), edgecolor="#4a5568")
        for grade, place in zip(known, range(1, len(known) + 1), strict=True):
            axes.plot(place, known[grade].mean(), marker="D", markersize=4, color="white", markeredgecolor="#1a202c")
        axes.set_ylabel(label)
        axes.yaxis.grid(True, color="#e2e8f0")
        axes.set_axisbelow(True)
        self._save(figure, axes, name, title)

    def histogram(
        self, name: str, title: str, label: str, values: NDArray[np.float64], counted: str = "records"
    ) -> None:
        """How often which value comes; the last percent of the long tail stands in one bar. Nothing where all are equal."""
        known = values[~np.isnan(values)]
        if not len(known) or known.min() == known.max():
            return
        low, high = float(known.min()), float(known.max())
        if high <= 0:
            low = float(np.percentile(known, 1))
        else:
            high = float(np.percentile(known, 99))
        whole = bool((known == np.round(known)).all())
        bins = np.arange(low - 0.5, high + 1.5) if whole and high - low <= 60 else 25
        figure, axes = self._figure()
        axes.hist(known.clip(low, high), bins=bins, color=_BLUE, edgecolor="white", linewidth=0.5)
        median = float(np.median(known))
        axes.axvline(
            median, color="#c53030", linewidth=1.4, label=f"median {median:g}" if whole else f"median {median:.2f}"
        )
        axes.legend(frameon=False, fontsize=9)
        above, below = known.max() > high, known.min() < low
        axes.set_xlabel(label + (" (last bar: and above)" if above else " (first bar: and below)" if below else ""))
        axes.set_ylabel(counted)
        axes.xaxis.get_major_locator().set_params(integer=whole)
        self._save(figure, axes, name, title)

    def bars(self, name: str, title: str, label: str, values: Mapping[str, float], chance: float | None = None) -> None:
        """A horizontal bar for each value; `chance` is marked."""
        if not values:
            return
        figure, axes = self._figure(height=1.0 + 0.3 * len(values))
        places = range(len(values))
        bars = axes.barh(places, list(values.values()), 0.62, color=_BLUE)
        shown = [
            f"{value:,.0f}" if float(value).is_integer() and chance is None else f"{value:.2f}"
            for value in values.values()
        ]
        axes.bar_label(bars, labels=shown, padding=3, fontsize=8)
        axes.set_yticks(places, [_short(one) for one in values])
        axes.invert_yaxis()
        axes.set_xlim(0, 1.12 * max(values.values()) if chance is None else 1.12)
        if chance is not None:
            axes.axvline(chance, color="#c53030", linewidth=1.2, linestyle="--", label="chance")
            axes.legend(frameon=False, fontsize=8, loc="lower right", bbox_to_anchor=(1, 1))
        axes.set_xlabel(label)
        self._save(figure, axes, name, title)

    def _figure(self, height: float = _SIZE[1]) -> tuple[Any, Any]:
        import matplotlib.pyplot as plt

        return plt.subplots(figsize=(_SIZE[0], height), layout="constrained")

    def _save(self, figure: Any, axes: Any, name: str, title: str) -> None:
        import matplotlib.pyplot as plt

        axes.set_title(title, loc="left", fontsize=11)
        axes.spines[["top", "right"]].set_visible(False)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph .* missing")  # a box stands for it; the page has the text
            figure.savefig(self._folder / f"{name}.png", dpi=130, format="png", metadata={"Software": None})
        plt.close(figure)
        self.made[title] = f"{name}.png"


def _short(text: str) -> str:
    """A label that no character of a foreign text can turn into a formula or a line break."""
    shown = "".join(char if char.isprintable() else " " for char in text).replace("$", r"\$")
    return shown if len(shown) <= 24 else shown[:23] + "…"


def draw(
    folder: Path, found: Any, summary: Mapping[str, Any], scores: NDArray[np.float64] | None
) -> Sequence[tuple[str, str]]:
    """Draw what there is to draw; (title, file) of each plot.

    Args:
        folder: Where the files go.
        found: `numbers.Columns`.
        summary: What audit.json will hold.
        scores: The reranker's.

    Raises:
        ImportError: matplotlib is not installed.
    """
    plots = Plots(folder)
    kind, graded = summary["kind"], len(summary["grades"]) > 1
    if graded:
        counts = {f"grade {grade}": count for grade, count in summary["grades"].items()}
        plots.bars("grades", "Records per grade", "records", counts)
        length = "query_words" if kind == "queries" else "document_words"
        plots.by_grade("lengths", f"{_NAMES[length]} by grade", "words", found.by_grade(length))
        plots.by_grade(
            "overlap", "Query words found in the document", "share of the query's words", found.by_grade("overlap")
        )
        if "bm25" in found.values:
            plots.by_grade("bm25", "BM25 by grade", "BM25", found.by_grade("bm25"))
    else:
        plots.histogram(
            "overlap", "Query words found in the document", "share of the query's words", found.values["overlap"]
        )
    if scores is not None:
        found.values["reranker"] = scores
        plots.by_grade("reranker", "Reranker's score by grade", "score", found.by_grade("reranker"))
        levels = {f"{one['high']} above {one['low']}": one["share"] for one in summary["monotone"]["levels"]}
        plots.bars("monotone", "Pairs that the reranker orders as the grades do", "share of pairs", levels, 0.5)
    if kind == "queries":
        plots.histogram("query_words", "Length of the queries", "words", found.values["query_words"])
        first = dict(list(summary["first_words"].items())[:15])
        plots.bars("first_words", "First words of the queries", "queries", first)
        plots.histogram(
            "log_probs", "Mean log-probability of the queries", "natural logarithm", found.values["log_prob"]
        )
        plots.histogram("per_document", "Queries per document", "queries", np.bincount(found.groups).astype(np.float64))
    return list(plots.made.items())


_NAMES = {"query_words": "Query length", "document_words": "Document length"}
