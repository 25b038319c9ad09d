"""Topics encoded before, in every form, give the run of the encoder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradir import encode, search
from gradir.data.vectors import SparseVectors
from gradir.engine.encoder import Encoder
from gradir.engine.query_encoders import to_dicts
from gradir.errors import GradirError, InputError
from gradir.search.encoded_topics import read_encoded_topics

CPU: dict[str, Any] = {"device": "cpu", "dtype": "float32"}


def lines(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture
def sparse_forms(splade: Path, queries: Any, collection: Path, tmp_path: Path) -> dict[str, str]:
    """The topics as vector shards, as Pyserini's JSON Lines, and as tokens."""
    opened = Encoder.open(splade, **CPU)
    vectors = to_dicts(opened.encode([query.text for query in queries], "query"), opened.vocab())  # type: ignore[arg-type]
    rows = [{"id": q.qid, "contents": q.text, "vector": v | {"zero": 0}} for q, v in zip(queries, vectors, strict=True)]
    tokens = [" ".join(" ".join([term] * n) for term, n in vector.items()) for vector in vectors]
    (tmp_path / "tokens.tsv").write_text("".join(f"{q.qid}\t{t}\n" for q, t in zip(queries, tokens, strict=True)))
    encode.run(str(splade), tmp_path / "shards", topics=str(collection), **CPU)
    return {
        "shards": str(tmp_path / "shards"),
        "json": lines(tmp_path / "queries.jsonl", rows),
        "tokens": str(tmp_path / "tokens.tsv"),
    }


@pytest.mark.parametrize("form", ["shards", "json", "tokens"])
def test_sparse(
    form: str, sparse_forms: dict[str, str], indexed: Any, splade: Path, collection: Path, read: Any, tmp_path: Path
) -> None:
    search.run(indexed("impact"), str(collection), tmp_path / "texts.trec", str(splade), **CPU)
    outcome = search.run(indexed("impact"), output=tmp_path / "run.trec", encoded_topics=sparse_forms[form])
    assert read(tmp_path / "run.trec") == read(tmp_path / "texts.trec")
    assert "6 queries" in outcome.message
    assert (tmp_path / "run.trec").read_text().split()[5].startswith("gradir.encoded.")


@pytest.mark.parametrize("form", ["shards", "json"])
def test_dense(form: str, indexed: Any, minilm: str, queries: Any, collection: Path, read: Any, tmp_path: Path) -> None:
    search.run(indexed("flat"), str(collection), tmp_path / "texts.trec", minilm, **CPU)
    if form == "shards":
        encode.run(minilm, tmp_path / "topics", topics=str(collection), **CPU)
    else:
        vectors = Encoder.open(minilm, **CPU).encode([query.text for query in queries], "query")
        rows = [{"id": q.qid, "vector": v.tolist()} for q, v in zip(queries, vectors, strict=True)]  # type: ignore[arg-type]
        lines(tmp_path / "topics.jsonl", rows)
    given = str(tmp_path / ("topics" if form == "shards" else "topics.jsonl"))
    search.run(indexed("flat"), output=tmp_path / "run.trec", encoded_topics=given)
    assert read(tmp_path / "run.trec") == read(tmp_path / "texts.trec")


def test_topics_and_qrels_say_which_queries_in_which_order(
    sparse_forms: dict[str, str], indexed: Any, collection: Path, read: Any, tmp_path: Path
) -> None:
    (tmp_path / "topics.tsv").write_text("x\twords do not matter\n007\t\n12\t\n")
    given: dict[str, Any] = {"encoded_topics": sparse_forms["json"]}
    search.run(indexed("impact"), output=tmp_path / "all.trec", **given)
    search.run(indexed("impact"), str(tmp_path / "topics.tsv"), tmp_path / "some.trec", **given)
    search.run(indexed("impact"), output=tmp_path / "two.trec", qrels=str(collection / "qrels" / "test.tsv"), **given)
    everything, some = read(tmp_path / "all.trec"), read(tmp_path / "some.trec")
    assert list(some) == ["x", "007", "12"]
    assert list(read(tmp_path / "two.trec")) == ["007", "x"]
    assert all(everything[qid] == hits for qid, hits in some.items())
    (tmp_path / "more.tsv").write_text("x\twing\nother\tdrag\nthird\tdrag\n")
    with pytest.raises(GradirError, match=r"2 of the topics are not encoded \(other, third\)"):
        search.run(indexed("impact"), str(tmp_path / "more.tsv"), tmp_path / "more.trec", **given)


