from __future__ import annotations

import json
import sys
import types

import ir_datasets
import pytest

from gradir.data import Document, Qrel, Query, named, read_corpus, read_qrels, read_topics
from gradir.data.named import is_pyserini_name, pyserini_qrels_file


@pytest.fixture
def registered(tmp_path):
    """A small data set, registered with the real ir_datasets under a name of its own."""
    from ir_datasets.formats import JsonlDocs, TrecQrels, TsvQueries
    from ir_datasets.util import LocalDownload

    (tmp_path / "docs.jsonl").write_text(
        "".join(json.dumps({"doc_id": d, "text": t}) + "\n" for d, t in [("1", "a"), ("2", "")])
    )
    (tmp_path / "queries.tsv").write_text("007\twing spar\n")
    (tmp_path / "qrels").write_text("007 0 1 2\n007 0 2 -1\n")
    docs = JsonlDocs(LocalDownload(tmp_path / "docs.jsonl"))
    queries = TsvQueries(LocalDownload(tmp_path / "queries.tsv"))
    qrels = TrecQrels(LocalDownload(tmp_path / "qrels"), {2: "good", -1: "junk"})
    name = f"gradir-test-{tmp_path.name}"
    ir_datasets.registry.register(name, ir_datasets.Dataset(docs, queries, qrels))
    ir_datasets.registry.register(f"{name}/docs", ir_datasets.Dataset(docs))
    yield name
    for key in [name, f"{name}/docs"]:
        del ir_datasets.registry._registered[key]


def test_ir_datasets_by_name(registered):
    name = f"ir_datasets:{registered}"
    assert list(read_corpus(name)) == [Document("1", "a"), Document("2", "")]
    assert list(read_topics(name)) == [Query("007", "wing spar")]
    assert list(named.ir_datasets_qrels(name)) == [Qrel("007", "1", 2), Qrel("007", "2", -1)]
    assert read_qrels(name) == {"007": {"1": 2, "2": -1}}


def test_ir_datasets_errors_are_ours(registered, tmp_path, refuses):
    for read in [read_corpus, read_topics, read_qrels]:
        with refuses("ir_datasets:no-such: ir_datasets knows no such dataset. List them: ir_datasets list"):
            list(read("ir_datasets:no-such"))
    with refuses(f"ir_datasets:{registered}/docs: has no queries. Name the subset that has them"):
        list(read_topics(f"ir_datasets:{registered}/docs"))
    with refuses("has no qrels"):
        read_qrels(f"ir_datasets:{registered}/docs")
    (tmp_path / "queries.tsv").write_text("007\twing\tspar\n")
    with refuses(
        f"ir_datasets:{registered}: ir_datasets could not read its queries (expected 2 fields, got 3)", "network"
    ):
        list(read_topics(f"ir_datasets:{registered}"))
    (tmp_path / "docs.jsonl").unlink()
    with refuses("ir_datasets could not read its docs", "Is the network there?"):
        list(read_corpus(f"ir_datasets:{registered}"))


def test_ids_of_ir_datasets_are_checked_too(registered, tmp_path, refuses):
    (tmp_path / "docs.jsonl").write_text('{"doc_id": "a b", "text": ""}\n')
    with refuses(f"ir_datasets:{registered}:1: white space in document id 'a b'"):
        list(read_corpus(f"ir_datasets:{registered}"))
    (tmp_path / "queries.tsv").write_text("q1\tx\nq1\ty\n")
    with refuses(f"ir_datasets:{registered}: query id 'q1' was used before"):
        list(read_topics(f"ir_datasets:{registered}"))


def test_documents_with_titles_and_with_other_fields(monkeypatch):
    class Titled:
        doc_id, title, text = "1", "T", "body"

    class Other:
        doc_id, title = 2, "T"

        def default_text(self) -> str:
            return "T\nbody"

    monkeypatch.setattr(named, "_ir_datasets", lambda name, part: iter([Titled(), Other()]))
    assert list(named.ir_datasets_corpus("x")) == [Document("1", "body", "T"), Document("2", "T\nbody")]


