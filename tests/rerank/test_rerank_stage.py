"""The stage: what is written, what a kill leaves, what is refused."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradir import rerank
from gradir.data import Hit, read_run, run_writer
from gradir.data.manifest import Job, read_manifest
from gradir.engine.cross_encoder import Reranker
from gradir.rerank import candidates
from gradir.rerank.__main__ import main
from gradir.rerank.ordering import Candidates, reranked

QUERIES = 11


@pytest.fixture(scope="session")
def work(tmp_path_factory: pytest.TempPathFactory, sentences: list[str]) -> dict[str, Path]:
    """A corpus with titles, topics, and a run of 11 queries with up to 9 of the 64 documents each."""
    folder, draw = tmp_path_factory.mktemp("rerank"), random.Random(4)
    with (folder / "corpus.jsonl").open("w") as stream:
        for i, text in enumerate(sentences):
            print(
                json.dumps({"_id": f"d{i}", "title": text[:9], "text": f"{text} {draw.choice(sentences)}"}), file=stream
            )
    with (folder / "topics.tsv").open("w") as stream:
        for i in range(QUERIES + 3):
            print(f"q{i}\t{sentences[5 * i % 64][:30]}", file=stream)
    with run_writer(folder / "run.trec", "first") as writer:
        for i in draw.sample(range(QUERIES), QUERIES):
            docids = draw.sample(range(64), draw.randint(1, 9))
            writer.write(f"q{i}", [Hit(f"d{docid}", 50.0 - rank // 2) for rank, docid in enumerate(docids)])
    return {"corpus": folder / "corpus.jsonl", "topics": folder / "topics.tsv", "run": folder / "run.trec"}


def options(work: dict[str, Path], model: Path, output: Path, **more: Any) -> dict[str, Any]:
    named: dict[str, Any] = {name: str(path) for name, path in work.items()}
    return {**named, "model": str(model), "output": output, "device": "cpu", "dtype": "float32", **more}


def contents(path: Path) -> dict[str, str]:
    """The texts of the corpus or topics, read by hand."""
    if path.suffix == ".tsv":
        return dict(line.split("\t") for line in path.read_text().splitlines())
    values = [json.loads(line) for line in path.read_text().splitlines()]
    return {value["_id"]: f"{value['title']} {value['text']}" for value in values}


@pytest.mark.parametrize("hits", [3, 100])
def test_the_top_is_reranked_and_the_rest_keeps_its_order_below(
    classifier: Any, work: dict[str, Path], tmp_path: Path, hits: int
) -> None:
    outcome = rerank.run(**options(work, classifier(), tmp_path / "out.trec", hits=hits))
    documents, queries = contents(work["corpus"]), contents(work["topics"])
    model = Reranker.open(classifier(), device="cpu", dtype="float32")
    before, after = read_run(work["run"]), read_run(tmp_path / "out.trec")
    assert list(after) == list(before)
    for qid, found in before.items():
        docids = [hit.docid for hit in found]
        scores = model.score([(queries[qid], documents[docid]) for docid in docids[:hits]])
        best = sorted(zip(-scores, docids, strict=False))
        assert [hit.docid for hit in after[qid]] == [docid for _, docid in best] + docids[hits:]
        written = [hit.score for hit in after[qid]]
        assert written[:hits] == pytest.approx([-score for score, _ in best], abs=1e-5)
        assert np.diff(written[len(best) - 1 :]).tolist() == pytest.approx([-1] * len(docids[hits:]), abs=1e-5)
    counts = read_manifest(tmp_path / "out.trec")["counts"]
    assert counts["queries"] == QUERIES
    assert counts["reranked"] == sum(min(hits, len(found)) for found in before.values())
    assert outcome.next_command == f"gradir evaluate --qrels QRELS --run {tmp_path / 'out.trec'}"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.trec", "out.trec.manifest.json"]
    assert "is finished already" in rerank.run(**options(work, classifier(), tmp_path / "out.trec", hits=hits)).message


def test_mono_then_duo_on_the_command_line(t5: Path, work: dict[str, Path], tmp_path: Path, capsys: Any) -> None:
    words = ["--corpus", work["corpus"], "--queries", work["topics"], "--model", t5, "--device", "cpu", "--tag", "x"]
    words += ["--dtype", "float32"]
    first, second = tmp_path / "mono.trec", tmp_path / "duo.trec"
    assert main([str(word) for word in [*words, "--run", work["run"], "--output", first, "--depth", 5]]) == 0
    duo = ["--run", first, "--output", second, "--method", "duo-t5", "--duo-hits", 4]
    assert main([str(word) for word in [*words, *duo]]) == 0
    shown = capsys.readouterr().err.splitlines()
    assert shown[-1] == f"next: gradir evaluate --qrels QRELS --run {second}"
    assert f"{second} has {QUERIES} queries" in shown[-2]
    assert "(duo-t5, float32" in shown[-2]
    documents, queries = contents(work["corpus"]), contents(work["topics"])
    model = Reranker.open(t5, "duo-t5", "cpu", "float32")
    after = read_run(second)
    for qid, found in read_run(first).items():
        top = [hit.docid for hit in found[:4]]

        def prefers(a: str, b: str, qid: str = qid) -> float:
            return float(model.score([(queries[qid], documents[a], documents[b])])[0])

        sums = {a: sum(prefers(a, b) + 1 - prefers(b, a) for b in top if b != a) for a in top}
        expected = sorted(sums.values(), reverse=True)
        assert [sums[hit.docid] for hit in after[qid][: len(top)]] == pytest.approx(expected, abs=1e-5)
        assert [hit.docid for hit in after[qid][4:]] == [hit.docid for hit in found[4:]]


class FromTable:
    """A scorer of given probabilities, for one query."""

    documents = 2

    def __init__(self, table: list[list[float]]):
        self.table = table

    def score(self, texts: Any, progress: Any = None) -> Any:
        return np.array([self.table[int(a)][int(b)] for _, a, b in texts], np.float32)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 6).flatmap(
        lambda n: st.lists(st.lists(st.floats(0, 1), min_size=n, max_size=n), min_size=n, max_size=n)
    )
)
def test_symmetric_sums(table: list[list[float]]) -> None:
    names = [str(i) for i in range(len(table))]
    ((_, ranking),) = reranked(FromTable(table), [Candidates("q", "x", [*names, "last"], names)])
    n = len(table)
    for i in range(n):
        assert ranking.scores[i] == pytest.approx(
            sum(table[i][j] + 1 - table[j][i] for j in range(n) if j != i), abs=1e-5
        )
    assert ranking.docids[n] == "last"
    assert ranking.scores[n] == ranking.scores[:n].min() - 1


class Killed(Exception):
    pass


def test_an_interrupted_run_goes_on_and_ends_byte_equal(
    classifier: Any, work: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candidates, "WINDOW", 2)
    monkeypatch.setattr("gradir.rerank.perform.WINDOW", 2)
    asked: list[int] = []
    score = Reranker.score

    def counting(self: Reranker, texts: Any, progress: Any = None) -> Any:
        asked.append(len(texts))
        if len(asked) == 4:
            raise Killed
        return score(self, texts, progress)

    whole, output = tmp_path / "whole.trec", tmp_path / "out.trec"
    rerank.run(**options(work, classifier(), whole, tag="t"))
    monkeypatch.setattr(Reranker, "score", counting)
    with pytest.raises(Killed):
        rerank.run(**options(work, classifier(), output, tag="t"))
    assert not output.exists()
    assert len(list((tmp_path / "out.trec.parts").glob("part-*.trec"))) == 3
    outcome = rerank.run(**options(work, classifier(), output, tag="t"))
    assert output.read_bytes() == whole.read_bytes()
    assert len(asked) == 4 + 3  # six windows, of which three were there
    assert f"has {QUERIES} queries" in outcome.message
    ours, theirs = read_manifest(output), read_manifest(whole)
    assert {name: ours[name] for name in ours if name != "measured"} == {
        name: theirs[name] for name in theirs if name != "measured"
    }


def test_a_run_killed_before_its_manifest_was_written_is_mended(
    classifier: Any, work: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Job, "finish", killed)
        with pytest.raises(Killed):
            rerank.run(**options(work, classifier(), tmp_path / "out.trec"))
    left = (tmp_path / "out.trec").read_bytes()
    rerank.run(**options(work, classifier(), tmp_path / "out.trec"))
    assert (tmp_path / "out.trec").read_bytes() == left
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.trec", "out.trec.manifest.json"]


def test_parts_of_another_configuration_are_refused(
    classifier: Any, work: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raises_error: Any
) -> None:
    score = Reranker.score

    def failing(*_: Any) -> Any:
        raise Killed

    monkeypatch.setattr(Reranker, "score", failing)
    with pytest.raises(Killed):
        rerank.run(**options(work, classifier(), tmp_path / "out.trec"))
    monkeypatch.setattr(Reranker, "score", score)
    with raises_error("out.trec.parts was made with another configuration", "hits: 100 -> 5", "--overwrite"):
        rerank.run(**options(work, classifier(), tmp_path / "out.trec", hits=5))
    rerank.run(**options(work, classifier(), tmp_path / "out.trec", hits=5, overwrite=True))
    assert not (tmp_path / "out.trec.parts").exists()


# Two queries at a time, and the third time it never ends.
HANGING = """
import sys, time
import gradir.rerank.candidates, gradir.rerank.perform
from gradir.engine.cross_encoder import Reranker
from gradir.rerank.__main__ import main
gradir.rerank.candidates.WINDOW = gradir.rerank.perform.WINDOW = 2
score, calls = Reranker.score, []
def hanging(*given):
    calls.append(1)
    time.sleep(600 if len(calls) == 3 else 0)
    return score(*given)
