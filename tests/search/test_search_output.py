"""What becomes of rankings on their way to the file, held against Pyserini's own writers."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradir import search
from gradir.data.records import Ranking
from gradir.errors import GradirError
from gradir.search.output import Keep, open_writer


def ranking(hits: dict[str, float]) -> Ranking:
    ordered = sorted(hits.items(), key=lambda hit: (-hit[1], hit[0]))
    return Ranking([docid for docid, _ in ordered], np.array([score for _, score in ordered], np.float32))


PASSAGES = st.dictionaries(
    st.builds(
        "{}{}{}".format, st.sampled_from(["a", "a-b", "a!b", "b"]), st.sampled_from(["", "#", "##"]), st.integers(0, 4)
    ),
    st.integers(1, 3),
    max_size=30,
)


@settings(max_examples=200, deadline=None)
@given(PASSAGES, st.integers(1, 4), st.integers(1, 30))
def test_documents_are_those_of_pyserini(passages: dict[str, float], documents: int, hits: int) -> None:
    from gradir import jvm

    jvm.ensure()
    from pyserini.output_writer import OutputFormat, get_output_writer

    given = ranking(passages)
    theirs = get_output_writer(
        "unused", OutputFormat.TREC, use_max_passage=True, max_passage_delimiter="#", max_passage_hits=10**6
    )
    rows = [SimpleNamespace(docid=docid, score=score) for docid, score in given.hits()[:hits]]
    wanted = {docid: score for docid, _, score, _ in theirs.hits_iterator(rows)}
    found = Keep(hits, delimiter="#", documents=documents)("q", given)
    assert found.hits() == ranking(wanted).hits()[:documents]


def test_the_query_is_removed_before_the_cut_and_as_a_document() -> None:
    given = ranking({"7": 9, "07": 8, "7#1": 7, "8": 6, "9": 5})
    assert Keep(3, remove_query=True)("7", given).docids == ["07", "7#1", "8"]
    assert Keep(3, remove_query=True).asked == 4
    assert Keep(9, remove_query=True, delimiter="#")("7", given).docids == ["07", "8", "9"]
    whole = Keep(5)("7", given)
    assert whole is given  # the usual case costs nothing


def test_msmarco_form(tmp_path: Path) -> None:
    with open_writer(tmp_path / "run.tsv", "msmarco", "tag") as writer:
        writer.write_ranking("3", ranking({"b": 1, "a": 1, "c": 2}))
        writer.write_ranking("none", ranking({}))
        assert (writer.queries, writer.lines) == (2, 3)
        assert not (tmp_path / "run.tsv").exists()
    assert (tmp_path / "run.tsv").read_text() == "3\tc\t1\n3\ta\t2\n3\tb\t3\n"
    with pytest.raises(GradirError, match="white space"), open_writer(tmp_path / "other", "msmarco", "tag") as writer:
        writer.write_ranking("3", ranking({"a b": 1}))
    assert not (tmp_path / "other").exists()


def test_both_forms_hold_the_same_hits(indexed: Any, collection: Path, read: Any, tmp_path: Path) -> None:
    search.run(indexed("bm25"), str(collection), tmp_path / "run.trec")
    outcome = search.run(indexed("bm25"), str(collection), tmp_path / "run.tsv", output_format="msmarco")
    lines = [line.split("\t") for line in (tmp_path / "run.tsv").read_text().splitlines()]
    flat = [(qid, docid) for qid, hits in read(tmp_path / "run.trec").items() for docid, _ in hits]
    assert [(qid, docid) for qid, docid, _ in lines] == flat
    assert outcome.next_command == f"gradir pyserini eval.msmarco_passage_eval QRELS {tmp_path / 'run.tsv'}"


def test_max_passage_as_a_flag(tmp_path: Path) -> None:
    from gradir import index
    from gradir.data.corpus import write_corpus
    from gradir.data.records import Document

    texts = {"a#0": "wing", "a#1": "wing wing", "b#0": "wing lift", "b#1": "flow", "c": "wing drag drag drag drag"}
    write_corpus(tmp_path / "corpus.jsonl", [Document(docid, text) for docid, text in texts.items()])
    (tmp_path / "topics.tsv").write_text("q\twing\nb\twing\n")
    index.run(tmp_path / "corpus.jsonl", tmp_path / "index", "bm25")
    given: dict[str, Any] = {"max_passage": True, "max_passage_hits": 2, "output_format": "msmarco"}
    search.run(tmp_path / "index", str(tmp_path / "topics.tsv"), tmp_path / "run", remove_query=True, **given)
    assert (tmp_path / "run").read_text() == "q\ta\t1\nq\tb\t2\nb\ta\t1\nb\tc\t2\n"
