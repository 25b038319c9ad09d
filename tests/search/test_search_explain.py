"""Explanations add up to the score, and name every term."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from gradir import search
from gradir.engine.encoder import Encoder
from gradir.engine.query_encoders import to_dicts
from gradir.errors import GradirError

CPU: dict[str, Any] = {"device": "cpu", "dtype": "float32"}


def table(text: str) -> dict[str, list[str]]:
    """The rows of terms, and of the sum."""
    rows = [line.split() for line in text.splitlines()]
    start = next(number for number, row in enumerate(rows) if row[:2] == ["term", "query"])
    end = next(number for number, row in enumerate(rows) if number > start and row[:1] == ["sum"])
    return {row[0]: row[1:] for row in rows[start + 1 : end + 1]}


@pytest.mark.parametrize("engine", ["auto", "exact"])
def test_impacts(
    engine: Any, indexed: Any, splade: Path, collection: Path, queries: Any, documents: Any, read: Any, tmp_path: Path
) -> None:
    opened = Encoder.open(splade, **CPU)
    (asked,) = to_dicts(opened.encode([queries[2].text], "query"), opened.vocab())  # type: ignore[arg-type]
    (text,) = [document.contents for document in documents if document.docid == "d9"]
    (impacts,) = to_dicts(opened.encode([text]), opened.vocab())  # type: ignore[arg-type]
    index = indexed("impact")
    search.run(index, str(collection), tmp_path / "run.trec", str(splade), **CPU)
    hits = read(tmp_path / "run.trec")["7"]
    folder = index.parent / "vectors-sparse" if engine == "exact" else index
    outcome = search.run(
        folder,
        str(collection),
        None,
        str(splade),
        explain=["7", "d9"],
        run=[tmp_path / "run.trec"],
        engine=engine,
        **CPU,
    )
    shared = {term: asked[term] * impacts[term] for term in asked if term in impacts}
    found = table(outcome.text)
    assert {term: int(row[2]) for term, row in found.items() if term != "sum"} == shared
    assert {term: (int(row[0]), int(row[1])) for term, row in found.items() if term != "sum"} == {
        term: (asked[term], impacts[term]) for term in shared
    }
    products = [int(row[2]) for term, row in found.items() if term != "sum"]
    assert products == sorted(products, reverse=True)
    assert int(found["sum"][0]) == sum(shared.values())
    rank, score = next((number, score) for number, (docid, score) in enumerate(hits, 1) if docid == "d9")
    assert re.search(rf"run\.trec +{rank} +{score:.6f}$", outcome.text, re.MULTILINE)
    assert re.search(rf"^{folder} +{rank} +{sum(shared.values())}$", outcome.text, re.MULTILINE)
    missing = sorted(set(asked) - set(impacts), key=lambda term: (-asked[term], term))
    if missing:
        listed = ", ".join(f"{term} {asked[term]}" for term in missing)
        assert f"lacks {len(missing)} of the query's {len(asked)} terms: {listed}" in outcome.text
    assert outcome.output is None
    assert "but the search gives" not in outcome.text


def test_every_weight_of_every_document(indexed: Any, splade: Path, documents: Any) -> None:
    from gradir.search.weights import impact_weights, shard_weights

    opened = Encoder.open(splade, **CPU)
    vectors = to_dicts(opened.encode([document.contents for document in documents]), opened.vocab())  # type: ignore[arg-type]
    query = [(term, 1) for term in (*opened.vocab(), "nowhere")]
    assert any(len(vector) < len(query) - 6 for vector in vectors)  # some documents lack a term that others have
    for document, vector in zip(documents, vectors, strict=True):
        wanted = {term: vector.get(term, 0) for term, _ in query}
        for look_up, folder in (
            (impact_weights, indexed("impact")),
            (shard_weights, indexed("impact").parent / "vectors-sparse"),
        ):
            assert {term: weight for term, _, weight in look_up(folder, query, document.docid)} == wanted


def test_bm25_beside_impacts(indexed: Any, splade: Path, read: Any, documents: Any, tmp_path: Path) -> None:
    text = documents[3].text
    (tmp_path / "topics.tsv").write_text(f"q\t{text} {text.split()[0]} zebra the\n")
    search.run(indexed("bm25"), str(tmp_path / "topics.tsv"), tmp_path / "run.trec")
    score = dict(read(tmp_path / "run.trec")["q"])["d3"]
    indexes, topics = [indexed("impact"), indexed("bm25")], str(tmp_path / "topics.tsv")
    outcome = search.run(indexes, topics, encoder=str(splade), explain=["q", "d3"], **CPU)
    words = outcome.text.partition("(bm25)")[2]
    found = table(words)
    assert float(found["sum"][0]) == pytest.approx(score, rel=1e-5)
    assert sum(float(row[2]) for term, row in found.items() if term != "sum") == pytest.approx(score, rel=1e-4)
    assert "lacks 1 of" in words
    assert "zebra 1" in words
    assert outcome.text.count("\nterm ") == 2


@pytest.mark.parametrize("type", ["flat", "hnsw", "exact"])
def test_inner_products(type: str, indexed: Any, minilm: str, collection: Path, queries: Any, documents: Any) -> None:
    opened = Encoder.open(minilm, **CPU)
    query = opened.encode([queries[0].text], "query")
    wanted = float((query @ opened.encode([documents[5].contents]).T)[0, 0])  # type: ignore[operator, union-attr]
    engine: Any = "exact" if type == "exact" else "auto"
    folder = indexed("flat").parent / "vectors-dense" if type == "exact" else indexed(type)
    outcome = search.run(folder, str(collection), encoder=minilm, explain=["12", "d5"], engine=engine, **CPU)
    found = re.search(r"^inner product +([\d.-]+)$", outcome.text, re.MULTILINE)
    assert found
    assert float(found[1]) == pytest.approx(wanted, abs=1e-5)


def test_a_document_below_the_hits(indexed: Any, splade: Path, collection: Path) -> None:
    outcome = search.run(indexed("impact"), str(collection), encoder=str(splade), explain=["7", "d9"], hits=1, **CPU)
    assert re.search(r"below 1 +\d+$", outcome.text, re.MULTILINE)
    absent = search.run(indexed("impact"), str(collection), encoder=str(splade), explain=["7", "empty"], **CPU)
    assert re.search(r"below 1000 +0$", absent.text, re.MULTILINE)


def test_an_explanation_that_is_not_the_score_says_so(
    indexed: Any, splade: Path, collection: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gradir.search import weights

    monkeypatch.setattr(weights, "impact_weights", lambda *_: [weights.Weight("wing", 1, 2)])
    outcome = search.run(indexed("impact"), str(collection), encoder=str(splade), explain=["7", "d9"], **CPU)
    assert "but the search gives it" in outcome.text


def test_what_cannot_be_explained(indexed: Any, splade: Path, collection: Path, tmp_path: Path) -> None:
    index, topics = indexed("bm25"), str(collection)
    with pytest.raises(GradirError, match=r"no query 077, did you mean '007'\?"):
        search.run(index, topics, explain=["077", "d1"])
    for folder, encoder in ((index, None), (indexed("impact"), str(splade))):
        with pytest.raises(GradirError, match="document nowhere is not in it"):
            search.run(folder, topics, encoder=encoder, explain=["007", "nowhere"], **CPU)
    with pytest.raises(GradirError, match="takes two values"):
        search.run(index, topics, explain=["007"])
    with pytest.raises(GradirError, match="Give --output, the run to be written, or --explain"):
        search.run(index, topics)
    with pytest.raises(GradirError, match=r"--run belongs to --explain"):
        search.run(index, topics, tmp_path / "run.trec", run=[tmp_path / "other"])


def test_deleted_documents_are_gone(indexed: Any, tmp_path: Path) -> None:
    import shutil

    from gradir.search.weights import impact_weights

    folder = tmp_path / "index"
    shutil.copytree(indexed("impact"), folder)
    assert impact_weights(folder, [("wing", 1)], "d9")
    from jnius import autoclass

    path = autoclass("java.nio.file.Paths").get(str(folder))
    directory = autoclass("org.apache.lucene.store.FSDirectory").open(path)
    config = autoclass("org.apache.lucene.index.IndexWriterConfig")()
    writer = autoclass("org.apache.lucene.index.IndexWriter")(directory, config)
    term = autoclass("org.apache.lucene.index.Term")("id", "d9")
    writer.deleteDocuments(autoclass("org.apache.lucene.search.TermQuery")(term))
    writer.close()
    with pytest.raises(GradirError, match="document d9 is not in it"):
        impact_weights(folder, [("wing", 1)], "d9")
