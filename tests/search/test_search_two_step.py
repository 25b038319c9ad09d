"""`gradir search --two-step` and `--tune`, and feedback from the forward index, as commands."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gradir import encode, index, search
from gradir.errors import GradirError


@pytest.fixture(scope="module")
def forward(tmp_path_factory: pytest.TempPathFactory, collection: Path, splade: Path) -> tuple[Path, Path]:
    """(vectors, impact index of three terms a document with a forward index beside it)."""
    root = tmp_path_factory.mktemp("forward")
    encode.run(str(splade), root / "vectors", str(collection), device="cpu", dtype="float32")
    index.run(root / "vectors", root / "index", "impact", top_k=3, forward=True)
    return root / "vectors", root / "index"


def test_all_candidates_give_the_run_of_an_exact_search(
    forward: tuple[Path, Path], collection: Path, splade: Path, tmp_path: Path, read: Callable[[Path], Any]
) -> None:
    vectors, short = forward
    given: Any = {"topics": str(collection), "encoder": str(splade), "dtype": "float32", "hits": 5}
    search.run(vectors, output=tmp_path / "exact.trec", engine="exact", **given)
    search.run(short, output=tmp_path / "two.trec", two_step=True, candidates=50, **given)
    search.run(short, output=tmp_path / "one.trec", **given)
    assert read(tmp_path / "two.trec") == read(tmp_path / "exact.trec")
    assert read(tmp_path / "one.trec") != read(tmp_path / "exact.trec")
    done = search.run(short, output=tmp_path / "two.trec", two_step=True, candidates=50, **given)
    assert "finished already" in done.message
    with pytest.raises(GradirError, match="two_step"):
        search.run(short, output=tmp_path / "two.trec", two_step=True, candidates=49, **given)


def test_tuning_recommends_flags_that_work(
    forward: tuple[Path, Path], collection: Path, splade: Path, tmp_path: Path
) -> None:
    qrels = collection / "qrels" / "test.tsv"
    given: Any = {"topics": str(collection), "encoder": str(splade), "dtype": "float32", "hits": 5}
    outcome = search.run(forward[1], qrels=str(qrels), tune=True, max_loss=1.0, measure="MRR@10", **given)
    assert outcome.text.startswith("exact: MRR@10")
    chosen = re.search(r"--two-step --query-terms (\d+) --candidates (\d+) --hits 5 ", outcome.next_command)
    assert chosen
    assert re.search(rf"^\* +({'all' if chosen[1] == '0' else chosen[1]}) +{chosen[2]} ", outcome.text, re.MULTILINE)
    terms, candidates = map(int, chosen.groups())
    search.run(
        forward[1], output=tmp_path / "run.trec", two_step=True, query_terms=terms, candidates=candidates, **given
    )
    assert (tmp_path / "run.trec").exists()


def test_what_cannot_be(
    forward: tuple[Path, Path], indexed: Callable[[str], Path], collection: Path, splade: Path, minilm: str
) -> None:
    given: Any = {"topics": str(collection), "encoder": str(splade), "output": Path("never.trec")}
    with pytest.raises(GradirError, match="--qrels"):
        search.run(forward[1], tune=True, **given)
    with pytest.raises(GradirError, match="--candidates 1 or more"):
        search.run(forward[1], two_step=True, candidates=0, **given)
    with pytest.raises(GradirError, match="--forward"):
        search.run(indexed("impact"), two_step=True, **given)
    with pytest.raises(GradirError, match="of type flat"):
        search.run(indexed("flat"), two_step=True, **given | {"encoder": minilm})


def test_feedback_takes_its_vectors_from_the_forward_index(
    forward: tuple[Path, Path], collection: Path, splade: Path, tmp_path: Path, indexed: Callable[[str], Path]
) -> None:
    vectors, short = forward
    given: Any = {"topics": str(collection), "encoder": str(splade), "dtype": "float32", "prf": "rocchio"}
    search.run(short, output=tmp_path / "forward.trec", tag="t", **given)
    search.run(short, output=tmp_path / "shards.trec", tag="t", prf_vectors=vectors, **given)
    assert (tmp_path / "forward.trec").read_text() == (tmp_path / "shards.trec").read_text()
    with pytest.raises(GradirError, match=r"--prf-vectors, or index with --forward"):
        search.run(indexed("impact"), output=tmp_path / "none.trec", **given)
