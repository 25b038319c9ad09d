from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradir.data import Query, read_topics, write_topics
from gradir.data.ids import Duplicates

ids = st.text(min_size=1).filter(lambda text: text.split() == [text] and not set("\0\ufeff") & set(text))
texts = st.text()
flat = st.text(st.characters(blacklist_characters="\t\r\n", blacklist_categories=["Cs"]))


def lists_of(text):
    return st.lists(st.builds(Query, ids, text), min_size=1, unique_by=lambda query: query.qid)


def put(path: Path, text: str) -> Path:
    path.write_bytes((gzip.compress if path.suffix == ".gz" else bytes)(text.encode()))
    return path


@given(lists_of(texts))
def test_jsonl_round_trip(tmp_path_factory, queries):
    path = tmp_path_factory.mktemp("t") / "queries.jsonl"
    assert write_topics(path, iter(queries)) == len(queries)
    assert list(read_topics(path)) == queries
    assert [json.loads(x) for x in path.read_text(encoding="utf-8").split("\n")[:-1]] == [
        {"_id": query.qid, "text": query.text} for query in queries
    ]


@given(lists_of(flat))
def test_tsv_round_trip(tmp_path_factory, queries):
    path = tmp_path_factory.mktemp("t") / "queries.tsv"
    assert write_topics(path, iter(queries)) == len(queries)
    assert list(read_topics(path)) == queries
    lines = path.read_bytes().decode().split("\n")[:-1]
    assert [Query(*line.split("\t")) for line in lines] == queries


EXPECTED = [Query("007", "wing spar"), Query("1e5", "what is  lift?")]
FORMS = {
    "beir.jsonl": '{"_id": "007", "text": "wing spar", "metadata": {}}\n\n{"_id": "1e5", "text": "what is  lift?"}\n',
    "other.jsonl": '{"id": "007", "contents": "wing spar"}\n{"qid": "1e5", "query": "what is  lift?"}\n',
    "title.jsonl.gz": '{"query_id": "007", "title": "wing spar"}\n{"qid": "1e5", "title": "what is  lift?"}\n',
    "marco.tsv": "007\twing spar\n\n1e5\twhat is  lift?\n",
    "marco.tsv.gz": "\ufeff007\twing spar\r\n1e5\twhat is  lift?\r\n",
    "marco.txt": "007\twing spar\n1e5\twhat is  lift?",
    "pyserini.json": json.dumps(
        {"007": {"title": "wing spar", "narrative": "x"}, "1e5": {"title": "what is  lift?"}}, indent=1
    ),
    "plain.json": json.dumps({"007": "wing spar", "1e5": "what is  lift?"}),
}


@pytest.mark.parametrize("name", FORMS)
def test_every_form_gives_the_same_queries(tmp_path, name):
    assert list(read_topics(put(tmp_path / name, FORMS[name]))) == EXPECTED


TREC = """
<top>
<num> Number: 301
<title> International Organized Crime

<desc> Description:
not this </desc>
</top>
<top><num>007</num><title>
 wing
 spar where p < 5
</title></top>
<top>
<num> Number: MB01
<title> Topic: one   two
<narr> Narrative: no
</top>
"""


@pytest.mark.parametrize("name", ["t.trec", "t.txt", "t.topics", "t.xml", "t.trec.gz"])
def test_trec_topics(tmp_path, name):
    assert list(read_topics(put(tmp_path / name, TREC))) == [
        Query("301", "International Organized Crime"),
        Query("007", "wing spar where p < 5"),
        Query("MB01", "one two"),
    ]


def test_a_tab_in_a_query_is_kept_when_read_and_refused_as_tsv(tmp_path, refuses):
    path = put(tmp_path / "q.tsv", "q1\tone\ttwo\n")
    queries = list(read_topics(path))
    assert queries == [Query("q1", "one\ttwo")]
    for text in ["one\ttwo", "one\ntwo", "one\rtwo"]:
        with refuses(f"{tmp_path / 'new.tsv'}:2: query q1 holds a tab or line end. Write a .jsonl file instead"):
            write_topics(tmp_path / "new.tsv", [Query("q0", "x"), Query("q1", text)])
    assert not (tmp_path / "new.tsv").exists()
    write_topics(tmp_path / "new.jsonl", queries)
    assert list(read_topics(tmp_path / "new.jsonl")) == queries


