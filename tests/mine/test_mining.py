"""How many queries are mined together does not show."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gradir.data import Qrel, Query, run_writer, write_qrels, write_topics
from gradir.data.records import GradedList, Ranking
from gradir.mine import mining
from gradir.mine.choose import Rules
from gradir.mine.tally import Tally

QUERIES, HITS = 12, 20


@pytest.fixture
def sources(tmp_path: Path) -> mining.Sources:
    """Two runs and a teacher; each lacks some queries, and some of the positives."""
    draw = np.random.default_rng(5)
    paths = [tmp_path / f"{name}.trec" for name in ("a", "b", "teacher")]
    for number, path in enumerate(paths):
        with run_writer(path, "t") as writer:
            for i in range(QUERIES):
                if i % 5 != number:
                    docids = [f"d{j}" for j in draw.permutation(30)[:HITS]]
                    writer.write_ranking(f"q{i}", Ranking(docids, np.sort(draw.normal(size=HITS))[::-1]))
    write_qrels(
        tmp_path / "qrels.tsv", (Qrel(f"q{i}", f"d{j}", j % 3) for i in range(QUERIES) for j in range(i, i + 4))
    )
    write_topics(tmp_path / "topics.tsv", (Query(f"q{i}", f"query {i}") for i in range(QUERIES)))
    return mining.Sources(paths[:2], str(tmp_path / "qrels.tsv"), str(tmp_path / "topics.tsv"), paths[2])


@pytest.mark.parametrize("taught", [False, True])
def test_blocks_do_not_show(sources: mining.Sources, taught: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not taught:
        sources = mining.Sources(sources.runs, sources.qrels, sources.topics)

    def found(hits: int) -> tuple[list[GradedList], dict[str, object]]:
        monkeypatch.setattr(mining, "_HITS", hits)
        tally = Tally(sources.names(), 4, taught)
        lists = list(mining.graded_lists(sources, Rules(k=4, first=2, last=15), tally))
        return lists, tally.counts()

    alone = found(1)
    assert len(alone[0]) > 3
    assert found(HITS * 5) == alone
    assert found(1 << 16) == alone


def test_a_block_is_full_when_its_hits_are(sources: mining.Sources, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mining, "_HITS", 100)
    asked = mining.Mining(sources, Rules(), Tally(sources.names(), 8, True)).questions()
    hits = [
        [sum(len(run.scores) for run in (*one.runs, one.teacher) if run is not None) for one in block]
        for block in mining.blocks(asked)
    ]
    assert sum(map(len, hits)) == QUERIES
    assert all(sum(block) >= 100 > sum(block[:-1]) for block in hits[:-1])
