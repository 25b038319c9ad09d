"""Dev evaluation is what ten lines of NumPy say, what exact search finds, and what `gradir evaluate` prints for the run."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import sparse

from gradir import evaluate
from gradir.data import Hit, read_run, run_writer
from gradir.data.vectors import SparseVectors, write_part, write_vocab
from gradir.engine.exact import open_exact
from gradir.errors import GradirError, InputError
from gradir.train import dev
from gradir.train.dev import DevSet

SIZE, TERMS, QUERIES = 90, 5, 14


def encode(texts: list[str]) -> NDArray[np.float32]:
    """The numbers that a text consists of, as its vector."""
    return np.array([[float(word) for word in text.split()[-TERMS:]] for text in texts], np.float32)


def encode_sparse(texts: list[str]) -> Any:
    """The same with zeros that are stored, as an encoder may give them."""
    vectors = encode(texts)
    columns = np.tile(np.arange(TERMS), len(texts))
    return sparse.csr_matrix((vectors.ravel(), columns, np.arange(len(texts) + 1) * TERMS), shape=vectors.shape)


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Documents and queries that spell their vectors, of few different numbers, so that scores tie; graded judgements; a run."""
    folder, rng = tmp_path_factory.mktemp("dev"), np.random.default_rng(3)

    def numbers() -> str:
        return " ".join(str(n) for n in rng.integers(0, 3, TERMS) * (rng.random(TERMS) < 0.6))

    docids = [f"{'aB9é'[i % 4]}{i}" for i in range(SIZE)]
    rows = [{"_id": docid, "title": f"title {i}", "text": numbers()} for i, docid in enumerate(docids)]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    queries = [{"_id": f"q{i}", "text": numbers()} for i in range(QUERIES + 4)]  # the last are not judged
    (folder / "queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in queries))
    judged = ["query-id\tcorpus-id\tscore", "elsewhere\ta0\t1"]  # the latter has no text
    for i in range(QUERIES):
        chosen = rng.choice(docids, 8, replace=False)
        judged += [f"q{i}\t{docid}\t{rng.integers(0, 4) * (i != 3)}" for docid in chosen]  # q3 has nothing relevant
    (folder / "dev.tsv").write_text("\n".join(judged) + "\n")
    with run_writer(folder / "run.trec", "first") as writer:
        for i in (*range(2, QUERIES), QUERIES + 1):  # none for q0 and q1
            found = rng.choice(docids, 20 if i % 2 else 7, replace=False)
            writer.write(f"q{i}", [Hit(str(docid), 40.0 - rank) for rank, docid in enumerate(found)])
    return folder


def opened(collection: Path, **options: Any) -> DevSet:
    return DevSet.open(**{"collection": collection, "qrels": collection / "dev.tsv", "depth": 10, **options})


def files(collection: Path) -> tuple[dict[str, str], dict[str, str], dict[str, dict[str, int]]]:
    """(documents, queries, judgements), read by hand."""
    corpus = [json.loads(line) for line in (collection / "corpus.jsonl").read_text().splitlines()]
    queries = [json.loads(line) for line in (collection / "queries.jsonl").read_text().splitlines()]
    judged: dict[str, dict[str, int]] = {}
    for line in (collection / "dev.tsv").read_text().splitlines()[2:]:
        qid, docid, grade = line.split("\t")
        judged.setdefault(qid, {})[docid] = int(grade)
    documents = {row["_id"]: f"{row['title']} {row['text']}" for row in corpus}
    return documents, {row["_id"]: row["text"] for row in queries}, judged


def by_hand(ranked: dict[str, list[str]], judged: dict[str, dict[str, int]], depth: int) -> dict[str, float]:
    """nDCG@10, MRR@10 and recall, written out."""
    found: dict[str, list[float]] = {"nDCG@10": [], "MRR@10": [], f"R@{depth}": []}
    for qid, grades in judged.items():
        gains = [grades.get(docid, 0) for docid in ranked.get(qid, [])]
        ideal = sum(gain / math.log2(i + 2) for i, gain in enumerate(sorted(grades.values(), reverse=True)[:10]))
        dcg = sum(gain / math.log2(i + 2) for i, gain in enumerate(gains[:10]))
        relevant = sum(gain > 0 for gain in grades.values())
        found["nDCG@10"].append(dcg / ideal if ideal else 0)
        found["MRR@10"].append(max((1 / (i + 1) for i, gain in enumerate(gains[:10]) if gain > 0), default=0))
        found[f"R@{depth}"].append(sum(gain > 0 for gain in gains[:depth]) / relevant if relevant else 0)
    return {name: float(np.mean(values)) for name, values in found.items()}


def best(query: str, documents: dict[str, str], depth: int, least: float) -> list[str]:
    scores = {docid: float(encode([query])[0] @ encode([text])[0]) for docid, text in documents.items()}
    above = [docid for docid in scores if scores[docid] > least]
    return sorted(above, key=lambda docid: (-scores[docid], docid))[:depth]


@pytest.mark.parametrize("way", [encode, encode_sparse])
@pytest.mark.parametrize("depth", [10, 200])
@pytest.mark.parametrize("window", [7, 4096])
def test_full_ranking(
    collection: Path, way: Callable[..., Any], depth: int, window: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dev, "_WINDOW", window)
    documents, queries, judged = files(collection)
    sizes: list[int] = []

    def counting(texts: list[str]) -> Any:
        sizes.append(len(texts))
        return way(texts)

    found = opened(collection, depth=depth).retrieval(way, counting)
    least = 0.0 if way is encode_sparse else -np.inf
    ranked = {qid: best(queries[qid], documents, depth, least) for qid in judged}
    assert found == pytest.approx(by_hand(ranked, judged, depth), abs=1e-12)
    assert max(sizes) <= window
    assert sum(sizes) == SIZE
    ours = opened(collection, depth=depth).ranked(way, way)
    assert {qid: list(ranking.docids) for qid, ranking in ours} == ranked


@pytest.mark.parametrize("kind", ["dense", "splade"])
def test_full_ranking_is_exact_search(collection: Path, kind: str, tmp_path: Path) -> None:
    way = encode if kind == "dense" else encode_sparse
    documents, queries, judged = files(collection)
    vectors = encode(list(documents.values()))
    asked = encode([queries[qid] for qid in sorted(judged)])
    given: Any = vectors
    searched: Any = asked
    if kind == "splade":
        given, searched = (
            SparseVectors(m.indptr.astype(np.int64), m.indices, m.data.astype(np.int32))
            for m in (sparse.csr_array(vectors), sparse.csr_array(asked))
        )
        write_vocab(tmp_path, [f"t{number}" for number in range(TERMS)])
    write_part(tmp_path, 0, list(documents), given, {"kind": kind})
    expected: Any = open_exact(tmp_path, [f"t{number}" for number in range(TERMS)]).search(searched, 10)
    ours = list(opened(collection).ranked(way, way))
    assert [qid for qid, _ in ours] == sorted(judged)
    for (_, found), exact in zip(ours, expected, strict=True):
        assert list(found.docids) == list(exact.docids)
        np.testing.assert_array_equal(found.scores, exact.scores)


@pytest.mark.parametrize("way", [encode, encode_sparse])
def test_pools(collection: Path, way: Callable[..., Any]) -> None:
    documents, queries, judged = files(collection)
    run = {qid: [hit.docid for hit in hits[:10]] for qid, hits in read_run(collection / "run.trec").items()}
    seen: list[str] = []

    def counting(texts: list[str]) -> Any:
        seen.extend(texts)
        return way(texts)

    found = opened(collection, run=collection / "run.trec").retrieval(way, counting)
    least = 0.0 if way is encode_sparse else -np.inf
    ranked = {
        qid: best(queries[qid], {docid: documents[docid] for docid in run.get(qid, [])}, 10, least) for qid in judged
    }
    assert found == pytest.approx(by_hand(ranked, judged, 10), abs=1e-12)
    assert sorted(seen) == sorted({documents[docid] for qid in judged for docid in run.get(qid, [])})


def test_reranking(collection: Path) -> None:
    documents, queries, judged = files(collection)
    run = {qid: [hit.docid for hit in hits] for qid, hits in read_run(collection / "run.trec").items()}
    calls: list[list[tuple[str, str]]] = []

    def score(texts: list[tuple[str, str]]) -> NDArray[np.float32]:
        calls.append(texts)
        return np.array([encode([query])[0] @ encode([text])[0] for query, text in texts], np.float32)

    ours = opened(collection, run=collection / "run.trec", depth=12, measure="R@20")
    ranked = {}
    for qid in judged:
        pool = {docid: documents[docid] for docid in run.get(qid, [])[:12]}
        ranked[qid] = best(queries[qid], pool, 12, -np.inf) + run.get(qid, [])[12:]
    expected = by_hand(ranked, judged, 12)
    found = ours.reranking(score)
    assert found.pop("R@20") == pytest.approx(by_hand(ranked, judged, 20)["R@20"], abs=1e-12)
    assert found == pytest.approx({name: expected[name] for name in ("MRR@10", "R@12")}, abs=1e-12)
    assert len(calls) == 1
    assert set(calls[0]) == {(queries[qid], documents[docid]) for qid in judged for docid in run.get(qid, [])[:12]}
    for qid, ranking in ours.reranked(score):
        assert list(ranking.docids) == ranked[qid]
        assert (np.diff(ranking.scores) <= 0).all()


@pytest.mark.parametrize("reranks", [False, True])
def test_measures_are_those_of_evaluate_on_the_written_run(collection: Path, reranks: bool, tmp_path: Path) -> None:
    ours = opened(collection, run=collection / "run.trec" if reranks else None)
    score = lambda texts: encode([query for query, _ in texts]).sum(1) + encode([text for _, text in texts])[:, 0]  # noqa: E731
    rankings = list(ours.reranked(score) if reranks else ours.ranked(encode, encode))
    with run_writer(tmp_path / "run.trec", "ours") as writer:
        for qid, ranking in rankings:
            writer.write_ranking(qid, ranking)
    lines = (collection / "dev.tsv").read_text().splitlines()
    (tmp_path / "qrels.tsv").write_text("\n".join([lines[0], *lines[2:]]) + "\n")
    found = ours.measured(rankings)
    outcome = evaluate.run(str(tmp_path / "qrels.tsv"), [tmp_path / "run.trec"], list(found.means), format="json")
    assert found.means == pytest.approx(json.loads(str(outcome.text))["runs"][0]["measures"], abs=1e-12)
    values = ours.per_query(rankings)
    assert len(values) == QUERIES
    assert np.mean(list(values.values())) == pytest.approx(found.means["nDCG@10"])
    assert list(found.means) == ["nDCG@10", "MRR@10", "R@10"]


def test_a_measure_is_named_once_and_as_it_was_asked_for(collection: Path) -> None:
    assert list(opened(collection, measure="RR@10").retrieval(encode, encode)) == ["RR@10", "R@10"]
    assert list(opened(collection, measure="recall.10").retrieval(encode, encode)) == ["recall.10", "MRR@10"]


def test_a_limit_chooses_queries_by_the_seed(collection: Path) -> None:
    some = [tuple(opened(collection, limit=5, seed=seed).queries) for seed in (1, 1, 2)]
    assert some[0] == some[1] != some[2]
    assert len(set(some[0])) == 5
    few = opened(collection, limit=5, seed=1)
    whole = opened(collection)
    assert set(few.qrels) == set(few.queries) == set(some[0])
    alone = few.per_query(few.ranked(encode, encode))
    assert alone.items() <= whole.per_query(whole.ranked(encode, encode)).items()
    assert tuple(opened(collection, limit=1000).queries) == tuple(whole.queries)
    assert whole.description() == {"queries": QUERIES, "documents": SIZE, "judgements": 8 * QUERIES}


def test_an_encoder_that_finds_nothing_scores_nothing(collection: Path) -> None:
    nothing = lambda texts: sparse.csr_array((len(texts), TERMS), dtype=np.float32)  # noqa: E731
    assert set(opened(collection).retrieval(nothing, nothing).values()) == {0.0}
    assert set(opened(collection, run=collection / "run.trec").retrieval(nothing, nothing).values()) == {0.0}
    # as in exact search, what scores 0 or less in sparse vectors is not found
    assert set(opened(collection).retrieval(encode_sparse, lambda texts: -encode_sparse(texts)).values()) == {0.0}


def test_all_problems_at_once(raises_error: Any, tmp_path: Path) -> None:
    with raises_error(
        "no `corpus`, nor a `collection`", "`queries`: ", "no `qrels`", "no.trec does not exist", "`depth` is 0"
    ):
        DevSet.open(queries=tmp_path / "no.jsonl", run=tmp_path / "no.trec", depth=0)
    with raises_error("`measure`: ", "'nDGC@10' is no measure", "did you mean 'ndcg@10'", "`limit` is -1"):
        DevSet.open(tmp_path, qrels=tmp_path, measure="nDGC@10", limit=-1)
    with raises_error("P is not one number to compare by"):
        DevSet.open(tmp_path, qrels=tmp_path, measure="P")
    with raises_error("nDCG@20 looks deeper than the 10 documents"):
        DevSet.open(tmp_path, qrels=tmp_path, measure="nDCG@20", depth=10)


def test_what_does_not_belong_together(collection: Path, tmp_path: Path) -> None:
    (tmp_path / "other.tsv").write_text("x 0 a0 1\n")
    with pytest.raises(InputError, match=r"judges no query of .*Do they belong together"):
        opened(collection, qrels=tmp_path / "other.tsv")
    (tmp_path / "far.tsv").write_text("q0 0 nowhere 1\n")
    with pytest.raises(InputError, match=r"holds no document that .*far.tsv judges"):
        opened(collection, qrels=tmp_path / "far.tsv")
    (tmp_path / "one.trec").write_text("q0 Q0 a0 1 3.0 x\nq0 Q0 there 2 2.0 x\n")
    with pytest.raises(InputError, match="document there is not in"):
        opened(collection, run=tmp_path / "one.trec")
    (tmp_path / "none.trec").write_text("z Q0 a0 1 3.0 x\n")
    with pytest.raises(InputError, match="holds none of the judged queries"):
        opened(collection, run=tmp_path / "none.trec")


def test_vectors_and_scores_that_cannot_be(collection: Path) -> None:
    whole = opened(collection)
    with pytest.raises(GradirError, match="vectors of documents are not finite"):
        whole.retrieval(encode, lambda texts: encode(texts) * np.nan)
    with pytest.raises(GradirError, match="not one row for each"):
        whole.retrieval(lambda texts: encode(texts)[:-1], encode)
    with pytest.raises(GradirError, match="5 numbers for queries and 3 for documents"):
        whole.retrieval(encode, lambda texts: encode(texts)[:, :3])
    with pytest.raises(GradirError, match="a reranker needs candidates"):
        whole.reranking(lambda texts: np.zeros(len(texts), np.float32))
    with pytest.raises(GradirError, match="or not finite ones"):
        opened(collection, run=collection / "run.trec").reranking(lambda texts: np.full(len(texts), np.inf, np.float32))
