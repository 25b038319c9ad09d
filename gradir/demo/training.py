"""`gradir demo --train`: both encoders trained on the collection's train split, and a run of each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gradir.demo.plan import Plan
from gradir.errors import GradirError

STEPS = {"dense": 200, "splade": 200}
NEGATIVES, GROUP, BATCH, QUERY_LENGTH = 8, 4, 8, 64
RATES = {"dense": 2e-5, "splade": 5e-5}
FLOPS = {"lambda_query": 1e-2, "lambda_doc": 3e-3}


def train_both(plan: Plan) -> None:
    """Graded lists from the judgements of the train split and BM25, a dense and a SPLADE encoder trained on them, a run of each."""
    lists = _lists(plan)
    _train(plan, "dense", plan.encoder, lists)
    _train(plan, "splade", str(plan.splade), lists)
    _search(plan, "dense", "flat")
    _search(plan, "splade", "impact")
    plan.fuse("fused-trained", ["bm25", "dense-trained", "splade-trained"])


def train_qrels(plan: Plan) -> Path:
    """The judgements of the train split.

    Raises:
        GradirError: The collection has none.
    """
    qrels = plan.collection / "qrels" / "train.tsv"
    if not qrels.exists():
        raise GradirError(f"--train learns from {qrels}, and there is no such file.")
    return qrels


def _lists(plan: Plan) -> Path:
    """The positives of each train query, and hard negatives that BM25 finds."""
    from gradir import mine, search

    qrels = train_qrels(plan)
    found, lists = plan.root / "train" / "bm25.trec", plan.root / "train" / "lists.jsonl"
    found.parent.mkdir(parents=True, exist_ok=True)
    topics = str(plan.collection)
    given: dict[str, Any] = {"index": plan.index("bm25"), "topics": topics, "qrels": str(qrels), "hits": 100}
    plan.step("Search: bm25, for the train queries", "gradir search", search.run, **given, output=found)
    mined: dict[str, Any] = {"run": [found], "qrels": str(qrels), "topics": topics, "rank": [1, 50], "k": NEGATIVES}
    plan.step(
        "Graded lists with hard negatives",
        "gradir mine negatives",
        mine.negatives,
        **mined,
        pick="random",
        output=lists,
    )
    return lists


def _train(plan: Plan, kind: str, encoder: str, lists: Path) -> None:
    from gradir.train.stage import dense, splade

    given: dict[str, Any] = {
        "encoder": encoder,
        "lists": [str(lists)],
        "corpus": [str(plan.collection / "corpus.jsonl")],
        "output": plan.trained(kind),
        "loss": ["infonce"],
        "steps": STEPS[kind],
        "batch_size": BATCH,
        "group_size": GROUP,
        "learning_rate": RATES[kind],
        "max_query_length": QUERY_LENGTH,
        "max_passage_length": plan.max_length,
        **(FLOPS if kind == "splade" else {}),
    }
    title = f"Train: {'SPLADE' if kind == 'splade' else 'dense'}"
    plan.step(title, f"gradir train {kind}", dense if kind == "dense" else splade, **given)


def _search(plan: Plan, kind: str, index_type: str) -> None:
    """Vectors, index and run of a trained encoder."""
    from gradir import encode, index, search

    name, encoder = f"{kind}-trained", str(plan.trained(kind))
    vectors = {"encoder": encoder, "corpus": str(plan.collection), "output": plan.vectors(name)}
    plan.step(f"Encode: {kind}, trained", "gradir encode", encode.run, **vectors)
    made = {"input": plan.vectors(name), "output": plan.index(name), "type": index_type}
    plan.step(f"Index: {kind}, trained", "gradir index", index.run, **made)
    asked = {"topics": str(plan.collection), "qrels": str(plan.qrels), "hits": plan.hits, "encoder": encoder}
    run = {"index": plan.index(name), **asked, "output": plan.trec(name)}
    plan.step(f"Search: {kind}, trained", "gradir search", search.run, **run)
