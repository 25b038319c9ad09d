"""`gradir train reranker` from its one command to a folder that reranks: an encoder with a new head, and a T5."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradir.data import Hit, run_writer, write_corpus
from gradir.data.lists import write_lists
from gradir.data.manifest import read_manifest
from gradir.data.qrels import write_qrels
from gradir.data.records import Document, GradedList, Qrel, Query
from gradir.data.topics import write_topics
from gradir.engine.cross_encoder import Reranker
from gradir.train.__main__ import main
from gradir.train.cross import CrossModel
from gradir.train.dev import DevSet

STEPS = 60


@pytest.fixture(scope="module")
def work(spar_lists: Callable[..., list[GradedList]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Training lists, and a dev collection by the same rule with a run whose order says nothing."""
    folder = tmp_path_factory.mktemp("reranker")
    write_lists(folder / "lists.jsonl", spar_lists(80))
    dev = spar_lists(12, seed=1)
    docs = [(one.qid, doc) for one in dev for doc in one.docs]
    write_corpus(folder / "corpus.jsonl", [Document(doc.docid, str(doc.text)) for _, doc in docs])
    write_topics(folder / "queries.jsonl", [Query(one.qid, one.query) for one in dev])
    write_qrels(folder / "dev.tsv", [Qrel(qid, doc.docid, doc.grade) for qid, doc in docs])
    with run_writer(folder / "run.trec", "first") as writer:
        for one in dev:
            docids = sorted(doc.docid for doc in one.docs if doc.grade == 0) + sorted(
                doc.docid for doc in one.docs if doc.grade > 0
            )
            writer.write(one.qid, [Hit(docid, 9.0 - rank) for rank, docid in enumerate(docids)])
    return folder


def words(work: Path, start: Path, output: Path, *more: Any) -> list[str]:
    found = ["--encoder", start, "--lists", work / "lists.jsonl", "--output", output, "--device", "cpu"]
    found += ["--dtype", "float32", "--steps", STEPS, "--batch-size", 8, "--learning-rate", "5e-3"]
    found += ["--dev", work, "--dev-qrels", work / "dev.tsv", "--dev-run", work / "run.trec", "--eval-every", 15]
    return [str(word) for word in [*found, *more]]


@pytest.mark.parametrize(
    ("method", "more"),
    [
        ("mono-bert", []),
        ("mono-bert", ["--loss", "bce:0.5", "listnet"]),
        ("mono-t5", []),
        ("mono-t5", ["--loss", "infonce", "--labels", "yes", "no"]),
    ],
)
def test_learns_the_rule_and_the_folder_scores_as_in_training(
    work: Path, tiny: Any, tiny_t5: Path, tmp_path: Path, capsys: Any, method: str, more: list[str]
) -> None:
    start = tiny("bert", hidden_dropout_prob=0.0) if method == "mono-bert" else tiny_t5
    output = tmp_path / "model"
    assert main(["reranker", *words(work, start, output, *more)]) == 0
    shown = capsys.readouterr().err
    assert ("classifier.weight start at random" in shown) == (method == "mono-bert")
    log = [json.loads(line) for line in (output / "training.jsonl").read_text().splitlines()]
    losses = [row["loss"] for row in log if "loss" in row]
    measures = [row["dev_nDCG@10"] for row in log if "dev_nDCG@10" in row]
    assert losses[-1] < 0.75 * losses[0]  # listnet has a floor: the entropy of its labels
    assert max(measures) > 0.95
    dev = DevSet.open(work, qrels=work / "dev.tsv", run=work / "run.trec")
    labels = {"labels": ("yes", "no")} if "--labels" in more else {}
    model = Reranker.open(output, device="cpu", dtype="float32", **labels)
    assert dev.reranking(model.score)["nDCG@10"] == pytest.approx(max(measures), abs=1e-9)
    before = dev.reranking(lambda texts: -np.arange(len(texts), dtype=np.float32))["nDCG@10"]
    assert before < 0.8
    manifest = read_manifest(output)
    assert manifest["command"] == "gradir train reranker"
    assert manifest["counts"]["best"]["value"] == pytest.approx(max(measures))
    last = shown.splitlines()[-1]
    assert last.startswith("next: gradir rerank --run")
    assert ("--labels yes no" in last) == bool(labels)
    assert main(["reranker", *words(work, start, output, *more)]) == 0
    assert "nothing to do" in capsys.readouterr().err


