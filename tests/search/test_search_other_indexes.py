"""Indexes that Pyserini made, and what is no index at all."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from gradir import search
from gradir.errors import GradirError

CPU: dict[str, Any] = {"device": "cpu", "dtype": "float32"}


@pytest.fixture
def bare(indexed: Any, tmp_path: Path) -> Any:
    """A copy of an index without its manifest: what Pyserini itself leaves."""

    def copy(type: str) -> Path:
        shutil.copytree(indexed(type), tmp_path / f"bare-{type}")
        (tmp_path / f"bare-{type}" / "manifest.json").unlink()
        return tmp_path / f"bare-{type}"

    return copy


@pytest.mark.parametrize("type", ["bm25", "impact", "flat", "hnsw"])
def test_an_index_without_a_manifest_gives_the_same_run(
    type: str, bare: Any, indexed: Any, collection: Path, splade: Path, minilm: str, read: Any, tmp_path: Path
) -> None:
    encoder = {"bm25": None, "impact": str(splade)}.get(type, minilm)
    search.run(indexed(type), str(collection), tmp_path / "with", encoder, **CPU)
    search.run(bare(type), str(collection), tmp_path / "without", encoder, **CPU)
    assert read(tmp_path / "with") == read(tmp_path / "without")


def test_an_impact_index_made_by_index_collection(
    bare: Any, indexed: Any, collection: Path, splade: Path, documents: Any, read: Any, tmp_path: Path
) -> None:
    import json

    from gradir.engine.encoder import Encoder
    from gradir.engine.query_encoders import to_dicts

    opened = Encoder.open(splade, **CPU)
    vectors = to_dicts(opened.encode([d.contents for d in documents]), opened.vocab())  # type: ignore[arg-type]
    (tmp_path / "json").mkdir()
    lines = [json.dumps({"id": d.docid, "contents": "", "vector": v}) for d, v in zip(documents, vectors, strict=True)]
    (tmp_path / "json" / "vectors.jsonl").write_text("\n".join(lines))
    search.run(indexed("impact"), str(collection), tmp_path / "ours", str(splade), **CPU)  # starts the JVM
    from jnius import autoclass

    flags = ["-collection", "JsonVectorCollection", "-input", str(tmp_path / "json"), "-index", str(tmp_path / "its")]
    flags += ["-generator", "DefaultLuceneDocumentGenerator", "-threads", "1", "-impact", "-pretokenized", "-quiet"]
    autoclass("io.anserini.index.IndexCollection").main(flags)
    search.run(tmp_path / "its", str(collection), tmp_path / "theirs", str(splade), **CPU)
    assert read(tmp_path / "ours") == read(tmp_path / "theirs")


def test_pyserinis_defaults_rule_where_nothing_is_recorded(
    bare: Any, collection: Path, splade: Path, tmp_path: Path
) -> None:
    import json

    search.run(bare("impact"), str(collection), tmp_path / "run.trec", str(splade), **CPU)
    used = json.loads((tmp_path / "run.trec.manifest.json").read_text())["config"]["encoder"]
    assert (used["impact_scale"], used["max_query_length"]) == (51.2, 256)  # the folder says 51.2 and 20


def test_an_index_without_a_manifest_is_known_by_its_content(
    bare: Any, indexed: Any, collection: Path, minilm: str, tmp_path: Path
) -> None:
    out, folder = tmp_path / "run.trec", bare("flat")
    search.run(folder, str(collection), out, minilm, **CPU)
    lines = (folder / "docid").read_text().splitlines()
    (folder / "docid").write_text("\n".join(reversed(lines)) + "\n")
    with pytest.raises(GradirError, match="another configuration"):
        search.run(folder, str(collection), out, minilm, **CPU)


def test_a_faiss_index_without_an_encoder(bare: Any, collection: Path, tmp_path: Path) -> None:
    with pytest.raises(GradirError, match="give the --encoder"):
        search.run(bare("flat"), str(collection), tmp_path / "run.trec")


@pytest.mark.parametrize("kept", ["", "manifest"])
def test_damaged_faiss_indexes(
    kept: str, bare: Any, indexed: Any, collection: Path, minilm: str, tmp_path: Path
) -> None:
    folder = bare("flat")
    if kept:
        shutil.copy(indexed("flat") / "manifest.json", folder)
    given = (folder, str(collection), tmp_path / "run.trec", minilm)
    whole, ids = (folder / "index").read_bytes(), (folder / "docid").read_text()
    for wrong in (ids + "more\n", ids.partition("\n")[2]):
        (folder / "docid").write_text(wrong)
        with pytest.raises(GradirError, match=r"another number of lines in its file `docid`"):
            search.run(*given, **CPU)
    (folder / "docid").write_text(ids)
    for length in (len(whole) // 2, 10, 0):
        (folder / "index").write_bytes(whole[:length])
        with pytest.raises(GradirError, match="is no whole FAISS index"):
            search.run(*given, **CPU)
    (folder / "docid").unlink()
    (folder / "index").write_bytes(whole)
    with pytest.raises(GradirError, match=r"whole FAISS index|neither a Lucene index"):
        search.run(*given, **CPU)
    assert not (tmp_path / "run.trec").exists()


@pytest.mark.parametrize("type", ["bm25", "impact"])
def test_damaged_lucene_indexes(type: str, indexed: Any, collection: Path, splade: Path, tmp_path: Path) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(indexed(type), folder)
    segment = next(folder.glob("segments_*"))
    whole = segment.read_bytes()
    given = (folder, str(collection), tmp_path / "run.trec", str(splade) if type == "impact" else None)
    segment.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(GradirError, match=r"Lucene could not (open|search) it"):
        search.run(*given, **CPU)
    segment.write_bytes(whole)
    next(folder.glob("_*.fdt")).unlink()
    with pytest.raises(GradirError, match=r"Lucene could not (open|search) it"):
        search.run(*given, **CPU)


def test_what_is_no_index(collection: Path, indexed: Any, splade: Path, tmp_path: Path) -> None:
    out = tmp_path / "run.trec"
    with pytest.raises(GradirError, match="no such folder"):
        search.run(tmp_path / "nowhere", str(collection), out)
    with pytest.raises(GradirError, match="neither a Lucene index"):
        search.run(collection, str(collection), out)
    indexed("impact")
    with pytest.raises(GradirError, match=r"was made by gradir encode, it is no index.*gradir index"):
        search.run(indexed("impact").parent / "vectors-sparse", str(collection), out, str(splade))
