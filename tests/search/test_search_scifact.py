"""BM25 on a real collection reaches the published figure."""

from __future__ import annotations

from pathlib import Path

import pytest

from gradir import index, search

SCIFACT = Path(__file__).parents[3] / "shared" / "data" / "scifact"


@pytest.mark.e2e
@pytest.mark.skipif(not (SCIFACT / "corpus.jsonl").exists(), reason="SciFact is not at ../shared/data/scifact")
def test_bm25_on_scifact(tmp_path: Path) -> None:
    import pytrec_eval

    from gradir.data.runs import read_run

    qrels = SCIFACT / "qrels" / "test.tsv"
    index.run(SCIFACT, tmp_path / "index", "bm25")
    search.run(tmp_path / "index", str(SCIFACT), tmp_path / "run.trec", qrels=str(qrels), hits=100)
    judged: dict[str, dict[str, int]] = {}
    for line in qrels.read_text().splitlines()[1:]:
        qid, docid, grade = line.split("\t")
        judged.setdefault(qid, {})[docid] = int(grade)
    run = {qid: {hit.docid: hit.score for hit in hits} for qid, hits in read_run(tmp_path / "run.trec").items()}
    measured = pytrec_eval.RelevanceEvaluator(judged, {"ndcg_cut.10"}).evaluate(run)
    mean = sum(one["ndcg_cut_10"] for one in measured.values()) / len(judged)
    assert mean == pytest.approx(0.679, abs=0.01)