def test_accumulated_batches_are_one_larger_batch(work: Path, tiny: Any, tmp_path: Path) -> None:
    """bce is a mean over documents, so lists must be equally long for this."""
    start = tiny("bert", hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    lists = [json.loads(line) for line in (work / "lists.jsonl").read_text().splitlines()]
    short = [{**one, "docs": one["docs"][:2]} for one in lists]
    (tmp_path / "two.jsonl").write_text("".join(json.dumps(one) + "\n" for one in short))
    logs = []
    for name, settings in (("one", ["batch_size=8"]), ("two", ["batch_size=4", "accumulate=2"])):
        given = ["--encoder", start, "--lists", tmp_path / "two.jsonl", "--output", tmp_path / name, "--device", "cpu"]
        given += ["--dtype", "float32", "--steps", 4, "--set", *settings, "log_every=1", "learning_rate=1e-3"]
        assert main(["reranker", *map(str, given)]) == 0
        rows = [json.loads(line) for line in (tmp_path / name / "training.jsonl").read_text().splitlines()]
        logs.append([row["loss"] for row in rows if "loss" in row])
    assert len(logs[0]) == 4
    assert logs[0] == pytest.approx(logs[1], abs=1e-4)


@pytest.mark.parametrize("method", ["mono-bert", "mono-t5"])
def test_adapters_are_merged_and_the_head_learns(
    work: Path, tiny: Any, tiny_t5: Path, tmp_path: Path, method: str
) -> None:
    pytest.importorskip("peft")
    from safetensors.torch import load_file

    start = tiny("bert", hidden_dropout_prob=0.0) if method == "mono-bert" else tiny_t5
    given = words(
        work, start, tmp_path / "model", "--steps", 20, "--set", "lora={rank: 4}", "gradient_checkpointing=true"
    )
    assert main(["reranker", *given]) == 0
    log = [json.loads(line) for line in (tmp_path / "model" / "training.jsonl").read_text().splitlines()]
    losses = [row["loss"] for row in log if "loss" in row]
    assert losses[-1] < losses[0]
    before, after = load_file(start / "model.safetensors"), load_file(tmp_path / "model" / "model.safetensors")
    assert not [name for name in after if "lora" in name]
    table = "shared.weight" if method == "mono-t5" else "bert.embeddings.word_embeddings.weight"
    plain = table if method == "mono-t5" else table.removeprefix("bert.")
    assert (before[plain] == after[table]).all()
    if method == "mono-bert":
        assert (CrossModel.open(start).model.classifier.weight != after["classifier.weight"]).all()
    dev = DevSet.open(work, qrels=work / "dev.tsv", run=work / "run.trec")
    measures = [row["dev_nDCG@10"] for row in log if "dev_nDCG@10" in row]
    model = Reranker.open(tmp_path / "model", device="cpu", dtype="float32")
    assert dev.reranking(model.score)["nDCG@10"] == pytest.approx(max(measures), abs=1e-9)


def test_what_is_refused(work: Path, tiny: Any, tmp_path: Path, capsys: Any) -> None:
    def error(*more: Any) -> str:
        assert main(["reranker", *words(work, tiny("bert"), tmp_path / "model", *more)]) != 0
        assert not (tmp_path / "model").exists()
        return str(capsys.readouterr().err)

    assert "`dev` of a reranker needs `run`" in error("--set", "dev.run=null")
    assert "`chunk_size` is for dense and splade, not for reranker" in error("--set", "chunk_size=2")
    assert "no loss 'bcee', did you mean 'bce'" in error("--loss", "bcee")
