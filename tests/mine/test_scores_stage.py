"""Scores of models one pair at a time, ensembles by hand, what a kill leaves, and bad input."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradir.data import GradedDoc, GradedList, read_run, write_lists
from gradir.data.manifest import read_manifest
from gradir.engine import Encoder
from gradir.engine.cross_encoder import Reranker
from gradir.mine import negatives, scores, scores_stage
from gradir.mine.__main__ import main
from tests.mine.conftest import Folder

QUERIES = 7


class Work:
    """A corpus of the 64 texts, topics, and a run of some documents for each query."""

    def __init__(self, folder: Folder, sentences: Sequence[str]):
        draw = np.random.default_rng(3)
        self.texts = {f"d{i}": text for i, text in enumerate(sentences)}
        self.queries = {f"q{i}": sentences[9 * i % 64][:25] for i in range(QUERIES)}
        self.found = {
            qid: [f"d{j}" for j in draw.choice(64, 2 + i, replace=False)] for i, qid in enumerate(self.queries)
        }
        self.run = folder.run("run", {q: [(d, -float(i)) for i, d in enumerate(ids)] for q, ids in self.found.items()})
        self.corpus, self.topics = (
            folder.corpus(self.texts),
            folder.topics(list(self.queries), self.queries.__getitem__),
        )

    def options(self, **more: Any) -> dict[str, Any]:
        common = {"run": [self.run], "topics": str(self.topics), "corpus": [str(self.corpus)]}
        return {**common, "device": "cpu", "dtype": "float32", **more}

    def pairs(self, qid: str) -> list[tuple[str, str]]:
        return [(self.queries[qid], self.texts[docid]) for docid in self.found[qid]]


@pytest.fixture
def work(folder: Folder, sentences: list[str]) -> Work:
    return Work(folder, sentences)


def written(path: Path) -> dict[str, dict[str, float]]:
    return {qid: {hit.docid: hit.score for hit in hits} for qid, hits in read_run(path).items()}


def test_a_cross_encoder(work: Work, folder: Folder, cross_encoders: list[Path]) -> None:
    output = folder.path / "out.trec"
    outcome = scores(output, model=[str(cross_encoders[0])], **work.options())
    reranker, found = Reranker.open(cross_encoders[0], device="cpu", dtype="float32"), written(output)
    assert list(found) == list(work.found)
    for qid, docids in work.found.items():
        expected = reranker.score(work.pairs(qid)).tolist()
        assert found[qid] == pytest.approx(dict(zip(docids, expected, strict=True)), abs=1e-5)
    assert len({score for of in found.values() for score in of.values()}) > 20
    assert read_manifest(output)["counts"] == {
        "members": 1,
        "queries": QUERIES,
        "pairs": sum(map(len, work.found.values())),
        "pairs_left_out": 0,
    }
    assert "--teacher" in outcome.next_command
    assert not (folder.path / "out.trec.parts").exists()
    assert "nothing to do" in scores(output, model=[str(cross_encoders[0])], **work.options()).message


@pytest.mark.parametrize("kind", ["dense", "splade"])
def test_an_encoder(work: Work, folder: Folder, tiny: Any, splade_dir: Path, kind: str, minilm: Path) -> None:
    path = str(minilm if kind == "dense" else splade_dir)
    scores(folder.path / "out.trec", encoder=[path], **work.options())
    encoder, found = Encoder.open(path, device="cpu", dtype="float32"), written(folder.path / "out.trec")
    for qid, docids in work.found.items():
        queries, documents = (
            encoder.encode([work.queries[qid]], "query"),
            encoder.encode([d for _, d in work.pairs(qid)]),
        )
        if kind == "dense":
            expected = (np.asarray(documents) @ np.asarray(queries)[0]).tolist()
        else:
            weights = dict(zip(*(part.tolist() for part in queries.row(0)), strict=True))  # type: ignore[union-attr]
            rows = [documents.row(i) for i in range(len(docids))]  # type: ignore[union-attr]
            expected = [sum(int(w) * weights.get(int(t), 0) for t, w in zip(*row, strict=True)) for row in rows]
        # a batch's company may move an impact by one
        assert found[qid] == pytest.approx(dict(zip(docids, expected, strict=True)), rel=5e-3, abs=1e-4)


def test_pairs_of_lists_runs_and_judgements(work: Work, folder: Folder, cross_encoders: list[Path]) -> None:
    docs = (GradedDoc("d1", 3, "qrels"), GradedDoc("g1", 0, "llm", text="made up by a model"))
    lists = folder.path / "lists.jsonl"
    write_lists(lists, [GradedList("own", "a query of its own", docs), GradedList("q1", "not the topic", docs[:1])])
    judged = {"q1": {"d1": 1, "d2": 0}, "q5": {"d60": 2}}
    qrels = folder.qrels(judged)
    output, model = folder.path / "out.trec", str(cross_encoders[0])
    scores(output, model=[model], lists=lists, qrels=str(qrels), **work.options(hits=2))
    found = written(output)
    assert list(found) == ["own", "q1", "q0", "q2", "q3", "q4", "q5", "q6"]
    assert set(found["own"]) == {"d1", "g1"}
    assert set(found["q1"]) == {"d1", "d2", *work.found["q1"][:2]}
    assert set(found["q5"]) == {"d60", *work.found["q5"][:2]}
    reranker = Reranker.open(model, device="cpu", dtype="float32")
    expected = reranker.score([("a query of its own", "made up by a model"), (work.queries["q1"], work.texts["d1"])])
    assert [found["own"]["g1"], found["q1"]["d1"]] == pytest.approx(expected.tolist(), abs=1e-5)
    # lists that bring all texts need nothing else
    write_lists(lists, [GradedList("own", "a query of its own", docs[1:])])
    scores(folder.path / "b.trec", model=[model], lists=lists, device="cpu", dtype="float32")
    assert set(written(folder.path / "b.trec")["own"]) == {"g1"}


def by_hand(members: list[dict[str, float]], normalize: str) -> dict[str, float]:
    def scaled(of: dict[str, float]) -> dict[str, float]:
        values = list(of.values())
        low, high, mean, std = min(values), max(values), np.mean(values), np.std(values)
        if normalize == "none":
            return of
        if high == low:
            return dict.fromkeys(of, 0.0)
        return {
            d: (x - low) / (high - low) if normalize == "min-max" else float((x - mean) / std) for d, x in of.items()
        }

    table = [scaled(of) for of in members]
    return {docid: sum(of[docid] for of in table) / len(table) for docid in members[0]}


@pytest.mark.parametrize("normalize", ["min-max", "z", "none"])
def test_an_ensemble_of_models_and_files(
    work: Work, folder: Folder, cross_encoders: list[Path], minilm: Path, normalize: Any
) -> None:
    ready = folder.run("ready", {q: [(d, 100.0 - i) for i, d in enumerate(ids)] for q, ids in work.found.items()})
    alone: list[dict[str, dict[str, float]]] = []
    members: list[dict[str, Any]] = [{"model": [str(path)]} for path in cross_encoders] + [{"encoder": [str(minilm)]}]
    for i, member in enumerate(members):
        scores(folder.path / f"{i}.trec", **member, **work.options())
        alone.append(written(folder.path / f"{i}.trec"))
    alone.append(written(ready))
    together = {"model": [str(path) for path in cross_encoders], "encoder": [str(minilm)], "scores": [ready]}
    scores(folder.path / "all.trec", **together, normalize=normalize, **work.options())
    found = written(folder.path / "all.trec")
    files = [folder.path / f"{i}.trec" for i in range(3)] + [ready]
    scores(folder.path / "files.trec", scores=files, normalize=normalize)
    from_files = written(folder.path / "files.trec")
    for qid in work.found:
        expected = by_hand([of[qid] for of in alone], normalize)
        assert found[qid] == pytest.approx(expected, abs=2e-5)
        assert from_files[qid] == pytest.approx(expected, abs=2e-5)


def test_min_max_is_the_default_of_several_and_a_median_is_no_mean(folder: Folder) -> None:
    files = [
        folder.run("a", {"q": [("x", 10.0), ("y", 5.0), ("z", 0.0)]}),
        folder.run("b", {"q": [("z", 3.0), ("x", 2.0), ("y", 1.0)]}),
        folder.run("c", {"q": [("y", 0.9), ("x", 0.9 - 0.2), ("z", 0.1)]}),
    ]
    scores(folder.path / "mean.trec", scores=files)
    assert written(folder.path / "mean.trec")["q"] == pytest.approx({"x": 2.25 / 3, "y": 0.5, "z": 1 / 3}, abs=2e-6)
    scores(folder.path / "median.trec", scores=files, combine="median")
    assert written(folder.path / "median.trec")["q"] == pytest.approx({"x": 0.75, "y": 0.5, "z": 0.0}, abs=2e-6)


def test_rescaled_scores_spread_as_the_first_members(folder: Folder) -> None:
    draw = np.random.default_rng(1)
    files, numbers = [], []
    for name in "ab":
        table = {f"q{i}": [(f"d{j}", float(x)) for j, x in enumerate(draw.normal(-4, 6, 9))] for i in range(5)}
        files.append(folder.run(name, table))
        numbers.append([score for hits in table.values() for _, score in hits])
    for i, order in enumerate((files, files[::-1])):
        scores(folder.path / f"{i}.trec", scores=order, rescale=True)
        found = [score for of in written(folder.path / f"{i}.trec").values() for score in of.values()]
        assert np.mean(found) == pytest.approx(np.mean(numbers[i]), abs=1e-4)
        assert np.std(found) == pytest.approx(np.std(numbers[i]), abs=1e-4)


def test_a_pair_that_a_file_lacks(folder: Folder, raises_error: Any) -> None:
    a = folder.run("a", {"q": [("x", 2.0), ("y", 1.0)], "r": [("x", 1.0)]})
    b = folder.run("b", {"q": [("x", 1.0), ("z", 0.0)], "s": [("x", 1.0)]})
    with raises_error("a.trec", "query q, document z has no score", "--missing drop"):
        scores(folder.path / "out.trec", scores=[a, b])
    assert not (folder.path / "out.trec").exists()
    scores(folder.path / "out.trec", scores=[a, b], missing="drop", normalize="none")
    assert written(folder.path / "out.trec") == {"q": {"x": 1.5}}
    assert read_manifest(folder.path / "out.trec")["counts"]["pairs_left_out"] == 4
    with raises_error("no pair has a score of every member"):
        c = folder.run("c", {"t": [("x", 1.0)]})
        scores(folder.path / "none.trec", scores=[a, c], missing="drop")


class Killed(Exception):
    pass


@pytest.mark.parametrize("kill_at", [2, 5, 9])
def test_an_interrupted_run_goes_on_and_ends_byte_equal(
    work: Work, folder: Folder, cross_encoders: list[Path], minilm: Path, monkeypatch: pytest.MonkeyPatch, kill_at: int
) -> None:
    monkeypatch.setattr(scores_stage, "_WINDOWS", {"model": 2, "encoder": 3})
    calls: list[str] = []

    def counted(name: str, whole: Any) -> Any:
        def work(self: Any, texts: Any, *rest: Any) -> Any:
            calls.append(name)
            if len(calls) == kill_at:
                raise Killed
            return whole(self, texts, *rest)

        return work

    members = {"model": [str(path) for path in cross_encoders], "encoder": [str(minilm)]}
    whole, output = folder.path / "whole.trec", folder.path / "out.trec"
    scores(whole, **members, **work.options(tag="t"))
    with monkeypatch.context() as patch:
        patch.setattr(Reranker, "score", counted("model", Reranker.score))
        patch.setattr(Encoder, "encode", counted("encoder", Encoder.encode))
        with pytest.raises(Killed):
            scores(output, **members, **work.options(tag="t"))
        assert not output.exists()
        made = len(list((folder.path / "out.trec.parts").glob("*.npy")))
        assert made == min(kill_at - 1, 8)
        calls.clear()
        calls += ["resumed"] * 100
        scores(output, **members, **work.options(tag="t"))
    # seven queries: four windows for each model, three for the encoder, which encodes twice for each
    done_models = min(made, 8)
    assert calls[100:].count("model") == 8 - done_models
    assert calls[100:].count("encoder") == 6
    assert output.read_bytes() == whole.read_bytes()
    ours, theirs = read_manifest(output), read_manifest(whole)
    assert {k: v for k, v in ours.items() if k != "measured"} == {k: v for k, v in theirs.items() if k != "measured"}
    assert not (folder.path / "out.trec.parts").exists()


def test_killed_before_the_manifest(
    work: Work, folder: Folder, cross_encoders: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from gradir.data.manifest import Job

    def killed(*_: Any) -> None:
        raise Killed

    output, model = folder.path / "out.trec", [str(cross_encoders[0])]
    with monkeypatch.context() as patch:
        patch.setattr(Job, "finish", killed)
        with pytest.raises(Killed):
            scores(output, model=model, **work.options())
    left = output.read_bytes()
    monkeypatch.setattr(Reranker, "score", killed)  # all parts are there
    scores(output, model=model, **work.options())
    assert output.read_bytes() == left


def test_another_configuration_is_refused(
    work: Work, folder: Folder, cross_encoders: list[Path], raises_error: Any
) -> None:
    output = folder.path / "out.trec"
    scores(output, model=[str(cross_encoders[0])], **work.options())
    with raises_error("made with another configuration", "other content"):
        scores(output, model=[str(cross_encoders[1])], **work.options())
    with raises_error("hits: 100 -> 1"):
        scores(output, model=[str(cross_encoders[0])], **work.options(hits=1))
    scores(output, model=[str(cross_encoders[0])], **work.options(hits=1), overwrite=True)
    assert {len(of) for of in written(output).values()} == {1}


def test_bad_input(work: Work, folder: Folder, cross_encoders: list[Path], raises_error: Any) -> None:
    output, model = folder.path / "out.trec", [str(cross_encoders[0])]
    with raises_error(
        "nobody scores", "nope.trec: no such file", "--hits 0 is below 1", "--batch-tokens -1 is below 1"
    ):
        scores(output, run=[folder.path / "nope.trec"], hits=0, batch_tokens=-1)
    with raises_error("--topics is needed; --corpus is needed", "is given twice"):
        scores(output, model=model * 2, run=[work.run])
    with raises_error("no pairs: give --lists, --run or --qrels"):
        scores(output, model=model)
    with raises_error("one file of --scores alone"):
        scores(output, scores=[work.run])
    with raises_error("one of the inputs"):
        scores(work.run, model=model, **work.options())
    with raises_error("topics.tsv", "query other is not in it"):
        other = folder.run("other", {"other": [("d1", 1.0)]})
        scores(output, model=model, **{**work.options(), "run": [other]})
    with raises_error("corpus.jsonl", "document z1 is not in it (nor are 1 more)"):
        other = folder.run("other", {"q1": [("z1", 1.0), ("d1", 0.9), ("z2", 0.5)]})
        scores(output, model=model, **{**work.options(), "run": [other]}, overwrite=True)
    with raises_error("is no folder here"):
        scores(output, model=["no/such-model"], **work.options())
    assert not output.exists()
    lists = folder.path / "lists.jsonl"
    write_lists(lists, [GradedList("own", "a query", (GradedDoc("g1", 0, "llm"),))])
    with raises_error("document g1", "its text is nowhere", "Give --corpus"):
        scores(folder.path / "b.trec", model=model, lists=lists)


def test_the_command_and_a_round_with_minilm(work: Work, folder: Folder, minilm: Path, capsys: Any) -> None:
    """Scores of a real encoder drop what is nearer than the positive; the tool chain by its commands."""
    words = ["--run", work.run, "--topics", work.topics, "--corpus", work.corpus, "--encoder", minilm]
    teacher = folder.path / "teacher.trec"
    assert main([str(word) for word in ["scores", *words, "--output", teacher, "--dtype", "float32"]]) == 0
    assert f"{QUERIES} queries, 1 members" in capsys.readouterr().err
    judged = {qid: {docids[0]: 1} for qid, docids in work.found.items()}
    negatives([work.run], str(folder.qrels(judged)), str(work.topics), folder.path / "mined", teacher=teacher, k=9)
    table = written(teacher)
    lists = [json.loads(line) for line in (folder.path / "mined" / "lists.jsonl").read_text().splitlines()]
    expected = {}
    for qid, docids in work.found.items():
        positive = table[qid][docids[0]]
        limit = positive - 0.05 * abs(positive)
        kept = [docid for docid in docids[1:] if table[qid][docid] < limit]
        expected |= {qid: [docids[0], *kept]} if kept else {}
    assert {one["qid"]: [doc["docid"] for doc in one["docs"]] for one in lists} == expected
    assert 1 < sum(map(len, expected.values())) < sum(map(len, work.found.values()))
    assert all(doc["score"] == table[one["qid"]][doc["docid"]] for one in lists for doc in one["docs"])


def test_help_and_unknown_words(capsys: Any) -> None:
    assert main(["--help"]) == 0
    assert "negatives" in capsys.readouterr().out
    assert main([]) == 2
    assert main(["negative"]) == 2
    assert "did you mean 'negatives'" in capsys.readouterr().err
