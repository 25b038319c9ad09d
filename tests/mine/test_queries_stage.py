"""`gradir mine queries`: what a corpus asks by itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gradir.data.manifest import read_manifest
from gradir.data.qrels import read_qrels
from gradir.data.topics import read_topics
from gradir.errors import GradirError, InputError
from gradir.mine.queries_stage import queries

TEXTS = {
    "d1": ("A wing", "The spar of a wing carries its load. Ribs give it shape. So they do."),
    "d2": ("Wings of birds at rest", "Too short."),
    "d3": ("A wing", "The  spar of a wing\ncarries its LOAD. No."),
    "d4": ("", "Feathers are renewed every year or so. Old ones fall out before the winter comes."),
}


@pytest.fixture
def corpus(tmp_path: Path) -> str:
    path = tmp_path / "corpus.jsonl"
    rows = ({"_id": docid, "title": title, "text": text} for docid, (title, text) in TEXTS.items())
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def test_a_sentence_of_each_document_that_has_one(corpus: str, tmp_path: Path) -> None:
    outcome = queries(corpus, tmp_path / "out")
    asked = {query.qid: query.text for query in read_topics(tmp_path / "out")}
    assert asked["d1-s"] in ("The spar of a wing carries its load.", "Ribs give it shape.")
    assert asked["d1-s"] == "The spar of a wing carries its load."  # the only one of five words
    assert asked["d4-s"] in TEXTS["d4"][1]
    assert list(asked) == ["d1-s", "d4-s"]  # d3 asks what d1 has asked
    assert read_qrels(tmp_path / "out" / "qrels" / "train.tsv") == {"d1-s": {"d1": 1}, "d4-s": {"d4": 1}}
    assert read_manifest(tmp_path / "out")["counts"] == {"queries": 2, "without": 1, "repeated": 1}
    assert "2 queries; 1 documents without one, 1 asked before" in outcome.message
    assert "nothing to do" in queries(corpus, tmp_path / "out").message


def test_titles_and_bounds(corpus: str, tmp_path: Path) -> None:
    queries(corpus, tmp_path / "out", kind="title", min_words=1, max_words=4)
    assert [tuple(query) for query in read_topics(tmp_path / "out")] == [("d1-t", "A wing")]
    with pytest.raises(InputError, match="no document has a title of 7 to 8 words"):
        queries(corpus, tmp_path / "none", kind="title", min_words=7, max_words=8)
    assert not (tmp_path / "none").exists()
    with pytest.raises(GradirError, match="--min-words 5 and --max-words 4"):
        queries(corpus, tmp_path / "none", max_words=4)


def test_the_draw_is_that_of_the_seed_and_the_document(corpus: str, tmp_path: Path) -> None:
    def drawn(name: str, source: str, **flags: int) -> dict[str, str]:
        queries(source, tmp_path / name, min_words=2, **flags)
        return {query.qid: query.text for query in read_topics(tmp_path / name)}

    backwards = tmp_path / "backwards.jsonl"
    backwards.write_text("".join(reversed(Path(corpus).read_text("utf-8").splitlines(keepends=True))), "utf-8")
    seeds = [drawn(f"s{seed}", corpus, seed=seed) for seed in range(8)]
    assert drawn("again", corpus, seed=3) == seeds[3]
    turned = drawn("turned", str(backwards), seed=3)
    assert {qid: turned[qid] for qid in ("d2-s", "d4-s")} == {qid: seeds[3][qid] for qid in ("d2-s", "d4-s")}
    assert len({one["d4-s"] for one in seeds}) == 2
