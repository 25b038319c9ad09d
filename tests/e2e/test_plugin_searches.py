"""`gradir pyserini … --encoder DIR` of a gradir folder: Pyserini's unmodified modules give what gradir's own commands give."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gradir.data import read_run
from gradir.models.config import EncoderConfig, write_config

HITS = 100  # more than there are documents
QUERIES = {"q1": "wing spar", "q2": "how does the boundary layer grow?", "q3": "asthma", "q4": "rain and snow " * 60}


def gradir(*words: object) -> str:
    """Run a command as a user types it, with no Java on PATH; returns what it said."""
    known = {name: value for name, value in os.environ.items() if name not in ("JAVA_HOME", "OPENAI_API_KEY")}
    command = [sys.executable, "-m", "gradir.cli", *map(str, words)]
    done = subprocess.run(command, env=known | {"PATH": "/usr/bin:/bin"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stderr


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, corpus_file: Path, splade_dir: Path, minilm: Path) -> Path:
    """A corpus, topics, and two encoders whose paths make Pyserini guess wrong: relev*ance*."""
    home = tmp_path_factory.mktemp("relevance")
    shutil.copytree(splade_dir, home / "sparse")
    shutil.copytree(minilm, home / "dense")
    lengths = {"max_query_length": 20, "max_passage_length": 60}
    write_config(
        home / "dense",
        EncoderConfig("dense", "mean", normalize=True, query_prefix="query: ", passage_prefix="passage: ", **lengths),
    )
    rows = [json.loads(line) for line in corpus_file.read_text().splitlines()]
    (home / "c.jsonl").write_text("".join(json.dumps({"id": r["_id"], "text": r["text"]}) + "\n" for r in rows))
    (home / "topics.tsv").write_text("".join(f"{qid}\t{text}\n" for qid, text in QUERIES.items()))
    for kind, type in (("sparse", "impact"), ("dense", "flat")):
        gradir("encode", "--encoder", home / kind, "--corpus", home / "c.jsonl", "--output", home / f"{kind}-v", *F32)
        gradir("index", "--input", home / f"{kind}-v", "--type", type, "--output", home / f"{kind}-i")
        search(home, kind, home / f"{kind}-i")
    return home


F32 = ("--device", "cpu", "--dtype", "float32")


def search(home: Path, kind: str, index: Path, *more: object) -> Path:
    """gradir's own run, a query at a time as Pyserini encodes them."""
    output = index.with_suffix(".trec")
    words = ("--topics", home / "topics.tsv", "--encoder", home / kind, "--output", output, "--batch-size", 1)
    gradir("search", "--index", index, *words, "--hits", HITS, *F32, *more)
    return output


def same_run(ours: Path, theirs: Path, rel: float = 1e-5) -> None:
    """Equal documents with equal scores, within single precision: Pyserini's ties above 16 are equal in its file, ours fall."""
    a, b = read_run(ours), read_run(theirs)
    assert list(a) == list(b) == list(QUERIES)
    for qid in QUERIES:
        assert len(a[qid]) > 10
        assert dict(a[qid]) == pytest.approx(dict(b[qid]), rel=rel)


def test_impact_search_is_gradirs_search(home: Path) -> None:
    words = ("--impact", "--min-idf", "-1", "--index", home / "sparse-i", "--topics", home / "topics.tsv")
    said = gradir(
        "pyserini", "search.lucene", *words, "--encoder", home / "sparse", "--hits", HITS, "--output", home / "l"
    )
    assert f"gradir's encoder {home / 'sparse'}: splade" in said
    same_run(home / "sparse-i.trec", home / "l")


def test_faiss_search_is_gradirs_search(home: Path) -> None:
    words = ("--index", home / "dense-i", "--topics", home / "topics.tsv", "--encoder", home / "dense", "--hits", HITS)
    said = gradir("pyserini", "search.faiss", *words, "--encoder-class", "gradir", "--output", home / "f")
    assert "dense, mean pooling, 20 tokens, unit length, prefix 'query: ', float32" in said
    same_run(home / "dense-i.trec", home / "f")


def test_hybrid_search_adds_the_scores_of_both(home: Path) -> None:
    dense = ("dense", "--index", home / "dense-i", "--encoder", home / "dense")
    sparse = ("sparse", "--index", home / "sparse-i", "--impact", "--min-idf", "-1", "--encoder", home / "sparse")
    run = ("run", "--topics", home / "topics.tsv", "--hits", HITS, "--output", home / "h")
    gradir("pyserini", "search.hybrid", *dense, *sparse, "fusion", "--alpha", "0.001", "--hits", HITS, *run)
    parts = [
        {qid: dict(hits) for qid, hits in read_run(home / f"{kind}-i.trec").items()} for kind in ("dense", "sparse")
    ]
    for qid, hits in read_run(home / "h").items():
        both = {docid: score for docid, score in hits if all(docid in part[qid] for part in parts)}
        assert len(both) > 10
        for docid, score in both.items():
            assert score == pytest.approx(parts[0][qid][docid] + 0.001 * parts[1][qid][docid], rel=1e-4)


def test_encode_makes_what_gradir_makes(home: Path) -> None:
    source = ("input", "--corpus", home / "c.jsonl", "--fields", "text", "output", "--embeddings")
    for kind, more in (("sparse", ()), ("dense", ("--to-faiss",))):
        encoder = ("encoder", "--encoder", home / kind, "--fields", "text", "--batch-size", 64, "--device", "cpu")
        gradir("pyserini", "encode", *source, home / f"{kind}-e", *more, *encoder)
        gradir("convert", home / f"{kind}-e", "--output", home / f"{kind}-c")
        type = "impact" if kind == "sparse" else "flat"
        gradir("index", "--input", home / f"{kind}-c", "--type", type, "--output", home / f"{kind}-ci")
        # an index that does not know its encoder is searched with Pyserini's 256 tokens
        length = ("--max-length", 64) if kind == "sparse" else ()
        found = search(home, kind, home / f"{kind}-ci", *length)
        same_run(home / f"{kind}-i.trec", found, rel=5e-3)  # other batches: an impact may be one unit away
