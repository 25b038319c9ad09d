from __future__ import annotations

import gzip
import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import pytrec_eval
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gradir.data import Hit, iter_run, read_run, run_reading, run_writer, run_writing, separate_ties
from gradir.data.records import Ranking
from gradir.data.runs import iter_rankings
from gradir.errors import InputError

ids = st.text("abcXYZ019-_.é", min_size=1, max_size=6)
near = st.sampled_from([0.0, 1.0, 7.5, 20.0, 300.0, 1e4, 1e8, 2.0**32, 2.0**33, 2.0**34, 1e15, 1e30])
scores = st.one_of(
    st.floats(-1e30, 1e30),
    st.floats(-2, 2),
    st.integers(-3, 3).map(float),
    st.builds(
        lambda base, steps, sign: sign * (base + steps * 1e-9), near, st.integers(-3, 3), st.sampled_from([1, -1])
    ),
    st.builds(lambda base, steps: base + steps * 1e-6, near, st.integers(-3, 3)),
)
hit_lists = st.lists(st.builds(Hit, ids, scores), min_size=1, max_size=12, unique_by=lambda hit: hit.docid)


def write(path: Path, run: dict[str, list[Hit]]) -> list[list[str]]:
    """Write a run; the columns of the file, read the plain way."""
    with run_writer(path, "tag") as writer:
        for qid, hits in run.items():
            writer.write(qid, hits)
    return [line.split(" ") for line in path.read_bytes().decode().split("\n")[:-1]]


def trec_order(written: list[tuple[str, float]]) -> list[str]:
    """trec_eval's order, the slow way: single precision, score descending, then docid descending by its bytes."""
    left, ordered = list(written), []
    while left:
        best = max(left, key=lambda one: (np.float32(one[1]), one[0].encode()))
        left.remove(best)
        ordered.append(best[0])
    return ordered


@settings(max_examples=400)
@given(hit_lists)
@example([Hit("a", 1e8), Hit("b", 1e8), Hit("c", 1e8)])
@example([Hit("a", 200.0), Hit("b", 200.0), Hit("c", 199.999999)])
@example([Hit("b", 2.0**33), Hit("a", 2.0**33), Hit("c", 2.0**33 - 1e-6)])
@example([Hit("b", -0.0), Hit("a", 0.0), Hit("c", -1e-9)])
@example([Hit("b", 1e-9), Hit("a", 0.0)])
def test_the_order_and_scores_written(tmp_path_factory, hits):
    path = tmp_path_factory.mktemp("r") / "run"
    columns = write(path, {"q1": hits})
    docids = [line[2] for line in columns]
    # (a) score descending, docid ascending; (d) so no two different scores have swapped
    assert docids == [hit.docid for hit in sorted(hits, key=lambda hit: (-hit.score, hit.docid))]
    # (b) what a reader parses falls strictly, in double and in single precision
    parsed = [float(line[4]) for line in columns]
    assert all(below < above for above, below in pairwise(parsed))
    # (c) so trec_eval's order is the written one
    assert trec_order(list(zip(docids, parsed, strict=True))) == docids
    assert [line[:2] + line[3:4] + line[5:] for line in columns] == [
        ["q1", "Q0", str(rank), "tag"] for rank in range(1, len(hits) + 1)
    ]
    assert all(len(line[4].split(".")[1]) == 6 for line in columns)
    assert parsed == [hit.score for hit in separate_ties(hits)]


@settings(max_examples=100)
@given(hit_lists)
@example([Hit("a", 1e8), Hit("b", 1e8), Hit("c", 1e8)])
@example([Hit("a", 31.0), Hit("b", 31.0), Hit("c", 31.0)])
@example([Hit("a", 20.000001), Hit("b", 20.0), Hit("c", 19.999999)])
def test_trec_eval_ranks_every_document_where_it_was_written(tmp_path_factory, hits):
    """One query for each document, in which it alone is relevant: the reciprocal rank tells where trec_eval put it."""
    columns = write(tmp_path_factory.mktemp("r") / "run", {"q1": hits})
    run = {line[2]: float(line[4]) for line in columns}
    qrels = {f"q{rank}": {line[2]: 1} for rank, line in enumerate(columns, 1)}
    found = pytrec_eval.RelevanceEvaluator(qrels, {"recip_rank", "ndcg"}).evaluate(dict.fromkeys(qrels, run))
    for rank in range(1, len(columns) + 1):
        assert found[f"q{rank}"]["recip_rank"] == pytest.approx(1 / rank)
        assert found[f"q{rank}"]["ndcg"] == pytest.approx(1 / math.log2(rank + 1))