def test_what_does_not_fit(
    sparse_forms: dict[str, str], indexed: Any, splade: Path, collection: Path, tmp_path: Path
) -> None:
    out, given = tmp_path / "run.trec", {"encoded_topics": sparse_forms["json"]}
    with pytest.raises(GradirError, match=r"takes no --encoded-topics"):
        search.run(indexed("bm25"), output=out, **given)
    with pytest.raises(GradirError, match=r"holds dense vectors, those of --encoded-topics are splade"):
        search.run(indexed("flat"), output=out, **given)
    with pytest.raises(GradirError, match=r"leave --encoder out"):
        search.run(indexed("impact"), output=out, encoder=str(splade), **given)
    other = tmp_path / "other"
    shutil.copytree(splade, other)
    config = json.loads((other / "gradir.json").read_text()) | {"impact_scale": 100.0}
    (other / "gradir.json").write_text(json.dumps(config))
    encode.run(str(other), tmp_path / "scaled", topics=str(collection), **CPU)
    with pytest.raises(GradirError, match=r"impact_scale: index 51\.2, topics 100\.0[\s\S]*Encode the topics again"):
        search.run(indexed("impact"), output=out, encoded_topics=str(tmp_path / "scaled"))
    forced = search.run(indexed("impact"), output=out, encoded_topics=str(tmp_path / "scaled"), force=True)
    assert forced.message.startswith("warning: ")


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"id": "1", "vector": {"a": 2.5}}, r":2: the impact of term 'a' is 2\.5, not a whole number"),
        ({"id": "1", "vector": {"a": -1}}, ":2: an impact of -1"),
        ({"id": "1", "vector": {"a": 2**31}}, ":2: an impact of 2147483648"),
        ({"id": "1", "vector": [1.0]}, ":2: `vector` is no object of impacts"),
        ({"id": "1"}, ":2: `vector` is no object of impacts"),
        ({"id": "0", "vector": {}}, "query id '0' was used before"),
        ({"id": "a b", "vector": {}}, "white space in query id"),
        ({"vector": {"a": 1}}, "no `id`"),
    ],
)
def test_unsound_sparse_topics(row: dict[str, Any], problem: str, tmp_path: Path) -> None:
    topics = lines(tmp_path / "q.jsonl", [{"id": "0", "vector": {"a": 1}}, row])
    with pytest.raises(InputError, match=problem):
        read_encoded_topics(topics)


@pytest.mark.parametrize("vector", [[1.0], "text", [1.0, None], [[1.0, 2.0]], [1.0, float("nan")], []])
def test_unsound_dense_topics(vector: Any, tmp_path: Path) -> None:
    topics = lines(tmp_path / "q.jsonl", [{"id": "0", "vector": [1.0, 2.0]}, {"id": "1", "vector": vector}])
    with pytest.raises(InputError, match=r":2: (`vector` is no list|a vector of 1 numbers, the first has 2)"):
        read_encoded_topics(topics)


def test_terms_ascend_in_each_query(tmp_path: Path) -> None:
    rows = [{"id": "0", "vector": {"b": 1, "a": 2}}, {"id": "1", "vector": {"c": 3, "a": 4, "b": 5}}]
    found = read_encoded_topics(lines(tmp_path / "q.jsonl", rows))
    assert isinstance(found.vectors, SparseVectors)
    assert [found.vocab[term] for term in found.vectors.terms] == ["b", "a", "b", "a", "c"]
    assert found.vectors.terms.tolist() == [0, 1, 0, 1, 2]
    assert found.vectors.impacts.tolist() == [1, 2, 5, 4, 3]


def test_no_pickle_is_read(tmp_path: Path) -> None:
    (tmp_path / "embedding.pkl").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    for given in (tmp_path, tmp_path / "embedding.pkl"):
        with pytest.raises(InputError, match=r"is a pickle, which gradir never reads"):
            read_encoded_topics(str(given))


def test_shards_of_several_parts(tmp_path: Path) -> None:
    from gradir.data.vectors import write_part

    for number, rows in enumerate((["a", "b"], ["c"])):
        write_part(tmp_path, number, rows, np.full((len(rows), 2), number, np.float32), {"kind": "dense"})
    found = read_encoded_topics(str(tmp_path))
    assert [query.qid for query in found.queries] == ["a", "b", "c"]
    assert np.asarray(found.vectors).tolist() == [[0, 0], [0, 0], [1, 1]]


def test_queries_without_terms_are_counted(indexed: Any, tmp_path: Path, read: Any) -> None:
    topics = lines(tmp_path / "q.jsonl", [{"id": "0", "vector": {}}, {"id": "1", "vector": {"wing": 3}}])
    outcome = search.run(indexed("impact"), output=tmp_path / "run.trec", encoded_topics=topics)
    assert outcome.message.endswith("; 1 queries have no term")
    assert list(read(tmp_path / "run.trec")) == ["1"]
    counts = json.loads((tmp_path / "run.trec.manifest.json").read_text())["counts"]
    assert (counts["queries"], counts["without_terms"]) == (2, 1)
