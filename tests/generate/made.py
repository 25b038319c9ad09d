"""Generated folders made by hand, with invented texts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

SPAR = "A wing spar carries the bending load of a wing from its root to its tip."
RIB = "Ribs give the wing its section and carry the load of the skin to the spars."
TOWN = "The old harbour town lies on the northern coast and lives from its market."

Pair = tuple[str, str]


def lines(path: Path, rows: Iterable[dict[str, Any]]) -> Path:
    """A JSON Lines file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def read(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON Lines file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def qrels(path: Path, rows: Iterable[tuple[str, str, int]]) -> Path:
    """A BEIR qrels file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(f"{qid}\t{docid}\t{grade}\n" for qid, docid, grade in rows)
    path.write_text("query-id\tcorpus-id\tscore\n" + text, encoding="utf-8")
    return path


def run(path: Path, hits: dict[str, Sequence[tuple[str, float]]]) -> Path:
    """A TREC run."""
    rows = [f"{q} Q0 {d} {r} {s} t" for q, of in hits.items() for r, (d, s) in enumerate(of, 1)]
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def collection(
    folder: Path,
    documents: dict[str, str],
    queries: dict[str, str] | None = None,
    judged: Iterable[tuple[str, str, int]] = (),
) -> Path:
    """A BEIR folder with a test split."""
    lines(folder / "corpus.jsonl", ({"_id": name, "title": "", "text": text} for name, text in documents.items()))
    lines(folder / "queries.jsonl", ({"_id": name, "text": text} for name, text in (queries or {}).items()))
    qrels(folder / "qrels" / "test.tsv", judged)
    return folder


def queries_folder(folder: Path, rows: Iterable[dict[str, Any]]) -> Path:
    """A queries folder; each row has qid, docid, query, and what else its record shall hold."""
    rows = list(rows)
    common = {"format": 1, "finish": "stop", "prompt": "p", "model": "m", "seed": 1, "examples": []}
    lines(folder / "records.jsonl", ({**common, **row} for row in rows))
    lines(folder / "queries.jsonl", ({"_id": row["qid"], "text": row["query"]} for row in rows))
    qrels(folder / "qrels" / "train.tsv", ((row["qid"], row["docid"], row.get("grade", 3)) for row in rows))
    return folder


def documents_folder(folder: Path, queries: dict[str, str], texts: dict[tuple[str, int], str]) -> Path:
    """A documents folder: the texts by query and grade."""
    rows = [(qid, f"{qid}-g{grade}", grade, text) for (qid, grade), text in texts.items()]
    common = {"format": 1, "attributes": {}, "attempts": 1, "finish": "stop", "prompt": "p", "model": "m", "seed": 1}
    lines(folder / "records.jsonl", ({**common, "docid": d, "qid": q, "grade": g} for q, d, g, _ in rows))
    lines(folder / "corpus.jsonl", ({"_id": d, "title": "", "text": text} for _, d, _, text in rows))
    lines(folder / "queries.jsonl", ({"_id": qid, "text": text} for qid, text in queries.items()))
    qrels(folder / "qrels" / "train.tsv", ((q, d, g) for q, d, g, _ in rows))
    return folder


def judgements_folder(folder: Path, judged: dict[Pair, int], expected: dict[Pair, float] | None = None) -> Path:
    """A judgements folder."""
    soft = expected or {pair: float(grade) for pair, grade in judged.items()}
    rows = [{"format": 1, "qid": q, "docid": d, "grade": g, "expected": soft[q, d]} for (q, d), g in judged.items()]
    lines(folder / "records.jsonl", rows)
    qrels(folder / "qrels" / "judgements.tsv", ((q, d, g) for (q, d), g in judged.items()))
    hits: dict[str, list[tuple[str, float]]] = {}
    for q, d in judged:
        hits.setdefault(q, []).append((d, soft[q, d]))
    run(folder / "scores.trec", {q: sorted(of, key=lambda one: -one[1]) for q, of in hits.items()})
    return folder
