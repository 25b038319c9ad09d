"""The split: what never stands on both sides."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from gradir.data import read_qrels
from gradir.data.manifest import read_manifest
from gradir.mine import split
from gradir.mine.split_stage import connected, drawn
from tests.mine.conftest import Folder

judgements = st.dictionaries(
    st.sampled_from([f"q{i}" for i in range(12)]),
    st.dictionaries(st.sampled_from([f"d{i}" for i in range(12)]), st.integers(0, 3), min_size=1, max_size=3),
    min_size=1,
)


@settings(deadline=None)
@given(judgements, st.integers(1, 3))
def test_groups_are_what_common_documents_connect(judged: dict[str, dict[str, int]], grade: int) -> None:
    def reached(start: str) -> frozenset[str]:
        found, new = {start}, [start]
        while new:
            docs = {docid for docid, g in judged[new.pop()].items() if g >= grade}
            more = {q for q, of in judged.items() if q not in found and any(of.get(d, -1) >= grade for d in docs)}
            found |= more
            new += more
        return frozenset(found)

    groups = connected(judged, grade)
    assert {frozenset(group) for group in groups} == {reached(qid) for qid in judged}
    assert sum(map(len, groups)) == len(judged)


@given(st.lists(st.integers(1, 6), min_size=2, max_size=20), st.floats(0.01, 0.99), st.integers(0, 5))
def test_whole_groups_up_to_the_share(sizes: list[int], share: float, seed: int) -> None:
    bounds = [0]
    for size in sizes:
        bounds.append(bounds[-1] + size)
    groups = [[f"q{i}" for i in range(a, b)] for a, b in pairwise(bounds)]
    dev = drawn(groups, share, seed)
    assert all(set(group) <= dev or not set(group) & dev for group in groups)
    wanted = min(max(round(share * bounds[-1]), 1), bounds[-1] - 1)
    left = [len(group) for group in groups if not set(group) <= dev]
    assert len(dev) <= wanted
    assert not left or len(dev) + min(left) > wanted  # no further group had room
    assert dev == drawn(groups[::-1], share, seed)


def test_files_of_a_split(folder: Folder) -> None:
    judged = {f"q{i}": {f"d{i // 2}": 2 + i % 2, "common": 1, f"x{i}": 0} for i in range(40)}
    outcome = split(str(folder.qrels(judged)), folder.path / "split", share=0.25)
    train, dev = (read_qrels(folder.path / "split" / f"{name}.tsv") for name in ("train", "dev"))
    assert {**train, **dev} == judged
    assert (len(train), len(dev)) == (30, 10)
    assert not {f"d{i // 2}" for i in range(40) if f"q{i}" in train} & {d for of in dev.values() for d in of}
    assert list(train) == [qid for qid in judged if qid in train]
    assert "--qrels" in outcome.next_command
    assert "nothing to do" in split(str(folder.path / "qrels.tsv"), folder.path / "split", share=0.25).message
    again, other = folder.path / "again", folder.path / "other"
    split(str(folder.path / "qrels.tsv"), again, share=0.25)
    split(str(folder.path / "qrels.tsv"), other, share=0.25, seed=1)
    assert (again / "dev.tsv").read_bytes() == (folder.path / "split" / "dev.tsv").read_bytes()
    assert (other / "dev.tsv").read_bytes() != (again / "dev.tsv").read_bytes()
    assert read_manifest(again)["counts"]["grade"] == 2


def test_the_highest_grade_counts_where_all_are_below_2(folder: Folder) -> None:
    judged = {f"q{i}": {f"d{i // 2}": 1} for i in range(10)}
    split(str(folder.qrels(judged)), folder.path / "split", share=0.4)
    assert read_manifest(folder.path / "split")["counts"] == {
        "train_queries": 6,
        "dev_queries": 4,
        "groups": 5,
        "largest_group": 2,
        "grade": 1,
    }


def test_what_cannot_be_split(folder: Folder, raises_error: Any) -> None:
    with raises_error("--share 1.5 does not lie between 0 and 1"):
        split("qrels", folder.path / "out", share=1.5)
    linked = {f"q{i}": {"d": 3} for i in range(5)}
    with raises_error("no group of queries", "the smallest has 5 of 5"):
        split(str(folder.qrels(linked)), folder.path / "out", share=0.3)
    with raises_error("the smallest has 1 of 1"):
        split(str(folder.qrels({"q": {"d": 3}})), folder.path / "out")
    assert not (folder.path / "out").exists()
