"""The demo's result: one table and one chart."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradir.data.atomic import new_path, new_text
from gradir.data.manifest import read_manifest
from gradir.demo.plan import Plan

MEASURES = ("nDCG@10", "MRR@10", "R@100", "MAP")
NAMES = {
    "bm25": "BM25",
    "flat": "dense, FAISS flat",
    "hnsw": "dense, FAISS HNSW",
    "impact": "SPLADE (untrained), Lucene impact",
    "fused": "fused: BM25 + flat + impact",
}
TRAINED = {
    "dense-trained": "dense, trained, FAISS flat",
    "splade-trained": "SPLADE, trained, Lucene impact",
    "fused-trained": "fused: BM25 + both trained",
}
_VECTORS = {"flat": "dense", "hnsw": "dense", "impact": "splade"}  # where they are not called as the system


@dataclass(frozen=True)
class System:
    """What the table says of one system; None where it does not apply.

    Attributes:
        name: As the table has it.
        scores: Mean of each measure.
        index_mib: Size of its index, MiB.
        documents_per_second: Speed of encoding the corpus.
        queries_per_second: Speed of searching, queries encoded on the way.
        query_terms: Active terms of a query, mean.
        document_terms: Active terms of a document, mean.
    """

    name: str
    scores: dict[str, float]
    index_mib: float | None = None
    documents_per_second: float | None = None
    queries_per_second: float | None = None
    query_terms: float | None = None
    document_terms: float | None = None


def measure(plan: Plan) -> list[System]:
    """Evaluate every run; sizes and speeds are those in the manifests of the artefacts."""
    from gradir.data.qrels import read_qrels
    from gradir.evaluate import evaluate_run

    qrels = read_qrels(plan.qrels)
    return [
        System(title, evaluate_run(qrels, plan.trec(name), MEASURES).means, **_costs(plan, name))
        for name, title in (NAMES | (TRAINED if plan.train else {})).items()
    ]


def gains(plan: Plan) -> str:
    """nDCG@10 of the trained encoders less that of the untrained ones, over the queries of the test split."""
    from gradir.data.qrels import read_qrels
    from gradir.data.significance import difference
    from gradir.evaluate import evaluate_run

    qrels, measure = read_qrels(plan.qrels), "nDCG@10"
    lines = [f"{measure} on the test split, difference [95% confidence interval]:"]
    pairs = {
        "dense-trained": ("flat", "bm25"),
        "splade-trained": ("impact", "bm25"),
        "fused-trained": ("fused", "bm25"),
    }
    for name, others in pairs.items():
        for other in others:
            ours, theirs = (evaluate_run(qrels, plan.trec(one), [measure]).per_query for one in (name, other))
            found = difference([ours[qid][measure] for qid in qrels], [theirs[qid][measure] for qid in qrels])
            lines.append(f"- {TRAINED[name]}, over {NAMES[other]}: {found}")
    return "\n".join(lines)


def _costs(plan: Plan, name: str) -> dict[str, float]:
    if name.startswith("fused"):
        return {}
    search = read_manifest(plan.trec(name))
    costs = {
        "index_mib": read_manifest(plan.index(name))["measured"]["bytes"] / 2**20,
        "queries_per_second": search["measured"]["queries_per_second"],
    }
    if name == "bm25":
        return costs
    encoded = read_manifest(plan.vectors(_VECTORS.get(name, name)))
    costs["documents_per_second"] = encoded["measured"]["texts_per_second"]
    if name in ("impact", "splade-trained"):
        costs["document_terms"] = encoded["counts"]["postings"] / encoded["counts"]["texts"]
        costs["query_terms"] = search["counts"]["query_terms"] / search["counts"]["queries"]
    return costs


def write_report(plan: Plan, systems: list[System]) -> tuple[str, str]:
    """Write `table.md` and `chart.png`; returns the table, and `chart.png, ` if the chart could be drawn."""
    table = format_table(systems)
    with new_text(plan.root / "table.md") as stream:
        stream.write(table + "\n")
    try:
        draw(systems, plan.root / "chart.png")
    except ImportError:
        return table, "no chart (it needs: pip install 'gradir[plots]'), "
    return table, "chart.png, "


def format_table(systems: list[System]) -> str:
    """A Markdown table, aligned for a terminal as well."""
    head = ["system", *MEASURES, "index MiB", "docs/s", "queries/s", "terms/query", "terms/doc"]
    rows = [
        [
            one.name,
            *(f"{one.scores[name]:.4f}" for name in MEASURES),
            *(_number(value, digits) for value, digits in _columns(one)),
        ]
        for one in systems
    ]
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]

    def line(cells: list[str]) -> str:
        return (
            "| "
            + " | ".join(
                c.ljust(w) if not i else c.rjust(w) for i, (c, w) in enumerate(zip(cells, widths, strict=True))
            )
            + " |"
        )

    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join([line(head), line(rule), *map(line, rows)])


def _columns(one: System) -> list[tuple[float | None, int]]:
    costs = [(one.index_mib, 1), (one.documents_per_second, 0), (one.queries_per_second, 0)]
    return [*costs, (one.query_terms, 0), (one.document_terms, 0)]


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def draw(systems: list[System], path: Path) -> None:
    """The chart: effectiveness of every system, and for each index its size and speed.

    Raises:
        ImportError: matplotlib is not installed.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(
        1, 2, figsize=(11, 1.1 + 0.5 * len(systems)), width_ratios=[3, 2], layout="constrained"
    )
    _draw_effectiveness(left, systems)
    _draw_costs(right, [one for one in systems if one.index_mib])
    with new_path(path) as temporary:
        figure.savefig(temporary, dpi=150, format="png")
    plt.close(figure)


def _draw_effectiveness(axes: Any, systems: list[System]) -> None:
    places = range(len(systems))
    for shift, (name, colour) in enumerate((("nDCG@10", "#2b6cb0"), ("R@100", "#a0c4e8"))):
        bars = axes.barh(
            [p + 0.38 * shift for p in places], [s.scores[name] for s in systems], 0.36, color=colour, label=name
        )
        axes.bar_label(bars, fmt="%.3f", padding=3, fontsize=8)
    axes.set_yticks([p + 0.19 for p in places], [s.name for s in systems])
    axes.invert_yaxis()
    axes.set_xlim(0, 1.12)
    axes.set_title("effectiveness", loc="left", fontsize=10)
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, fontsize=8, frameon=False)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_costs(axes: Any, systems: list[System]) -> None:
    for number, one in enumerate(systems):
        place, label = (one.index_mib, one.queries_per_second), one.name.split(",")[-1].strip()
        label += ", trained" if ", trained" in one.name else ""
        axes.scatter(*place, s=60, color="#2b6cb0")
        # below and above in turn: two FAISS indexes over the same vectors lie close together
        offset = (0, 9 if number % 2 == 0 else -16)
        axes.annotate(label, place, xytext=offset, textcoords="offset points", ha="center", fontsize=8)
    axes.set_xlabel("index size, MiB")
    axes.set_ylabel("queries/s, encoding included")
    axes.set_xlim(0, 1.2 * max(one.index_mib or 0 for one in systems))
    axes.set_ylim(0, 1.25 * max(one.queries_per_second or 0 for one in systems))
    axes.set_title("cost", loc="left", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
