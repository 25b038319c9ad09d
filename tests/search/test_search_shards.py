"""Several indexes as shards of one collection: one run, as if there were a single index."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradir import index, search
from gradir.data.records import Ranking
from gradir.data.vectors import read_part, write_part
from gradir.errors import GradirError
from gradir.search.shards import merge, search_shards

CPU: dict[str, Any] = {"device": "cpu", "dtype": "float32"}


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory, indexed: Callable[[str], Path]) -> Callable[[str], list[Path]]:
    """The index of a type in three shards; the documents are dealt out, so that ties fall across them."""
    root = tmp_path_factory.mktemp("shards")

    def make(type: Any) -> list[Path]:
        whole = indexed(type)
        folders = [root / f"{type}-{number}" for number in range(3)]
        if folders[0].exists():
            return folders
        source = whole.parent / f"vectors-{'sparse' if type == 'impact' else 'dense'}"
        docids, vectors = read_part(source / "part-00000.parquet")
        metadata = json.loads((whole / "manifest.json").read_text())["config"]["encoder"]
        for number, folder in enumerate(folders):
            rows = np.arange(number, len(docids), 3)
            part = vectors.take(rows) if type == "impact" else vectors[rows]  # type: ignore[union-attr]
            write_part(root / f"vectors-{type}-{number}", 0, [docids[row] for row in rows], part, metadata)
            if type == "impact":
                shutil.copy(source / "vocab.txt", root / f"vectors-{type}-{number}")
            index.run(root / f"vectors-{type}-{number}", folder, type)
        return folders

    return make


@pytest.mark.parametrize("options", [{"hits": 5}, {"hits": 1000, "batch_size": 4, "remove_query": True}])
@pytest.mark.parametrize("type", ["impact", "flat"])
def test_the_run_is_that_of_a_single_index(
    type: str,
    options: dict[str, Any],
    shards: Any,
    indexed: Any,
    splade: Path,
    minilm: str,
    documents: Any,
    read: Any,
    tmp_path: Path,
) -> None:
    encoder = str(splade) if type == "impact" else minilm
    topics = tmp_path / "topics.tsv"
    topics.write_text("".join(f"{document.docid}\t{document.text}\n" for document in documents[:9]))
    search.run(indexed(type), str(topics), tmp_path / "one", encoder, **options, **CPU)
    outcome = search.run(shards(type), str(topics), tmp_path / "many", encoder, **options, **CPU)
    one, many = read(tmp_path / "one"), read(tmp_path / "many")
    assert "9 queries" in outcome.message
    assert list(many) == list(one)
    for qid, hits in one.items():
        if type == "impact":
            assert many[qid] == hits
        else:  # FAISS adds in blocks, which differ: equal vectors may come in another order
            np.testing.assert_allclose([s for _, s in many[qid]], [s for _, s in hits], atol=1e-5)
    config = json.loads((tmp_path / "many.manifest.json").read_text())["config"]
    assert [one["type"] for one in config["index"]] == [type] * 3


def test_shards_searched_exactly(shards: Any, indexed: Any, splade: Path, collection: Path, tmp_path: Path) -> None:
    folders = [folder.parent / f"vectors-{folder.name}" for folder in shards("impact")]
    given: dict[str, Any] = {"encoder": str(splade), "hits": 7, "tag": "t", **CPU}
    search.run(folders, str(collection), tmp_path / "many", engine="exact", **given)
    search.run(indexed("impact"), str(collection), tmp_path / "one", **given)
    assert (tmp_path / "many").read_bytes() == (tmp_path / "one").read_bytes()


def test_what_are_no_shards(
    shards: Any, indexed: Any, splade: Path, minilm: str, collection: Path, tmp_path: Path
) -> None:
    given: tuple[Any, ...] = (str(collection), tmp_path / "run.trec")
    with pytest.raises(GradirError, match=r"scores of bm25 depend on the statistics"):
        search.run([indexed("bm25"), indexed("bm25")], *given)
    with pytest.raises(GradirError, match=r"has type 'flat', .* 'hnsw'"):
        search.run([indexed("flat"), indexed("hnsw")], *given, minilm)
    first, second, _ = shards("impact")
    with pytest.raises(GradirError, match="given twice"):
        search.run([first, second, first], *given, str(splade))
    other = tmp_path / "other"
    shutil.copytree(second, other)
    manifest = json.loads((other / "manifest.json").read_text())
    manifest["config"]["encoder"]["impact_scale"] = 100.0
    (other / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(GradirError, match=r"impact_scale: index 51\.2, this shard 100\.0"):
        search.run([first, other], *given, str(splade))
    with pytest.raises(GradirError, match="--latency is measured on one --index"):
        search.run([first, second], *given, str(splade), latency=True)
    assert not (tmp_path / "run.trec").exists()


def test_shards_made_by_number(indexed: Any, splade: Path, collection: Path, read: Any, tmp_path: Path) -> None:
    source = indexed("impact").parent / "vectors-sparse"
    folders = [tmp_path / name for name in ("zero", "one", "two")]
    for number, folder in enumerate(folders):
        index.run(source, folder, "impact", shard_id=number, shard_num=3)
    given: dict[str, Any] = {"encoder": str(splade), **CPU}
    search.run(folders, str(collection), tmp_path / "many", **given)
    search.run(indexed("impact"), str(collection), tmp_path / "one-index", **given)
    assert read(tmp_path / "many") == read(tmp_path / "one-index")
    with pytest.raises(GradirError, match="shard 1 is missing"):
        search.run([folders[0], folders[2]], str(collection), tmp_path / "run.trec", **given)
    index.run(source, tmp_path / "again", "impact", shard_id=0, shard_num=3)
    with pytest.raises(GradirError, match="two of them are the same shard"):
        search.run([*folders, tmp_path / "again"], str(collection), tmp_path / "run.trec", **given)
    index.run(source, tmp_path / "pruned", "impact", shard_id=2, shard_num=3, top_k=2)
    with pytest.raises(GradirError, match=r"has top_k None, .*pruned 2"):
        search.run([*folders[:2], tmp_path / "pruned"], str(collection), tmp_path / "run.trec", **given)


def test_a_document_in_two_shards(shards: Any, indexed: Any, splade: Path, collection: Path, tmp_path: Path) -> None:
    first, *_ = shards("impact")
    with pytest.raises(GradirError, match=rf"stands in {first} and in {indexed('impact')}: they are no shards"):
        search.run([first, indexed("impact")], str(collection), tmp_path / "run.trec", str(splade), **CPU)
    assert not (tmp_path / "run.trec").exists()


def test_merging_keeps_the_best_and_orders_ties_by_id() -> None:
    parts = [
        Ranking(["c", "a"], np.array([2.0, 1.0])),
        Ranking([], np.zeros(0)),
        Ranking(["b", "d"], np.array([2.0, 1.0])),
    ]
    folders = [Path(name) for name in "xyz"]
    assert merge(parts, 3, folders).hits() == [("b", 2.0), ("c", 2.0), ("a", 1.0)]
    assert merge(parts, 9, folders).docids == ["b", "c", "a", "d"]
    assert merge([parts[1], parts[1]], 9, folders).docids == []


def test_rankings_come_back_from_where_they_wait() -> None:
    rng = np.random.default_rng(0)

    def search(shard: int) -> Any:
        for batch in (3, 1):
            yield [Ranking([f"é{shard}-{i}" for i in range(q)], -np.sort(rng.random(q))) for q in range(batch)]

    batches = list(search_shards([Path("a"), Path("b")], search, 10))
    assert [len(batch) for batch in batches] == [3, 1]
    found = [ranking for batch in batches for ranking in batch]
    assert [len(ranking.docids) for ranking in found] == [0, 2, 4, 0]
    assert found[1].docids in (["é0-0", "é1-0"], ["é1-0", "é0-0"])