@settings(max_examples=200)
@given(st.dictionaries(ids, hit_lists, min_size=1, max_size=4))
def test_read_and_written_again_a_run_has_the_same_bytes(tmp_path_factory, run):
    folder = tmp_path_factory.mktemp("r")
    write(folder / "one", run)
    again = read_run(folder / "one")
    assert list(again) == list(run)
    assert again == {qid: separate_ties(hits) for qid, hits in run.items()}
    write(folder / "two", again)
    assert (folder / "one").read_bytes() == (folder / "two").read_bytes()


def test_scores_apart_are_written_as_they_are():
    hits = [Hit("a", 12.3456789), Hit("b", 3.0), Hit("c", -1.5)]
    assert separate_ties(hits) == [Hit("a", 12.345679), Hit("b", 3.0), Hit("c", -1.5)]


def test_small_ties_fall_by_a_millionth_as_in_anserini():
    hits = [Hit(name, 2.0) for name in "cab"]
    assert separate_ties(hits) == [Hit("a", 2.0), Hit("b", 1.999999), Hit("c", 1.999998)]


def test_numbers_of_numpy_tie_like_pythons():
    hits = [Hit("b", np.float32(20.0)), Hit("a", np.float32(20.0)), Hit("c", np.int64(20))]  # type: ignore[arg-type]
    separated = separate_ties(hits)
    assert separated == separate_ties([Hit(docid, 20.0) for docid in "abc"])
    assert all(type(hit.score) is float for hit in separated)
    unsigned = [Hit("a", np.uint8(3)), Hit("b", np.uint8(7))]  # type: ignore[arg-type]
    assert separate_ties(unsigned) == [Hit("b", 7.0), Hit("a", 3.0)]


def test_nothing_is_written_as_minus_zero(tmp_path):
    columns = write(tmp_path / "run", {"q1": [Hit("a", -0.0)], "q2": [Hit("a", -1e-9)]})
    assert [line[4] for line in columns] == ["0.000000", "0.000000"]


def test_equal_scores_are_read_in_the_order_of_trec_eval(tmp_path):
    path = tmp_path / "run"
    path.write_text("q1 Q0 a 1 1.0 t\nq1 Q0 c 2 1.0 t\nq1 Q0 b 3 2 t\nq1 Q0 d 4 -3e-1 t\n")
    assert read_run(path) == {"q1": [Hit("b", 2.0), Hit("c", 1.0), Hit("a", 1.0), Hit("d", -0.3)]}


def test_tabs_blank_lines_crlf_and_gzip_are_read(tmp_path):
    path = tmp_path / "run.gz"
    path.write_bytes(gzip.compress("\ufeffq1\tQ0\t007\t1\t1e1\tt\r\n\r\n1e5  Q0 d2 1 .5 t\r\n\r\n".encode()))
    assert list(iter_run(path)) == [("q1", [Hit("007", 10.0)]), ("1e5", [Hit("d2", 0.5)])]


