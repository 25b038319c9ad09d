"""Queries by the name of a Pyserini class: the vectors are the class's, on our engine or on Pyserini's own."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gradir import jvm, search
from gradir.errors import GradirError


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, indexed: Callable[[str], Path]) -> Path:
    """A flat index as Pyserini writes it: nothing says what encoder it was made with."""
    folder = tmp_path_factory.mktemp("plain") / "flat"
    shutil.copytree(indexed("flat"), folder)
    (folder / "manifest.json").unlink()
    return folder


@pytest.mark.parametrize(
    "flags", [{"encoder_class": "auto", "pooling": "mean", "l2_norm": True}, {"encoder_class": "sentence"}]
)
def test_the_run_of_pyserinis_class(
    plain: Path, collection: Path, minilm: str, tmp_path: Path, read: Callable[[Path], Any], flags: dict[str, Any]
) -> None:
    given: Any = {"topics": str(collection), "encoder": minilm, "dtype": "float32", "hits": 20, "device": "cpu"}
    search.run(plain, output=tmp_path / "class.trec", **given, **flags)
    jvm.ensure()
    from pyserini.encode import AutoQueryEncoder
    from pyserini.search.faiss import FaissSearcher

    from gradir.data.topics import read_topics

    theirs = FaissSearcher(str(plain), AutoQueryEncoder(minilm, device="cpu", pooling="mean", l2_norm=True))
    found = read(tmp_path / "class.trec")
    for query in read_topics(collection / "queries.jsonl"):
        wanted = {hit.docid: float(hit.score) for hit in theirs.search(query.text, k=50)}
        assert len(found[query.qid]) == 20
        assert all(score == pytest.approx(wanted[docid], abs=1e-5) for docid, score in found[query.qid])


def test_splade_as_pyserini_has_it_keeps_special_tokens(
    indexed: Callable[[str], Path], collection: Path, splade: Path, tmp_path: Path
) -> None:
    given: Any = {"topics": str(collection), "encoder": str(splade), "output": tmp_path / "run.trec", "device": "cpu"}
    with pytest.raises(GradirError, match="special_tokens: index 'drop'"):
        search.run(indexed("impact"), encoder_class="splade", **given)
    outcome = search.run(indexed("impact"), encoder_class="splade", force=True, **given)
    assert "warning" in outcome.message


def test_no_such_class_and_one_that_does_not_fit(plain: Path, collection: Path, minilm: str, tmp_path: Path) -> None:
    given: Any = {"topics": str(collection), "encoder": minilm, "output": tmp_path / "run.trec", "device": "cpu"}
    with pytest.raises(GradirError, match=r"--encoder-class contriver: .*did you mean 'contriever'"):
        search.run(plain, encoder_class="contriver", **given)
    with pytest.raises(GradirError, match="could not open it as slim"):
        search.run(plain, encoder_class="slim", **given | {"encoder": str(tmp_path / "nothing")})


def test_what_the_class_is_told_decides_the_run(plain: Path, collection: Path, minilm: str, tmp_path: Path) -> None:
    given: Any = {"topics": str(collection), "encoder": minilm, "output": tmp_path / "run.trec", "device": "cpu"}
    search.run(plain, encoder_class="sentence", **given)
    with pytest.raises(GradirError, match=r"(?s)another configuration.*encoder"):
        search.run(plain, encoder_class="sentence", query_prefix="query:", **given)
    with pytest.raises(GradirError, match=r"belong to --encoder-class"):
        search.run(plain, l2_norm=True, **given)
