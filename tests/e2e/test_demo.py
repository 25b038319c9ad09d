"""The whole job on pydocs (and SciFact): floors of effectiveness, and every search against numpy."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp

from gradir.data.qrels import read_qrels
from gradir.data.runs import read_run
from gradir.data.topics import read_topics
from gradir.data.vectors import SparseVectors, VectorShards
from gradir.evaluate import evaluate_run

SYSTEMS = ("bm25", "flat", "hnsw", "impact", "fused")


def ndcg(root: Path, qrels: Path) -> dict[str, float]:
    judged = read_qrels(qrels)
    return {name: evaluate_run(judged, root / f"{name}.trec", ["nDCG@10"]).means["nDCG@10"] for name in SYSTEMS}


def check_floors(scores: dict[str, float]) -> None:
    assert scores["flat"] >= 0.85 * scores["bm25"]
    assert scores["hnsw"] >= 0.85 * scores["bm25"]
    assert scores["impact"] >= 0.7 * scores["bm25"]
    assert scores["fused"] >= max(scores["bm25"], scores["flat"], scores["impact"]) - 0.01


def test_floors_on_pydocs(pydocs) -> None:
    scores = ndcg(pydocs.root, pydocs.root / "collection" / "qrels" / "test.tsv")
    assert 0.25 < scores["bm25"] < 0.85, "the query rule of the collection is wrong"
    check_floors(scores)


def test_floors_on_scifact(scifact) -> None:
    collection = Path(scifact.arguments[-1])
    scores = ndcg(scifact.root, collection / "qrels" / "test.tsv")
    assert scores["bm25"] == pytest.approx(0.679, abs=0.01)  # Anserini's own figure for its "flat" BEIR index
    check_floors(scores)


def test_table_and_chart(pydocs) -> None:
    table = pydocs.done.stdout.strip().splitlines()
    assert (pydocs.root / "table.md").read_text().strip().splitlines() == table
    scores = ndcg(pydocs.root, pydocs.root / "collection" / "qrels" / "test.tsv")
    shown = [float(row.split("|")[2]) for row in table[2:]]
    assert shown == [pytest.approx(scores[name], abs=5e-5) for name in SYSTEMS]
    assert all("nan" not in row for row in table)
    assert (pydocs.root / "chart.png").read_bytes().startswith(b"\x89PNG")


def test_a_second_demo_does_nothing_again(pydocs) -> None:
    def times() -> dict[str, int]:
        made = (
            *pydocs.root.glob("*.trec"),
            *pydocs.root.glob("*/*/manifest.json"),
            *pydocs.root.glob("vectors/*/part-*"),
        )
        return {str(path): path.stat().st_mtime_ns for path in made}

    before = times()
    again = pydocs.again()
    assert again.returncode == 0, again.stderr
    assert times() == before
    assert again.stdout == pydocs.done.stdout


@pytest.fixture(scope="module")
def topics_of_test(pydocs) -> Path:
    """The queries of the test split, as the demo wrote them for Pyserini."""
    return pydocs.root / "topics.tsv"


def encoded(topics: Path, encoder: str, folder: Path) -> VectorShards:
    words = ["--encoder", encoder, "--topics", str(topics), "--output", str(folder)]
    subprocess.run([sys.executable, "-m", "gradir.encode", *words], check=True, capture_output=True)
    return VectorShards(folder)


def matrix(shards: VectorShards) -> tuple[list[str], sp.csr_matrix]:
    docids, parts = [], []
    for ids, vectors in shards.parts():
        assert isinstance(vectors, SparseVectors)
        docids += ids
        values = vectors.impacts.astype(np.int64)
        parts.append(sp.csr_matrix((values, vectors.terms, vectors.indptr), shape=(len(ids), len(shards.vocab()))))
    return docids, sp.vstack(parts).tocsr()


def test_impact_scores_are_integer_dot_products(pydocs, topics_of_test: Path, tmp_path: Path) -> None:
    from gradir import jvm
    from gradir.engine.query_encoders import KnownQueries, to_dicts

    jvm.ensure()
    from pyserini.search.lucene import LuceneImpactSearcher

    shards = encoded(topics_of_test, str(pydocs.root / "encoders" / "splade-untrained"), tmp_path / "queries")
    qids, queries = matrix(shards)
    docids, documents = matrix(VectorShards(pydocs.root / "vectors" / "splade"))
    place = {docid: i for i, docid in enumerate(docids)}
    texts = {query.qid: query.text for query in read_topics(topics_of_test)}
    dicts = [row for _, vectors in shards.sparse_parts() for row in to_dicts(vectors, shards.vocab())]
    known = KnownQueries([texts[qid] for qid in qids], dicts)
    searcher = LuceneImpactSearcher(str(pydocs.root / "index" / "impact"), known, min_idf=-1)
    found = searcher.batch_search([texts[qid] for qid in qids], qids, k=100, threads=2)
    assert len(qids) > 2000
    products = (queries @ documents.T.tocsr()).toarray()  # [queries, documents]
    for exact, qid in zip(products, qids, strict=True):
        hits = found[qid]
        scores = np.array([hit.score for hit in hits])
        expected = exact[[place[hit.docid] for hit in hits]]
        # Anserini lowers each further document of a tie by 1e-6
        assert np.abs(scores - expected).max() < 1e-3
        assert expected.tolist() == np.sort(exact)[::-1][: len(hits)].tolist()


def test_faiss_flat_ranks_as_numpy_does(pydocs, topics_of_test: Path, tmp_path: Path) -> None:
    from gradir.demo.stage import _minilm

    parts = list(encoded(topics_of_test, _minilm(), tmp_path / "queries").dense_parts())
    qids, queries = [qid for ids, _ in parts for qid in ids], np.concatenate([vectors for _, vectors in parts])
    stored = list(VectorShards(pydocs.root / "vectors" / "dense").dense_parts())
    docids, documents = [d for ids, _ in stored for d in ids], np.concatenate([v for _, v in stored])
    from gradir import jvm

    jvm.ensure()
    from pyserini.search.faiss import FaissSearcher

    searcher = FaissSearcher(str(pydocs.root / "index" / "flat"), None)
    found = searcher.batch_search(queries, qids, k=100, threads=2)
    exact = queries.astype(np.float64) @ documents.astype(np.float64).T
    for row, qid in enumerate(qids):
        order = np.argsort(-exact[row], kind="stable")[:100]
        hits = found[qid]
        assert np.abs([hit.score for hit in hits] - exact[row][order]).max() < 1e-5
        gaps = np.abs(np.diff(exact[row][order])) > 1e-6
        clear = [i for i in range(1, 99) if gaps[i - 1] and gaps[i]]  # float32 cannot tell closer neighbours apart
        assert [hits[i].docid for i in clear] == [docids[order[i]] for i in clear]


def test_trec_eval_agrees(pydocs) -> None:
    asked = {"ndcg_cut.10": "nDCG@10", "recall.100": "R@100", "map": "MAP", "recip_rank": "recip_rank", "P.10": "P@10"}
    judged = read_qrels(pydocs.root / "collection" / "qrels" / "test.tsv")
    for name in ("bm25", "impact"):
        words = ["eval.trec_eval", "-c", *(word for m in asked for word in ("-m", m))]
        files = [str(pydocs.root / "qrels.txt"), str(pydocs.root / f"{name}.trec")]
        command = [sys.executable, "-m", "gradir.cli", "pyserini", *words, *files]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        theirs = dict(re.findall(r"^(\S+)\s+all\s+(\S+)$", output, flags=re.MULTILINE))
        ours = evaluate_run(judged, pydocs.root / f"{name}.trec", list(asked.values())).means
        assert {m.replace(".", "_"): f"{ours[a]:.4f}" for m, a in asked.items()} == {
            m: theirs[m] for m in theirs if m != "runid"
        }


def test_pyserini_searches_give_the_same_runs(pydocs, tmp_path: Path) -> None:
    """The search commands that the demo prints, with the first 50 topics."""
    topics = tmp_path / "topics.tsv"
    topics.write_text("".join((pydocs.root / "topics.tsv").open().readlines()[:50]))
    from gradir.demo.commands import pyserini_searches
    from gradir.demo.plan import Plan
    from gradir.demo.stage import _minilm

    plan = Plan(pydocs.root, pydocs.root / "collection", _minilm(), 128, 100)
    printed = (pydocs.root / "commands.md").read_text()
    for name, command in pyserini_searches(plan).items():
        assert command.replace(str(pydocs.root), "runs/demo") in printed
        if name == "hnsw":
            continue  # but for the folder it is the command of flat
        output = tmp_path / f"{name}.trec"
        words = shlex.split(command.replace(str(pydocs.root / "topics.tsv"), str(topics)))
        words[words.index("--output") + 1] = str(output)
        subprocess.run([sys.executable, "-m", "gradir.cli", *words[1:]], check=True, capture_output=True)
        ours = read_run(pydocs.root / f"{name}.trec")
        theirs = read_run(output)
        assert len(theirs) == 50
        same = [
            len({h.docid for h in ours[qid][:10]} & {h.docid for h in hits[:10]}) / 10 for qid, hits in theirs.items()
        ]
        # ours encodes queries in bfloat16 where the machine has it, Pyserini always in float32
        assert np.mean(same) >= (1.0 if name == "bm25" else 0.97)
        first = np.array([[ours[qid][0].score, hits[0].score] for qid, hits in theirs.items()])
        assert np.allclose(first[:, 0], first[:, 1], rtol=0.02)


def test_every_artefact_has_a_manifest(pydocs) -> None:
    made = [path.parent for path in pydocs.root.glob("*/*/manifest.json")]
    assert {path.name for path in made} >= {"dense", "splade", "bm25", "flat", "hnsw", "impact", "splade-untrained"}
    for run in pydocs.root.glob("*.trec"):
        manifest = json.loads(Path(f"{run}.manifest.json").read_text())
        assert manifest["counts"]["queries"] > 2000