def test_without_ir_datasets_the_command_that_installs_it_is_named(monkeypatch, refuses):
    monkeypatch.setitem(sys.modules, "ir_datasets", None)
    with refuses("ir_datasets, which is not installed. Install it: pip install ir_datasets"):
        list(read_corpus("ir_datasets:x"))


def test_which_names_pyserini_may_know(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "robust04").write_text("x")
    assert is_pyserini_name("msmarco-passage-dev-subset")
    assert is_pyserini_name("beir-v1.0.0-scifact-test")
    assert not any(
        map(is_pyserini_name, ["robust04", "queries.tsv", "queries.tsv.gz", "data/robust04", "./x", "t.trec"])
    )


class Fake(Exception):
    """Stands for jnius.JavaException, whose text is a Java stack trace."""


@pytest.fixture
def pyserini(monkeypatch):
    """Pyserini without a JVM: `get_topics` and `get_qrels_file` do what Pyserini 1.6 does."""

    def answer(found: object) -> None:
        def get(name: str) -> object:
            if isinstance(found, Exception):
                raise found
            return found

        module = types.ModuleType("pyserini.search")
        module.get_topics = module.get_qrels_file = get  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "pyserini.search", module)

    jnius = types.ModuleType("jnius")
    jnius.JavaException = Fake  # type: ignore[attr-defined]
    jvm = types.ModuleType("gradir.jvm")
    jvm.ensure = lambda: None  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pyserini", types.ModuleType("pyserini"))
    monkeypatch.setitem(sys.modules, "jnius", jnius)
    monkeypatch.setitem(sys.modules, "gradir.jvm", jvm)
    monkeypatch.setattr("gradir.jvm", jvm, raising=False)
    monkeypatch.setattr(named.importlib.util, "find_spec", lambda name: object())
    return answer


def test_topics_and_qrels_by_pyserinis_names(tmp_path, pyserini):
    pyserini({7: {"title": "wing spar"}, "q8": {"title": "lift", "narrative": "x"}})
    assert list(read_topics("beir-v1.0.0-x-test")) == [Query("7", "wing spar"), Query("q8", "lift")]
    (tmp_path / "qrels.txt").write_text("7 0 d1 1\n")
    pyserini(str(tmp_path / "qrels.txt"))
    assert read_qrels("beir-v1.0.0-x-test") == {"7": {"d1": 1}}


@pytest.mark.parametrize("error", [ValueError("Topic x Not Found"), FileNotFoundError("no qrels file for x")])
def test_a_name_that_pyserini_does_not_know_is_taken_for_a_missing_file(pyserini, refuses, error):
    pyserini(error)
    with refuses("x: no such file, and Pyserini knows no topics of this name. Check the name"):
        list(read_topics("x"))
    with refuses("x: no such file, and Pyserini knows no qrels of this name"):
        pyserini_qrels_file("x")


@pytest.mark.parametrize(
    "error", [Fake("java.io.IOException: Error downloading\n\tat io.anserini"), OSError("no route")]
)
def test_without_a_network_the_error_is_ours(pyserini, refuses, error):
    pyserini(error)
    first = str(error).splitlines()[0]
    with refuses(f"x: Pyserini could not fetch these topics ({first}). Is the network there?", "name it with --topics"):
        list(read_topics("x"))
    with refuses(f"x: Pyserini could not fetch these qrels ({first}). Is the network there?", "name it with --qrels"):
        read_qrels("x")


def test_topics_without_titles_are_refused(pyserini, refuses):
    pyserini({7: {"description": "x"}})
    with refuses("x: topic 7 has no title, only description"):
        list(read_topics("x"))


def test_without_pyserini_a_name_is_a_missing_file(monkeypatch, refuses):
    monkeypatch.setattr(named.importlib.util, "find_spec", lambda name: None)
    with refuses("x: no such file. Check the path; names that Pyserini knows need gradir[lucene]"):
        list(read_topics("x"))
