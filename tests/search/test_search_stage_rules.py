"""`gradir search` as a stage: what it keeps, refuses, and records."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from gradir import search
from gradir.errors import GradirError

CPU: dict[str, Any] = {"device": "cpu", "dtype": "float32"}


def test_numeric_ids_order_and_queries_without_hits(indexed: Any, read: Any, tmp_path: Path) -> None:
    topics, out = tmp_path / "topics.tsv", tmp_path / "run.trec"
    topics.write_text("10\twing\n007\tunknownword\n7\tdrag\n2\t\n1\tdrag\n")
    outcome = search.run(indexed("bm25"), str(topics), out)
    found = read(out)
    assert list(found) == ["10", "7", "1"]
    assert found["7"] == found["1"]
    assert "5 queries" in outcome.message
    assert outcome.next_command == f"gradir evaluate --qrels QRELS --run {out}"


def test_only_judged_queries(indexed: Any, collection: Path, read: Any, tmp_path: Path) -> None:
    out, qrels = tmp_path / "run.trec", collection / "qrels" / "test.tsv"
    outcome = search.run(indexed("bm25"), str(collection), out, qrels=str(qrels))
    assert list(read(out)) == ["007", "x"]
    assert outcome.next_command == f"gradir evaluate --qrels {qrels} --run {out}"


def test_qrels_of_other_topics(indexed: Any, collection: Path, tmp_path: Path) -> None:
    (tmp_path / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\nother\td1\t1\n")
    with pytest.raises(GradirError, match="none of the topics is judged"):
        search.run(indexed("bm25"), str(collection), tmp_path / "run.trec", qrels=str(tmp_path / "qrels.tsv"))
    assert not (tmp_path / "run.trec").exists()


@pytest.mark.parametrize(("type", "hits"), [("bm25", 3), ("impact", 4), ("flat", 4), ("flat", 100)])
def test_the_query_itself_is_removed_and_hits_stay(
    type: str, hits: int, indexed: Any, splade: Path, minilm: str, read: Any, documents: Any, tmp_path: Path
) -> None:
    encoder = {"bm25": None, "impact": str(splade), "flat": minilm}[type]
    topics = tmp_path / "topics.tsv"
    topics.write_text("".join(f"{document.docid}\t{document.text}\n" for document in documents[:8]))
    given = {"encoder": encoder, "hits": hits, **CPU}
    search.run(indexed(type), str(topics), tmp_path / "all", **given)
    search.run(indexed(type), str(topics), tmp_path / "others", remove_query=True, **given)
    everything, others = read(tmp_path / "all"), read(tmp_path / "others")
    assert any(qid in dict(hits) for qid, hits in everything.items())
    for qid, found in others.items():
        assert qid not in dict(found)
        assert len(found) == min(hits, 49) if type == "flat" else len(found) <= hits
    assert type == "flat" or any(len(found) == hits for found in others.values())


def test_ties_are_written_falling_in_the_order_of_ids(indexed: Any, documents: Any, read: Any, tmp_path: Path) -> None:
    (tmp_path / "topics.tsv").write_text(f"q\t{documents[1].text}\n")
    search.run(indexed("bm25"), str(tmp_path / "topics.tsv"), tmp_path / "run.trec")
    found = [docid for docid, _ in read(tmp_path / "run.trec")["q"]]  # `read` checks that scores fall
    assert found.index("twin1") == found.index("d1") + 1


def test_the_run_is_made_once_and_other_work_refused(indexed: Any, collection: Path, tmp_path: Path) -> None:
    out = tmp_path / "run.trec"
    search.run(indexed("bm25"), str(collection), out)
    before = out.read_bytes(), out.stat().st_mtime_ns
    assert "nothing to do" in search.run(indexed("bm25"), str(collection), out).message
    with pytest.raises(GradirError, match=r"hits: 1000 -> 5[\s\S]*--overwrite"):
        search.run(indexed("bm25"), str(collection), out, hits=5)
    assert (out.read_bytes(), out.stat().st_mtime_ns) == before
    search.run(indexed("bm25"), str(collection), out, hits=5, overwrite=True)
    assert out.read_bytes() != before[0]


def test_tag_and_manifest(indexed: Any, collection: Path, splade: Path, tmp_path: Path) -> None:
    tags = []
    for name, hits in (("a", 10), ("b", 10), ("c", 9)):
        search.run(indexed("impact"), str(collection), tmp_path / name, str(splade), hits=hits, **CPU)
        tags.append((tmp_path / name).read_text().split()[5])
    assert tags[0] == tags[1] != tags[2]
    assert tags[0].startswith("gradir.tiny-splade.")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    manifest = json.loads((tmp_path / "a.manifest.json").read_text())
    assert manifest["counts"]["queries"] == 6
    assert manifest["measured"]["queries_per_second"] > 0
    assert manifest["config"]["encoder"]["impact_scale"] == 51.2
    search.run(indexed("bm25"), str(collection), tmp_path / "d", tag="mine")
    assert (tmp_path / "d").read_text().split()[5] == "mine"


def test_no_encoder_where_one_is_needed_and_one_where_none_is(
    indexed: Any, collection: Path, splade: Path, tmp_path: Path
) -> None:
    for type in ("impact", "flat"):
        with pytest.raises(GradirError, match=f"of type {type}: give the --encoder"):
            search.run(indexed(type), str(collection), tmp_path / "run.trec")
    with pytest.raises(GradirError, match="takes no --encoder"):
        search.run(indexed("bm25"), str(collection), tmp_path / "run.trec", str(splade))


def altered(splade: Path, folder: Path, **changes: Any) -> str:
    """A copy of the encoder with other settings."""
    shutil.copytree(splade, folder)
    config = json.loads((folder / "gradir.json").read_text()) | changes
    (folder / "gradir.json").write_text(json.dumps(config))
    return str(folder)


def test_another_encoder_is_refused_with_the_differences(
    indexed: Any, collection: Path, splade: Path, read: Any, tmp_path: Path
) -> None:
    given = (indexed("impact"), str(collection), tmp_path / "run.trec")
    other = altered(splade, tmp_path / "scaled", impact_scale=100.0)
    with pytest.raises(GradirError, match=r"impact_scale: index 51\.2, .* 100\.0[\s\S]*--force"):
        search.run(*given, other, **CPU)
    kept = altered(splade, tmp_path / "kept", special_tokens="keep")
    with pytest.raises(GradirError, match=r"special_tokens: index 'drop', .* 'keep'"):
        search.run(*given, kept, **CPU)
    words = Path(altered(splade, tmp_path / "words"))
    settings = json.loads((words / "tokenizer.json").read_text())
    vocab = settings["model"]["vocab"]
    vocab["wing"], vocab["heat"] = vocab["heat"], vocab["wing"]
    (words / "tokenizer.json").write_text(json.dumps(settings))
    with pytest.raises(GradirError, match="tokenizer_sha256"):
        search.run(*given, str(words), **CPU)
    outcome = search.run(*given, other, force=True, **CPU)
    assert outcome.message.startswith("warning: ")
    assert "impact_scale: index 51.2" in outcome.message
    assert read(tmp_path / "run.trec")
    # shorter queries are the user's choice
    search.run(indexed("impact"), str(collection), tmp_path / "short.trec", str(splade), max_length=3, **CPU)


def test_a_dense_encoder_of_another_size_even_with_force(
    indexed: Any, collection: Path, splade: Path, tmp_path: Path
) -> None:
    dense = altered(splade, tmp_path / "small", kind="dense", pooling="mean")
    with pytest.raises(GradirError, match="weights_sha256"):
        search.run(indexed("flat"), str(collection), tmp_path / "run.trec", dense, **CPU)
    with pytest.raises(GradirError, match="vectors of 384 numbers, those of the queries have 32"):
        search.run(indexed("flat"), str(collection), tmp_path / "run.trec", dense, force=True, **CPU)


def test_nothing_found_is_an_error(indexed: Any, tmp_path: Path) -> None:
    (tmp_path / "topics.tsv").write_text("q\tunknownword\n")
    with pytest.raises(GradirError, match="no query found anything"):
        search.run(indexed("bm25"), str(tmp_path / "topics.tsv"), tmp_path / "run.trec")
    assert [path.name for path in tmp_path.iterdir()] == ["topics.tsv"]


@pytest.mark.parametrize("wrong", [{"hits": 0}, {"batch_size": -1}, {"threads": 0}, {"max_length": 0}])
def test_numbers_that_cannot_be(wrong: dict[str, int], indexed: Any, collection: Path, tmp_path: Path) -> None:
    with pytest.raises(GradirError, match=f"--{next(iter(wrong)).replace('_', '-')} must be 1 or more"):
        search.run(indexed("bm25"), str(collection), tmp_path / "run.trec", **wrong)  # type: ignore[arg-type]


def test_the_index_is_never_overwritten_by_a_run(indexed: Any, collection: Path, tmp_path: Path) -> None:
    shutil.copytree(indexed("bm25"), tmp_path / "index")
    with pytest.raises(GradirError, match="is a folder"):
        search.run(tmp_path / "index", str(collection), tmp_path / "index", overwrite=True)
    assert (tmp_path / "index" / "manifest.json").exists()
