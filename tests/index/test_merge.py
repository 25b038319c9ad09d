"""Merged impact indexes hold what their parts hold, in order, and score as one index of all documents."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_impact_scores import collection
from test_impact_writers import check, contents, silent

from gradir.data.vectors import VectorShards
from gradir.errors import GradirError
from gradir.index import impact, merge
from gradir.index.source import Source


@pytest.fixture
def parts(sparse_shards: Any, tmp_path: Path) -> Any:
    """(index of everything, indexes of its three contiguous shards, queries)."""
    matrix, vocab, docids, queries = collection(11)
    shards = VectorShards(sparse_shards(matrix, vocab, docids, parts=2))
    (tmp_path / "all").mkdir()
    impact.write(Source(shards), tmp_path / "all", silent)
    folders = [tmp_path / f"shard{i}" for i in range(3)]
    for number, folder in enumerate(folders):
        folder.mkdir()
        impact.write(Source(shards, number, 3), folder, silent)
    return tmp_path / "all", folders, queries


def test_shards_merged_are_the_whole_index(parts: Any, tmp_path: Path) -> None:
    whole, folders, _ = parts
    (tmp_path / "merged").mkdir()
    counts = merge.write(folders, tmp_path / "merged")
    wanted = contents(whole)
    assert contents(tmp_path / "merged") == wanted
    assert counts["documents"] == wanted["documents"]
    assert (counts["terms"], counts["postings"]) == (wanted["contents sums"][0], wanted["contents sums"][2])
    assert counts["empty"] == wanted["documents"] - wanted["contents sums"][1] > 0
    check(tmp_path / "merged")


def test_segments_may_stay_apart(parts: Any, tmp_path: Path, impact_search: Any) -> None:
    whole, folders, queries = parts
    (tmp_path / "merged").mkdir()
    merge.write(folders, tmp_path / "merged", optimize=False)
    assert impact_search(tmp_path / "merged", queries, 1000) == impact_search(whole, queries, 1000)


def test_the_same_document_in_two_indexes(parts: Any, tmp_path: Path) -> None:
    whole, folders, _ = parts
    (tmp_path / "merged").mkdir()
    with pytest.raises(GradirError, match=r"shard0.*was used before"):
        merge.write([whole, folders[0]], tmp_path / "merged")


def test_a_part_that_is_no_index(parts: Any, tmp_path: Path) -> None:
    (tmp_path / "nothing").mkdir()
    with pytest.raises(GradirError, match="nothing: Lucene could not read"):
        merge.write([parts[0], tmp_path / "nothing"], tmp_path / "merged")
    assert np.all([not (tmp_path / "merged").exists()])
