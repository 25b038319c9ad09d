"""Files for mining, written from plain dicts, and a random cross-encoder."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

Run = Mapping[str, Sequence[tuple[str, float]]]
Judged = Mapping[str, Mapping[str, int]]


class Folder:
    """Writes a run, qrels, topics and corpus; gives their paths."""

    def __init__(self, path: Path):
        self.path = path

    def run(self, name: str, run: Run) -> Path:
        lines = [
            f"{qid} Q0 {docid} {rank} {score!r} {name}\n"
            for qid, hits in run.items()
            for rank, (docid, score) in enumerate(hits, 1)
        ]
        return self._written(f"{name}.trec", "".join(lines))

    def qrels(self, judged: Judged, name: str = "qrels.tsv") -> Path:
        lines = [f"{qid}\t{docid}\t{grade}\n" for qid, of in judged.items() for docid, grade in of.items()]
        return self._written(name, "".join(["query-id\tcorpus-id\tscore\n", *lines]))

    def topics(self, qids: Sequence[str], text: Callable[[str], str] = lambda qid: f"text of {qid}") -> Path:
        return self._written("topics.tsv", "".join(f"{qid}\t{text(qid)}\n" for qid in qids))

    def corpus(self, texts: Mapping[str, str]) -> Path:
        rows = (json.dumps({"_id": docid, "title": "", "text": text}) + "\n" for docid, text in texts.items())
        return self._written("corpus.jsonl", "".join(rows))

    def _written(self, name: str, text: str) -> Path:
        (self.path / name).write_text(text, encoding="utf-8")
        return self.path / name


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


@pytest.fixture
def mine(folder: Folder) -> Callable[..., dict[str, list[tuple[str, int]]]]:
    """`mine(runs, judged, **flags)`: {qid: [(docid, grade), …]} of the lists that `negatives` writes."""
    from gradir.data import read_lists
    from gradir.mine import negatives

    def make(runs: Sequence[Run], judged: Judged, **flags: Any) -> dict[str, list[tuple[str, int]]]:
        output = folder.path / "out.jsonl"
        paths = [folder.run(f"run{i}", run) for i, run in enumerate(runs)]
        if isinstance(flags.get("teacher"), dict):
            flags["teacher"] = folder.run("teacher", flags["teacher"])
        topics = folder.topics(list(judged))
        negatives(paths, str(folder.qrels(judged)), str(topics), output, overwrite=True, **flags)
        return {one.qid: [(doc.docid, doc.grade) for doc in one.docs] for one in read_lists(output)}

    return make


@pytest.fixture(scope="session")
def cross_encoders(tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two random BERT cross-encoders with one logit."""
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

    folders = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        folders.append(tmp_path_factory.mktemp("ce") / f"bert{seed}")
        config = AutoConfig.from_pretrained(tiny("bert"), num_labels=1)
        AutoModelForSequenceClassification.from_config(config).save_pretrained(folders[-1])
        AutoTokenizer.from_pretrained(tiny("bert")).save_pretrained(folders[-1])
    return folders
