from __future__ import annotations

import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradir.data import Qrel, iter_qrels, read_qrels, unknown_ids, write_qrels

ids = st.text(min_size=1).filter(lambda text: text.split() == [text] and not set("\0\ufeff") & set(text))
judgements = st.lists(st.builds(Qrel, ids, ids, st.integers(-5, 9)), min_size=1, unique_by=lambda q: q[:2])


@pytest.mark.parametrize("name", ["test.tsv", "qrels.txt"])
@given(judgements)
def test_round_trip(tmp_path_factory, name, qrels):
    path = tmp_path_factory.mktemp("q") / name
    assert write_qrels(path, iter(qrels)) == len(qrels)
    assert list(iter_qrels(path)) == qrels
    table: dict[str, dict[str, int]] = {}
    for qid, docid, grade in qrels:
        table.setdefault(qid, {})[docid] = grade
    assert read_qrels(path) == table
    assert read_qrels(str(path)) == table
    lines = path.read_bytes().decode().split("\n")[:-1]
    if name.endswith("tsv"):
        assert lines[0] == "query-id\tcorpus-id\tscore"
        assert [line.split("\t") for line in lines[1:]] == [[q, d, str(g)] for q, d, g in qrels]
    else:
        assert [line.split(" ") for line in lines] == [[q, "0", d, str(g)] for q, d, g in qrels]


FORMS = {
    "beir": "query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\t007\t-1\n1e5\td1\t0\n",
    "beir without header": "q1\td1\t2\nq1\t007\t-1\n1e5\td1\t0\n",
    "trec": "q1 0 d1 2\nq1 0 007 -1\n1e5 0 d1 0\n",
    "trec with tabs, CRLF, a mark and blank lines": "\ufeffq1\t0\td1\t2\r\n\r\nq1 0\t007  -1\r\n1e5   Q0 d1 0 \r\n\r\n",
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["q.tsv", "q.txt", "q.gz"])
def test_every_form_gives_the_same_judgements(tmp_path, form, name):
    pack = gzip.compress if name.endswith("gz") else bytes
    (tmp_path / name).write_bytes(pack(FORMS[form].encode()))
    assert list(iter_qrels(tmp_path / name)) == [Qrel("q1", "d1", 2), Qrel("q1", "007", -1), Qrel("1e5", "d1", 0)]


BAD = {
    "half": ("q1\td1\t1\nq1\td2\t0.5\n", ":2: grade '0.5' is not an integer", "map it to 0, 1, 2, 3"),
    "float": ("q1 0 d1 1.0\n", ":1: grade '1.0' is not an integer", "Round it"),
    "word": ("q1 0 d1 high\n", ":1: grade 'high' is not an integer", "Round it"),
    "python": ("q1 0 d1 1_0\n", ":1: grade '1_0' is not an integer", "Round it"),
    "late header": ("q1\td1\t1\nquery-id\tcorpus-id\tscore\n", ":2: grade 'score'", "Round it"),
    "two columns": ("q1 0 d1 1\nq1 d2\n", ":2: 2 columns", "Expected query-id<TAB>corpus-id<TAB>score, or qid 0 docid"),
    "one column": ("q1\n", ":1: 1 column.", "Expected query-id"),
    "five columns": ("q1 0 d1 1 x\n", ":1: 5 columns", "Expected query-id"),
    "spaced document": ("q1\td 1\t2\n", ":1: white space in document id 'd 1'", "replace it, by _ say"),
    "spaced query": ("q 1\td1\t2\n", ":1: white space in query id 'q 1'", "replace it, by _ say"),
    "no document": ("q1\t\t2\n", ":1: empty document id", "Give every line an id"),
    "empty": ("", ": holds no judgements", "Is it the right file?"),
    "header alone": ("query-id\tcorpus-id\tscore\n", ": holds no judgements", "Is it the right file?"),
    "two grades": ("q1 0 d1 1\nq1 0 d2 1\nq1 0 d1 2\n", ":3: query q1, document d1: grades 1 and 2", "Keep one"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_judgements_are_named_with_place_and_fix(tmp_path, refuses, case):
    text, problem, fix = BAD[case]
    path = tmp_path / "q.tsv"
    path.write_text(text)
    with refuses(f"{path}{problem}", fix):
        read_qrels(path)


def test_bytes_that_are_not_utf8(tmp_path, refuses):
    path = tmp_path / "q.txt"
    path.write_bytes(b"q1 0 d1 1\nq1 0 caf\xe9 1\n")
    with refuses(f"{path}:2: not UTF-8 at byte 9 of the line", "iconv"):
        read_qrels(path)


def test_missing_file_and_directory(tmp_path, refuses):
    with refuses(f"{tmp_path / 'no.tsv'}: no such file. Check the path"):
        read_qrels(tmp_path / "no.tsv")
    with refuses(f"{tmp_path}: is a directory", "Name the file inside it"):
        read_qrels(tmp_path)


def test_a_pair_judged_twice_alike_is_no_error(tmp_path):
    (tmp_path / "q.txt").write_text("q1 0 d1 1\nq1 0 d1 1\n")
    assert read_qrels(tmp_path / "q.txt") == {"q1": {"d1": 1}}


@pytest.mark.parametrize("qrel", [Qrel("q 1", "d", 1), Qrel("q", "d 1", 1), Qrel("", "d", 1)])
def test_a_bad_id_is_not_written(tmp_path, refuses, qrel):
    path = tmp_path / "q.tsv"
    with refuses(f"{path}:3: ", "query id" if qrel.docid == "d" else "document id"):
        write_qrels(path, [Qrel("q", "d", 0), qrel])
    assert list(tmp_path.iterdir()) == []


def test_a_grade_that_is_no_integer_is_not_written(tmp_path):
    with pytest.raises(ValueError, match="format code"):
        write_qrels(tmp_path / "q.tsv", [Qrel("q", "d", 0.5)])  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


@given(judgements, st.sets(ids), st.sets(ids))
def test_unknown_ids_are_counted_once_each(qrels, qids, docids):
    table: dict[str, dict[str, int]] = {}
    for qid, docid, grade in qrels:
        table.setdefault(qid, {})[docid] = grade
    qids |= {qrels[0].qid}
    unknown = unknown_ids(table, iter(qids), iter(docids))
    assert unknown == (len({q.qid for q in qrels} - qids), len({q.docid for q in qrels} - docids))
