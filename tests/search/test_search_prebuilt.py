"""Names that Pyserini knows, offline: its cache holds what a download would have left there."""

from __future__ import annotations

import shutil
import urllib.request
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest

from gradir import search
from gradir.errors import GradirError

CPU: dict[str, Any] = {"device": "cpu", "dtype": "float32"}
NAMES = {
    "bm25": "beir-v1.0.0-scifact.flat",
    "impact": "beir-v1.0.0-scifact.splade-v3",
    "flat": "beir-v1.0.0-scifact.bge-base-en-v1.5",
}


@pytest.fixture
def cache(indexed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Put an index where Pyserini looks for the one of a name, as it would have downloaded it: without a manifest."""
    from gradir import jvm

    jvm.ensure()
    from pyserini import util

    monkeypatch.setenv("PYSERINI_CACHE", str(tmp_path / "cache"))
    tables = {"bm25": util.TF_INDEX_INFO, "impact": util.IMPACT_INDEX_INFO, "flat": util.FAISS_INDEX_INFO}

    def put(type: str) -> str:
        known = tables[type][NAMES[type]]
        stem = (known.get("filename") or known["urls"][0].split("/")[-1]).split(".tar.gz")[0]
        folder = tmp_path / "cache" / "indexes" / f"{stem}.{known['md5']}"
        shutil.copytree(indexed(type), folder)
        (folder / "manifest.json").unlink()
        return NAMES[type]

    return put


@pytest.mark.parametrize("type", ["bm25", "impact", "flat"])
def test_a_name_is_the_index_in_pyserinis_cache(
    type: str,
    cache: Any,
    indexed: Any,
    collection: Path,
    splade: Path,
    minilm: str,
    read: Any,
    tmp_path: Path,
    capfd: Any,
) -> None:
    encoder = {"bm25": None, "impact": str(splade)}.get(type, minilm)
    search.run(indexed(type), str(collection), tmp_path / "path.trec", encoder, **CPU)
    search.run(Path(cache(type)), str(collection), tmp_path / "name.trec", encoder, **CPU)
    assert read(tmp_path / "name.trec") == read(tmp_path / "path.trec")
    assert capfd.readouterr().out == ""


def test_a_name_tells_what_the_index_is(cache: Any, collection: Path, tmp_path: Path) -> None:
    """Its files do not: this one would pass for an index of words."""
    with pytest.raises(GradirError, match="is of type impact: give the --encoder"):
        search.run(Path(cache("impact")), str(collection), tmp_path / "run.trec")


def test_ms_marco_has_parameters_of_its_own(indexed: Any) -> None:
    from gradir.search.bm25 import Bm25Searcher

    plain, named = (Bm25Searcher(indexed("bm25"), 1, name) for name in (None, "msmarco-v1-passage"))
    assert str(plain.searcher.get_similarity().toString()) == "BM25(k1=0.9,b=0.4)"
    assert str(named.searcher.get_similarity().toString()) == "BM25(k1=0.82,b=0.68)"


def test_a_path_that_exists_comes_first(
    indexed: Any, collection: Path, read: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(indexed("bm25"), tmp_path / NAMES["impact"])
    monkeypatch.chdir(tmp_path)
    search.run(Path(NAMES["impact"]), str(collection), tmp_path / "run.trec")
    assert read(tmp_path / "run.trec")


def test_a_name_that_nobody_knows(collection: Path, tmp_path: Path) -> None:
    near = r"Pyserini knows no index of this name, did you mean 'beir-v1\.0\.0-scifact\.splade-v3'\?$"
    with pytest.raises(GradirError, match=near):
        search.run(Path("beir-v1.0.0-scifact.splade"), str(collection), tmp_path / "run.trec")


def test_no_network(collection: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise URLError("no network")

    monkeypatch.setenv("PYSERINI_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(urllib.request, "urlretrieve", fail)
    monkeypatch.setattr(urllib.request, "urlopen", fail)
    with pytest.raises(GradirError, match=r"Pyserini could not fetch this index .*Is the network there"):
        search.run(Path(NAMES["bm25"]), str(collection), tmp_path / "run.trec")
    assert capfd.readouterr().out == ""