def test_a_bad_id_is_not_written(tmp_path, refuses):
    for name in ["q.tsv", "q.jsonl"]:
        with refuses(f"{tmp_path / name}:1: white space in query id"):
            write_topics(tmp_path / name, [Query("q 1", "x")])
    assert list(tmp_path.iterdir()) == []


BAD = {
    "cut.jsonl": ('{"_id": "q1", "text": "x"}\n{"_id"', ":2: not a JSON object", "Mend or remove the line"),
    "noid.jsonl": ('{"text": "x"}', ":1: no `_id` or `id` or `qid` or `query_id`", "Keys here: text"),
    "notext.jsonl": ('{"_id": "q1"}', ":1: no `text` or `query` or `contents` or `title`", "Keys here: _id"),
    "twice.jsonl": (
        '{"_id": 1, "text": "x"}\n{"_id": "1", "text": "y"}',
        ":2: query id '1' was used before, at",
        "unique",
    ),
    "twice.tsv": ("q1\tx\nq2\ty\nq1\tz", ":3: query id 'q1' was used before, at", "Ids must be unique"),
    "space.tsv": ("q 1\tx", ":1: white space in query id 'q 1'", "replace it, by _ say"),
    "noid.tsv": ("\tx", ":1: empty query id", "Give every line an id"),
    "spaces.tsv": ("q1\tx\nq2 y\n", ":2: no tab", "Expected qid<TAB>text"),
    "lines.json": ('{"_id": "q1", "text": "x"}\n{"_id": "q2", "text": "x"}', ":2: not JSON", "must end in .jsonl"),
    "list.json": ("[1]", ": not an object of topics", 'Expected {"qid": {"title": "text"}'),
    "number.json": ('{"q1": 5}', ": topic q1 is neither an object nor text", 'Expected {"qid"'),
    "notitle.json": ('{"q1": {"narrative": "x"}}', ": no `title` or `text`", "Keys here: narrative"),
    "twice.json": (
        '{"q1": {"title": "x"}, "q1": {"title": "y"}}',
        ": query id or field 'q1' was used before",
        "Ids must be unique",
    ),
    "open.trec": (
        "\n<top>\n<num> 1\n<title> x\n<top>\n<num> 2\n<title> y\n</top>",
        ":2: a topic without </top>",
        "Mend",
    ),
    "cut.trec": ("<top><num> 1 <title> x </top>\n<top><num> 2", ":2: a topic without </top>", "Mend the topic"),
    "nonum.trec": ("<top><title> x </top>", ":1: a topic without <num> or <title>", "Mend the topic"),
    "twice.trec": ("<top><num> 1 <title> x </top>\n" * 2, ":2: query id '1' was used before", "Ids must be unique"),
    "words.trec": ("one two", ":1: no tab", "Expected qid<TAB>text"),
    "empty.jsonl": ("", ": holds no queries", "Is it the right file?"),
    "empty.tsv": ("\n", ": holds no queries", "Is it the right file?"),
    "empty.json": ("{}", ": holds no queries", "Is it the right file?"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_topics_are_named_with_place_and_fix(tmp_path, refuses, name):
    text, problem, fix = BAD[name]
    path = put(tmp_path / name, text)
    with refuses(f"{path}{problem}", fix):
        list(read_topics(path))


def test_far_duplicates_are_found(tmp_path, monkeypatch, refuses):
    monkeypatch.setattr(Duplicates, "BLOCK", 3)
    path = put(tmp_path / "q.tsv", "".join(f"q{n % 11}\tx\n" for n in range(12)))
    with refuses(f"{path}:12: query id 'q0'"):
        list(read_topics(path))


@pytest.mark.parametrize("name", ["queries.jsonl", "queries.jsonl.gz", "queries.tsv"])
def test_a_folder_is_its_queries_file(tmp_path, refuses, name):
    with refuses(f"{tmp_path}: holds no queries.jsonl", "Name the topics file itself"):
        list(read_topics(tmp_path))
    put(tmp_path / name, "q1\tx\n" if "tsv" in name else '{"_id": "q1", "text": "x"}\n')
    assert list(read_topics(tmp_path)) == [Query("q1", "x")]


def test_a_file_without_an_ending_is_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    put(tmp_path / "queries", '{"_id": "q1", "text": "x"}')
    assert list(read_topics("queries")) == [Query("q1", "x")]


def test_a_missing_file(tmp_path, refuses):
    for name in ["no.tsv", "no", "no.trec", "no.json"]:
        with refuses(f"{tmp_path / name}: no such file. Check the path"):
            list(read_topics(tmp_path / name))
