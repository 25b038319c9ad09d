"""What the fast path costs in effectiveness: bfloat16 against float32 on whole judged collections.

`python -m benchmarks.fidelity [--quick] [--json FILE]`. SciFact and Cranfield where they stand in `../shared/data`, otherwise the
built-in collection. Documents and queries are encoded in both number formats and searched exhaustively.
"""

from __future__ import annotations

import sys
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from benchmarks.models import dense_folder, pydocs_folder, splade_folder
from benchmarks.table import Row, arguments, show
from gradir.data.corpus import read_corpus
from gradir.data.qrels import read_qrels
from gradir.data.topics import read_topics
from gradir.data.vectors import SparseVectors
from gradir.engine import Encoder

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
HITS = 10


def collections() -> list[Path]:
    """The judged collections at hand."""
    found = [SHARED / name for name in ("scifact", "cranfield") if (SHARED / name).exists()]
    return found or [pydocs_folder()]


def rows_of(kind: str, encoder: Path, collection: Path, limit: int | None) -> list[Row]:
    """How far the vectors and the runs of the two number formats lie apart."""
    documents = list(islice(read_corpus(str(collection)), limit))
    qrels = read_qrels(collection / "qrels" / "test.tsv")
    judged = (query for query in read_topics(collection / "queries.jsonl") if query.qid in qrels)
    queries = list(islice(judged, limit))
    made = {}
    for dtype in ("bfloat16", "float32"):
        opened = Encoder.open(encoder, "cpu", dtype)
        made[dtype] = [
            opened.encode([document.contents for document in documents]),
            opened.encode([query.text for query in queries], "query"),
        ]
    tops = {dtype: _top(*vectors) for dtype, vectors in made.items()}
    docids = np.array([document.docid for document in documents])
    grades = [{docid: grade for docid, grade in qrels[query.qid].items() if grade > 0} for query in queries]
    ndcg = {
        dtype: float(np.mean([_ndcg(docids[row], one) for row, one in zip(top, grades, strict=True)]))
        for dtype, top in tops.items()
    }
    overlap = float(
        np.mean([len(set(a) & set(b)) / HITS for a, b in zip(tops["bfloat16"], tops["float32"], strict=True)])
    )
    work, size = f"{kind}, {collection.name}", len(documents)
    against = f"float32, {size} documents, {len(queries)} queries"
    rows = [
        Row(f"{work}: overlap@10", against, overlap, 0.97, True, overlap, 1.0, "share", 1),
        Row(
            f"{work}: nDCG@10 apart",
            against,
            abs(ndcg["bfloat16"] - ndcg["float32"]),
            0.003,
            False,
            *ndcg.values(),
            "nDCG@10",
            1,
        ),
    ]
    if kind == "splade":
        most, off = _apart(made["bfloat16"][0], made["float32"][0])
        rows.append(Row(f"{work}: furthest impact", against, most, 4, False, most, 0, "units", 1))
        rows.append(Row(f"{work}: off by more than one", against, off, 0.1, False, off, 0, "share", 1))
    return rows


def _top(documents: Any, queries: Any) -> np.ndarray[Any, Any]:
    """Places of the documents with the highest inner products, [Q, HITS]."""
    if isinstance(documents, SparseVectors):
        products = (_matrix(queries) @ _matrix(documents).T).toarray()
    else:
        products = queries @ documents.T
    return np.argsort(-products, axis=1, kind="stable")[:, :HITS]


def _matrix(vectors: SparseVectors) -> Any:
    width = 1 + max(int(vectors.terms.max(initial=0)), 60_000)
    return csr_matrix((vectors.impacts.astype(np.float64), vectors.terms, vectors.indptr), shape=(len(vectors), width))


def _ndcg(docids: Any, grades: dict[str, int]) -> float:
    """nDCG@10 with linear gains, as trec_eval has it."""
    discounts = 1 / np.log2(np.arange(2, HITS + 2))
    gains = np.array([grades.get(docid, 0) for docid in docids])
    ideal = np.sort(np.fromiter(grades.values(), float))[::-1][:HITS]
    best = float(ideal @ discounts[: len(ideal)])
    return float(gains @ discounts) / best if best else 0.0


def _apart(low: SparseVectors, full: SparseVectors) -> tuple[float, float]:
    """(largest difference of two impacts, share of the terms that differ by more than one)."""
    difference = (_matrix(low) - _matrix(full)).tocsr()
    both = (_matrix(low) + _matrix(full)).nnz
    return float(np.abs(difference.data).max()), float((np.abs(difference.data) > 1).sum() / both)


def main() -> None:
    """Run all, print the table."""
    asked = arguments(__doc__)
    rows = []
    for collection in collections():
        for kind, encoder in (("dense", dense_folder()), ("splade", splade_folder())):
            print(f"{kind} on {collection.name} …", file=sys.stderr)
            rows += rows_of(kind, encoder, collection, 150 if asked.quick else None)
    show(rows, asked.json)


if __name__ == "__main__":
    main()
