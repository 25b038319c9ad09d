"""`commands.md`: every step by hand, with gradir, and the same with Pyserini over the same files."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from gradir.command import command_line
from gradir.data.atomic import new_text
from gradir.data.manifest import read_manifest
from gradir.demo.plan import Plan


def write_commands(plan: Plan) -> Path:
    """Write `commands.md`, and what its Pyserini commands read: topics, qrels, a folder with the corpus alone; returns its path."""
    from gradir.data import Qrel, read_qrels, read_topics, write_qrels, write_topics

    qrels = read_qrels(plan.qrels)
    write_topics(plan.root / "topics.tsv", (query for query in read_topics(plan.collection) if query.qid in qrels))
    pairs = (Qrel(qid, docid, grade) for qid, judged in qrels.items() for docid, grade in judged.items())
    write_qrels(plan.root / "qrels.txt", pairs)
    only = plan.root / "pyserini" / "corpus"  # Anserini would take the queries beside the corpus for documents
    only.mkdir(parents=True, exist_ok=True)
    (only / "corpus.jsonl").unlink(missing_ok=True)
    (only / "corpus.jsonl").symlink_to((plan.collection / "corpus.jsonl").resolve())
    path = plan.root / "commands.md"
    evaluate = command_line(
        "gradir evaluate", {"qrels": plan.qrels, "run": [plan.trec(n) for n in ("bm25", "flat", "fused")]}
    )
    sections = [
        "# Each step by hand",
        "",
        "## With gradir",
        *_blocks([*plan.commands, ("Evaluate", evaluate)]),
        "",
        "## With Pyserini, over the same files",
        "",
        "`gradir pyserini MODULE …` is `python -m pyserini.MODULE …` with Java and the class path prepared.",
        *_blocks(pyserini_commands(plan)),
    ]
    with new_text(path) as stream:
        stream.write("\n".join(sections) + "\n")
    return path


def pyserini_commands(plan: Plan) -> list[tuple[str, str]]:
    """(title, command) of unmodified Pyserini commands for each step; what they write stands in `pyserini/`.

    Encoder classes are always named: Pyserini would guess them from the path.
    """
    root, corpus, length = plan.root / "pyserini", plan.collection / "corpus.jsonl", plan.max_length
    texts = f"gradir pyserini encode input --corpus {_q(corpus)} --fields title text output --embeddings"
    model = f"--fields title text --batch-size 32 --max-length {length} --device cpu"
    dimensions = read_manifest(plan.index("flat"))["counts"]["dimensions"]
    encoder = command_line("encoder", _dense_flags(plan) | {"dimension": dimensions})
    graph = {"input": root / "flat", "output": root / "hnsw", "dim": dimensions, "hnsw": True, "M": 32, "efC": 200}
    text = {"collection": "BeirFlatCollection", "input": root / "corpus", "index": root / "bm25"}
    text |= {"generator": "DefaultLuceneDocumentGenerator", "threads": 1}
    lucene = {"input": root / "splade", "index": root / "impact", "generator": "DefaultLuceneDocumentGenerator"}
    lucene |= {"collection": "JsonVectorCollection", "threads": 2, "impact": True, "pretokenized": True}
    runs = f"{_q(plan.trec('bm25'))} {_q(plan.trec('flat'))} {_q(plan.trec('impact'))}"
    measures = "gradir pyserini eval.trec_eval -c -m ndcg_cut.10 -m recall.100 -m map"
    return [
        ("BM25 index", command_line("gradir pyserini index.lucene", text)),
        ("Encode: dense, and FAISS flat index", f"{texts} {_q(root / 'flat')} --to-faiss {encoder} {model}"),
        ("FAISS hnsw index", command_line("gradir pyserini index.faiss", graph)),
        (
            "Encode: SPLADE",
            f"{texts} {_q(root / 'splade')} encoder --encoder {_q(plan.splade)} --encoder-class splade {model}",
        ),
        ("Lucene impact index", command_line("gradir pyserini index.lucene", lucene)),
        *((f"Search: {name}, in the demo's index", command) for name, command in pyserini_searches(plan).items()),
        (
            "Fuse by reciprocal rank",
            f"gradir pyserini fusion --runs {runs} --method rrf --output {_q(plan.trec('fused.pyserini'))} --depth 100 --k 100",
        ),
        ("Evaluate", f"{measures} {_q(plan.root / 'qrels.txt')} {_q(plan.trec('impact'))}"),
    ]


def pyserini_searches(plan: Plan) -> dict[str, str]:
    """`{system: command}`: unmodified Pyserini searches in the demo's indexes; their runs are called NAME.pyserini.trec."""
    asked = {"topics": plan.root / "topics.tsv", "hits": plan.hits, "batch_size": 64, "threads": 2}
    dense = _dense_flags(plan) | {"device": "cpu"}
    splade = {"impact": True, "encoder": plan.splade, "min_idf": -1}
    ways: dict[str, tuple[str, dict[str, Any]]] = {
        "bm25": ("search.lucene", {"bm25": True}),
        "flat": ("search.faiss", dense),
        "hnsw": ("search.faiss", dense),
        "impact": ("search.lucene", splade),
    }
    return {
        name: command_line(
            f"gradir pyserini {module}",
            {"index": plan.index(name), **flags, **asked, "output": plan.trec(f"{name}.pyserini")},
        )
        for name, (module, flags) in ways.items()
    }


def _dense_flags(plan: Plan) -> dict[str, Any]:
    """Pyserini ignores an encoder folder's own pooling, so its commands must repeat it."""
    made = read_manifest(plan.vectors("dense"))["config"]
    flags = {"encoder": plan.encoder, "encoder_class": "auto", "pooling": made["pooling"], "l2_norm": made["normalize"]}
    return flags


def _q(value: object) -> str:
    return shlex.quote(str(value))


def _blocks(commands: list[tuple[str, str]]) -> list[str]:
    return [line for title, command in commands for line in ("", f"{title}:", "", "```bash", command, "```")]
