"""The optional engine finds what brute force finds, where it looks at everything."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradir import search
from gradir.data.vectors import SparseVectors, write_part, write_vocab
from gradir.errors import GradirError, MissingDependency
from gradir.search.searchers import open_searcher

INSTALLED = importlib.util.find_spec("seismic") is not None


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Two hundred documents with ties, some without a term."""
    rng = np.random.default_rng(0)
    matrix = rng.integers(1, 4, (200, 40)) * (rng.random((200, 40)) < 0.2)
    matrix[::20] = 0
    rows, terms = np.nonzero(matrix)
    indptr = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=200))])
    write_vocab(tmp_path / "v", [f"t{number}" for number in range(40)])
    vectors = SparseVectors(indptr, terms.astype(np.int32), matrix[rows, terms].astype(np.int32))
    write_part(tmp_path / "v", 0, [f"d{number}" for number in rng.permutation(200)], vectors, {"kind": "splade"})
    return tmp_path / "v"


@pytest.mark.skipif(not INSTALLED, reason="pyseismic-lsr is not installed (pip install 'gradir[seismic]')")
def test_few_documents_are_all_found(shards: Path, capfd: Any) -> None:
    vocab = ["unknown", *(f"t{number}" for number in range(40))]
    rng = np.random.default_rng(1)
    sizes = [5, 0, 40, 1, 7, 9, 3, 2]
    terms = np.concatenate([np.sort(rng.permutation(41)[:size]) for size in sizes] + [[0]]).astype(np.int32)
    indptr = np.cumsum([0, *sizes, 1])
    asked = SparseVectors(indptr, terms, rng.integers(1, 3, len(terms)).astype(np.int32))
    found = open_searcher("seismic", shards, vocab, 2).search(asked, 300)
    assert capfd.readouterr().out == ""
    wanted = open_searcher("exact", shards, vocab).search(asked, 300)
    assert [ranking.hits() for ranking in found] == [ranking.hits() for ranking in wanted]
    assert not found[1].docids
    assert not found[-1].docids


def test_it_is_asked_for_where_it_is_not_installed(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "seismic", None)
    (tmp_path / "topics.tsv").write_text("q\tt1 t2\n")
    given: Any = {"encoded_topics": str(tmp_path / "topics.tsv"), "engine": "seismic", "force": True}
    with pytest.raises(MissingDependency, match=r"--engine seismic needs pyseismic-lsr.*gradir\[seismic\]"):
        search.run(shards, output=tmp_path / "run.trec", **given)


def test_dense_shards_are_refused(tmp_path: Path) -> None:
    write_part(tmp_path / "v", 0, ["d"], np.ones((1, 3), np.float32), {"kind": "dense"})
    with pytest.raises(GradirError, match="use --engine exact"):
        search.run(tmp_path / "v", "topics", tmp_path / "run.trec", engine="seismic")