Reranker.score = hanging
main(sys.argv[1:])
"""


@pytest.mark.e2e
def test_a_killed_process_goes_on(
    classifier: Any, work: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, parts = tmp_path / "out.trec", tmp_path / "out.trec.parts"
    given = options(work, classifier(), output, tag="t")
    words = [str(word) for name, value in given.items() for word in (f"--{name}", value)]
    process = subprocess.Popen([sys.executable, "-c", HANGING, *words], stderr=subprocess.DEVNULL)
    waited = time.monotonic()
    while len(list(parts.glob("part-*"))) < 2 and time.monotonic() - waited < 120:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not output.exists()
    monkeypatch.setattr(candidates, "WINDOW", 2)
    monkeypatch.setattr("gradir.rerank.perform.WINDOW", 2)
    assert len(list(parts.glob("part-*"))) == 2
    rerank.run(**given)
    rerank.run(**given | {"output": tmp_path / "whole.trec"})
    assert output.read_bytes() == (tmp_path / "whole.trec").read_bytes()
    assert not parts.exists()


def test_what_is_missing_is_named(
    classifier: Any, work: dict[str, Path], tmp_path: Path, raises_error: Callable[..., Any]
) -> None:
    corpus = work["corpus"].read_text().splitlines(keepends=True)
    (tmp_path / "corpus.jsonl").write_text("".join(corpus[:40]))
    lost = {f"d{i}" for i in range(40, 64)}
    wanted = {hit.docid for found in read_run(work["run"]).values() for hit in found}
    assert len(lost & wanted) > 1
    more = f"(nor are {len(lost & wanted) - 1} more)"
    with raises_error("document d", "of query q", f"is not in {tmp_path / 'corpus.jsonl'} {more}"):
        rerank.run(**options(work | {"corpus": tmp_path / "corpus.jsonl"}, classifier(), tmp_path / "out.trec"))
    (tmp_path / "topics.tsv").write_text("q0\ta wing\n")
    with raises_error("query q", f"is not in {tmp_path / 'topics.tsv'} (nor are {QUERIES - 2} more)"):
        rerank.run(**options(work | {"topics": tmp_path / "topics.tsv"}, classifier(), tmp_path / "out2.trec"))
    assert not list(tmp_path.glob("out*.trec"))


def test_all_problems_of_the_flags_at_once(
    classifier: Any, work: dict[str, Path], tmp_path: Path, raises_error: Any
) -> None:
    given = options(work | {"run": tmp_path / "none"}, classifier(), tmp_path, hits=0, duo_hits=0, labels=["yes"])
    with raises_error("none: no such file", "is a folder", "--hits 0 is below 1", "--duo-hits 0", "two words, not 1"):
        rerank.run(**given)
    with raises_error("is the run itself"):
        rerank.run(**options(work, classifier(), work["run"]))
    assert os.path.getsize(work["run"]) > 0
