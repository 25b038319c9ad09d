"""`gradir demo --train` on a few documents, with encoders of random weights and two steps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gradir.data import Qrel, Query, read_qrels, write_qrels, write_topics
from gradir.demo import run, training
from gradir.errors import GradirError
from gradir.evaluate import evaluate_run

WORDS = (
    "impact",
    "index",
    "query",
    "vector",
    "sparse",
    "dense",
    "rank",
    "score",
    "token",
    "graph",
    "list",
    "loss",
    "grade",
    "head",
)


@pytest.fixture
def collection(tmp_path: Path) -> Path:
    folder = tmp_path / "few"
    (folder / "qrels").mkdir(parents=True)
    texts = [" ".join(WORDS[(i * k) % len(WORDS)] for k in range(1, 8)) for i in range(1, 31)]
    lines = [json.dumps({"_id": f"d{i}", "title": "", "text": text}) for i, text in enumerate(texts)]
    (folder / "corpus.jsonl").write_text("\n".join(lines) + "\n")
    write_topics(folder / "queries.jsonl", [Query(f"q{i}", " ".join(texts[i].split()[:3])) for i in range(20)])
    for split, numbers in (("train", range(12)), ("test", range(12, 20))):
        write_qrels(folder / "qrels" / f"{split}.tsv", [Qrel(f"q{i}", f"d{i}", 1) for i in numbers])
    return folder


def test_trained_encoders_stand_beside_the_untrained(
    collection: Path, tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "STEPS", {"dense": 2, "splade": 2})
    root = tmp_path / "demo"
    outcome = run(root, collection, str(tiny("bert")), max_length=16, hits=10, train=True)
    table, gains = (outcome.text or "").split("\n\n")
    qrels = read_qrels(collection / "qrels" / "test.tsv")
    rows = {row.split("|")[1].strip(): float(row.split("|")[2]) for row in table.splitlines()[2:]}
    assert len(rows) == 8
    for name, title in (("flat", "dense, FAISS flat"), ("splade-trained", "SPLADE, trained, Lucene impact")):
        measured = evaluate_run(qrels, root / f"{name}.trec", ["nDCG@10"]).means["nDCG@10"]
        assert rows[title] == pytest.approx(measured, abs=5e-5)
    assert len(gains.splitlines()) == 7
    difference = rows["dense, trained, FAISS flat"] - rows["dense, FAISS flat"]
    assert f"dense, trained, FAISS flat, over dense, FAISS flat: {difference:+.4f}" in gains
    for kind in ("dense", "splade"):
        manifest = json.loads((root / "encoders" / f"{kind}-trained" / "manifest.json").read_text())
        assert manifest["counts"]["steps"] == 2
        assert "Graded lists:" in (root / "encoders" / f"{kind}-trained" / "README.md").read_text()


def test_a_collection_without_train_judgements(collection: Path, tiny: Any, tmp_path: Path) -> None:
    (collection / "qrels" / "train.tsv").unlink()
    with pytest.raises(GradirError, match=r"learns from .*train\.tsv"):
        run(tmp_path / "demo", collection, str(tiny("bert")), max_length=16, hits=10, train=True)
    assert not (tmp_path / "demo" / "index").exists()  # refused before any work