BAD = {
    "five": ("q1 Q0 a 1 1.0\n", ":1: 5 columns", "Expected: qid Q0 docid rank score tag"),
    "seven": ("q1 Q0 a 1 1.0 t\nq1 Q0 b c 2 1.0 t\n", ":2: 7 columns", "Expected: qid Q0"),
    "one": ("q1\n", ":1: 1 column.", "Expected: qid Q0"),
    "nan": ("q1 Q0 a 1 NaN t\n", ":1: score 'NaN' is not a finite number", "Search again, or remove the line"),
    "inf": ("q1 Q0 a 1 1 t\nq1 Q0 b 1 -inf t\n", ":2: score '-inf' is not a finite number", "Search again"),
    "overflow": ("q1 Q0 a 1 1e999 t\n", ":1: score '1e999' is not a finite number", "Search again"),
    "word": ("q1 Q0 a 1 high t\n", ":1: score 'high' is not a finite number", "Search again"),
    "python": ("q1 Q0 a 1 1_0 t\n", ":1: score '1_0' is not a finite number", "Search again"),
    "twice": (
        "q0 Q0 a 1 3 t\nq1 Q0 a 1 3 t\nq1 Q0 b 2 2 t\nq1 Q0 a 3 1 t\nq2 Q0 a 1 1 t\n",
        ":4: document a twice for query q1",
        "Keep the line with the higher score",
    ),
    "apart": (
        "q1 Q0 a 1 3 t\nq2 Q0 a 1 3 t\nq1 Q0 b 2 2 t\nq1 Q0 c 2 2 t\n",
        ":3: the lines of query q1 are not together",
        "Sort the run: sort -s -k1,1 ",
    ),
    "empty": ("", ": is an empty run", "Did the search end well?"),
    "blank": ("\n", ": is an empty run", "Did the search end well?"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_runs_are_named_with_place_and_fix(tmp_path, refuses, case):
    text, problem, fix = BAD[case]
    path = tmp_path / "run"
    path.write_text(text)
    with refuses(f"{path}{problem}", fix):
        read_run(path)


def test_missing_file_directory_and_bytes_that_are_not_utf8(tmp_path, refuses):
    with refuses(f"{tmp_path / 'no'}: no such file. Check the path"):
        read_run(tmp_path / "no")
    with refuses(f"{tmp_path}: is a directory"):
        read_run(tmp_path)
    (tmp_path / "run").write_bytes(b"q1 Q0 a 1 1 t\nq1 Q0 caf\xe9 1 1 t\n")
    with refuses(f"{tmp_path / 'run'}:2: not UTF-8"):
        read_run(tmp_path / "run")


UNWRITABLE = {
    "nan": ("q1", [Hit("a", 1.0), Hit("b", math.nan)], "query q1, document b: score nan. Check the vectors for NaN"),
    "inf": ("q1", [Hit("a", math.inf)], "query q1, document a: score inf"),
    "beyond single precision": ("q1", [Hit("a", -1e39)], "query q1, document a: score -1e+39"),
    "twice": ("q1", [Hit("a", 1.0), Hit("b", 1.0), Hit("a", 2.0)], "query q1 has a document twice. Keep its highest"),
    "spaced document": ("q1", [Hit("a b", 1.0)], "white space in document id 'a b'"),
    "spaced query": ("q 1", [Hit("a", 1.0)], "white space in query id 'q 1'"),
    "no query": ("", [Hit("a", 1.0)], "empty query id"),
    "query again": ("q0", [Hit("a", 1.0)], "query q0 was written before. Give each query once"),
}


@pytest.mark.parametrize("case", UNWRITABLE)
def test_what_no_reader_would_take_is_not_written(tmp_path, refuses, case):
    qid, hits, problem = UNWRITABLE[case]
    with refuses(f"{tmp_path / 'run'}:2: {problem}"), run_writer(tmp_path / "run", "tag") as writer:
        writer.write("q0", [Hit("a", 1.0)])
        writer.write(qid, hits)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("tag", ["", "two words", "line\n"])
def test_a_tag_is_one_word(tmp_path, tag):
    with pytest.raises(InputError, match=r"run tag .* Choose another tag"), run_writer(tmp_path / "run", tag):
        pass


def test_the_writer_counts_and_the_file_appears_at_the_end(tmp_path):
    path = tmp_path / "deep" / "run"
    with run_writer(path, "t") as writer:
        writer.write("q1", [Hit("a", 1.0), Hit("b", 1.0)])
        writer.write("q2", [])
        assert not path.exists()
        assert (writer.queries, writer.lines) == (2, 2)
    assert path.read_text() == "q1 Q0 a 1 1.000000 t\nq1 Q0 b 2 0.999999 t\n"


# scores as searchers give them, many to a query, with ties and near ties: cosines, BM25, impacts, reciprocal ranks
levels = st.tuples(
    st.sampled_from([0.0, 1.0, 14.9999, 15.99999, 24.0, 31.99999, 33.0, 64.0, 200.5, 5000.0, 1e5]), st.booleans()
)
steps = st.one_of(
    st.integers(-40, 40).map(float),
    st.integers(-40, 40).map(lambda step: step * 1e-6),
    st.integers(-9, 9).map(lambda step: step * 5e-7),
    st.integers(-9, 9).map(lambda step: step / 128),
    st.floats(-1, 1),
)


@st.composite
def searched(draw):
    base, negative = draw(levels)
    some = draw(st.lists(steps, min_size=1, max_size=5))
    found = draw(st.lists(st.sampled_from(some), min_size=1, max_size=60))
    values = (np.array(found) + base) * (-1 if negative else 1)
    names = [f"d{i:03d}" for i in draw(st.permutations(range(len(values))))]
    return Ranking(names, values.astype(draw(st.sampled_from([np.float64, np.float32]))))


@settings(max_examples=600, deadline=None)
@given(searched(), st.sampled_from(["q1", "100%s"]))
def test_columns_are_written_as_the_rule_for_single_hits_says(tmp_path_factory, ranking, qid):
    path = tmp_path_factory.mktemp("r") / "run"
    with run_writer(path, "ta%g") as writer:
        writer.write_ranking(qid, ranking)
    separated = separate_ties(ranking.hits())
    expected = [f"{qid} Q0 {hit.docid} {rank} {hit.score:.6f} ta%g" for rank, hit in enumerate(separated, 1)]
    assert path.read_text().splitlines() == expected


@pytest.mark.parametrize(
    "scores",
    [
        np.repeat(np.arange(700, 100, -25), 40).astype(np.float32),  # impacts
        np.repeat(1 / np.arange(61.0, 1061.0), 4) / 2,  # reciprocal ranks
        np.linspace(12.0, 11.99, 40000).astype(np.float32)[::40],  # closer than 1e-6 in places
        np.repeat(-np.arange(40, 80), 9).astype(np.float32) * 1.5,
    ],
)
def test_usual_scores_take_the_quick_way_and_agree_with_the_rule(scores):
    quick = run_writing._lowered(scores.astype(np.float64))
    assert quick is not None
    docids = [f"{i:06d}" for i in range(len(scores))]
    assert quick.tolist() == [hit.score for hit in separate_ties(Ranking(docids, scores).hits())]


def test_columns_in_any_order_are_written_in_theirs(tmp_path):
    ranking = Ranking(["c", "b", "a", "d"], np.array([1, 3, 3, 2], np.int32))
    with run_writer(tmp_path / "run", "t") as writer:
        writer.write_ranking("q", ranking)
        writer.write_ranking("none", Ranking([], np.zeros(0)))
        assert (writer.queries, writer.lines) == (2, 4)
    assert [line.split()[2] for line in (tmp_path / "run").read_text().splitlines()] == ["a", "b", "d", "c"]


columns = st.tuples(
    st.sampled_from(["q1", "q2", "é", "q"]),
    st.just("Q0"),
    st.one_of(st.integers(0, 99).map("d{}".format), st.sampled_from(["ü", "a\u00a0b", "x\x00", "\ud7ff", "y\x1cz"])),
    st.just("1"),
    st.one_of(
        st.floats(-100, 100).map(str),
        st.integers(-9, 9).map(str),
        st.sampled_from(["nan", "1e9", "+1", "1_0", "-0", "1e-400"]),
    ),
    st.just("t"),
)
usual = st.tuples(
    st.sampled_from(["q1", "q2"]),
    st.just("Q0"),
    st.integers(0, 10**6).map(str),
    st.just("7"),
    st.floats(-9, 9).map(str),
    st.just("t"),
)


@st.composite
def files(draw):
    """Files of runs, most of them sound and regular."""
    rows = draw(st.lists(st.one_of(usual, usual, usual, columns), max_size=12))
    if draw(st.booleans()):
        rows = sorted(rows, key=lambda row: row[0])
    gaps = st.sampled_from([" "] * 9 + ["\t", "  "]) if draw(st.booleans()) else st.just(" ")
    ends = st.sampled_from(["\n"] * 9 + ["\r\n", "\n\n", " \n"]) if draw(st.booleans()) else st.just("\n")
    text = "".join(draw(gaps).join(row) + draw(ends) for row in rows)
    text = draw(st.sampled_from(["", "", "", "\ufeff", "\n"])) + text
    return (text[:-1] if draw(st.booleans()) else text).encode()


def outcome(read):
    """What a reader gives, in order, and what it then says."""
    found = []
    try:
        found.extend(read)
    except InputError as error:
        return found, str(error)
    return found, None


@settings(max_examples=600, deadline=None)
@given(files(), st.integers(1, 120))
@example(b"q1 Q0 a 1 1 t\nq1 Q0 b 2 1 t\nq2 Q0 a 1 -0.0 t\nq2 Q0 b 1 0.0 t\n", 1 << 17)
@example(b"q1 Q0 caf\xe9 1 1 t\n", 20)
@example(b"q1  a 1 1.0 t\n", 1 << 17)  # five words, six fields
@example(b"q1 Q0 a 1 1.0 t\nq1 Q0 b 1 1.0 \nq1 Q0 c 1 1 t\n", 1 << 17)
def test_blocks_are_read_as_single_lines_are(tmp_path_factory, content, block):
    """In the same order, with the same scores, the same complaints at the same lines, wherever a block of the file ends."""
    path = tmp_path_factory.mktemp("r") / "run"
    path.write_bytes(content)
    expected = outcome((qid, [(docid, score) for score, docid in hits]) for qid, hits in run_reading.by_lines(path))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_reading, "_BLOCK", block)
        found = outcome((qid, [tuple(hit) for hit in ranking.hits()]) for qid, ranking in iter_rankings(path))
    assert found == expected


def test_a_large_run_is_read_in_blocks_and_as_by_lines(tmp_path):
    path = tmp_path / "run"
    draw = np.random.default_rng(5)
    with run_writer(path, "t") as writer:
        for query in range(30):
            docids = [f"d{i}" for i in draw.permutation(1000)]
            writer.write_ranking(f"q{query}", Ranking(docids, draw.integers(0, 400, 1000) / 10))
    assert path.stat().st_size > 4 * run_reading._BLOCK
    expected = {qid: [Hit(docid, score) for score, docid in hits] for qid, hits in run_reading.by_lines(path)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_reading, "Lines", None)  # the quick way it is
        assert read_run(path) == expected
