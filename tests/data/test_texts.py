"""Texts by id against `read_corpus`, which streams the same files."""

from __future__ import annotations

import gc
import gzip
import hashlib
import json
import pickle
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from gradir.data import Document, read_corpus
from gradir.data import texts as module
from gradir.data.texts import Texts

ids = st.text(min_size=1, max_size=6).filter(lambda text: text.split() == [text] and "\0" not in text)
documents = st.lists(
    st.builds(Document, ids, st.text(max_size=20), st.text(max_size=5)),
    min_size=1,
    max_size=8,
    unique_by=lambda d: d.docid,
)


def put(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def row(docid: object, text: str, **more: object) -> dict[str, object]:
    return {"_id": docid, "text": text, **more}


def check(texts: Texts, expected: list[Document]) -> None:
    assert len(texts) == len(expected)
    for document in expected:
        assert document.docid in texts
        assert texts.document(document.docid) == document
        assert texts.contents(document.docid) == document.contents
    found = texts.rows([document.docid for document in expected])
    assert [texts.at(one) for one in found] == expected
    assert [texts.at(one) for one in texts.in_order()] == expected


def written(value: Document, how: str, escape: bool) -> str:
    """One line, with the keys in several orders and spellings."""
    keys = {
        "beir": {"_id": value.docid, "title": value.title, "text": value.text},
        "late": {"text": value.text, "title": value.title, "id": value.docid},
        "two": {"id": "other", "_id": value.docid, "title": value.title, "contents": value.text},
        "hidden": {"docid": "other", "title": value.title, "text": value.text, "id": value.docid},
        "pyserini": {"id": value.docid, "title": value.title, "contents": value.text},
    }[how]
    return json.dumps(keys, ensure_ascii=escape)


@given(
    documents,
    st.lists(st.sampled_from(["beir", "late", "two", "hidden", "pyserini"]), min_size=8, max_size=8),
    st.booleans(),
    st.sampled_from(["\n", "\r\n", "\n\n"]),
    st.sampled_from(["", "\ufeff"]),
    st.booleans(),
    st.sampled_from(["", ".gz", ".zst"]),
)
def test_every_document_is_found_as_read_corpus_reads_it(
    tmp_path_factory, value, ways, escape, end, mark, last, packed
):
    path = tmp_path_factory.mktemp("t") / f"corpus.jsonl{packed}"
    lines = [written(one, how, escape) for one, how in zip(value, ways, strict=False)]
    data = (mark + end.join(lines) + (end if last else "")).encode()
    pack = {"": bytes, ".gz": gzip.compress, ".zst": zstandard.ZstdCompressor().compress}[packed]
    path.write_bytes(pack(data))
    expected = list(read_corpus(path))
    assert [(d.docid, d.text) for d in expected] == [(d.docid, d.text) for d in value]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BLOCK", 3)
        texts = Texts(path)
    with texts:
        check(texts, expected)
        unknown = [docid + "x" for docid in (d.docid for d in value) if docid + "x" not in {d.docid for d in value}]
        assert texts.rows(unknown).tolist() == [-1] * len(unknown)
        assert not any(one in texts for one in unknown)


@given(documents, st.booleans())
def test_ids_of_equal_hash_are_told_apart(tmp_path_factory, value, one_for_all):
    path = put(tmp_path_factory.mktemp("t") / "c.jsonl", *({"_id": d.docid, "text": d.text} for d in value))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_hashed", lambda ids: np.array([one_for_all or len(one) for one in ids], np.uint64))
        with Texts(path) as texts:
            check(texts, list(read_corpus(path)))
            known = {d.docid for d in value}
            unknown = [docid for docid in ("a", "b", "ab", "abc") if docid not in known]
            assert not any(one in texts for one in unknown)


def test_a_known_document_where_only_the_hash_is_equal(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_hashed", lambda ids: np.zeros(len(ids), np.uint64))
    with Texts(put(tmp_path / "c.jsonl", row("a", "x"))) as texts:
        assert "b" not in texts
        assert "a" in texts


@pytest.mark.parametrize(
    "line",
    [
        '{"_id": 7, "text": "x"}',
        '{"id":7,"contents":"x"}',
        '{"_id" : "7", "text": "x"}',
        '  {"_id": "7", "text": "x"}',
        '{"docid": "7", "text": "x"}',
        '{"title": "", "text": "x", "_id": "7"}',
        '{"_id": "\\u0037", "text": "x"}',
        '{"id": "no", "text": "x", "_id": 7}',
        '{"docid": "no", "text": "x", "id": "7"}',
        '{"_id": "7", "text": "x", "other": {"_id": "no", "id": "no"}}',
        '{"id": "7", "text": "x", "other": "\\"_id\\": 8"}',
    ],
)
def test_ids_wherever_they_stand(tmp_path, line):
    path = tmp_path / "c.jsonl"
    path.write_text(line + "\n")
    assert [d.docid for d in read_corpus(path)] == ["7"]  # the oracle agrees
    with Texts(path) as texts:
        assert texts.contents("7") == "x"


def test_tsv_folders_and_several_corpora(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "one.tsv").write_text("d1\tbody\nd2\tTitle\tbody\n\nd\u00e9\tx\n", encoding="utf-8")
    put(tmp_path / "a" / "two.jsonl", row("d3", "three", title="T"))
    other = put(tmp_path / "other.jsonl", row("e1", "x"), row("d3", "T three"))
    with Texts([tmp_path / "a", other, other]) as texts:  # d3 reads the same in both; a corpus named twice counts once
        assert len(texts) == 5
        assert [texts.contents(one) for one in ("d1", "d2", "dé", "d3", "e1")] == [
            "body",
            "Title body",
            "x",
            "T three",
            "x",
        ]
        assert [texts.at(row).docid for row in texts.in_order()] == ["d1", "d2", "dé", "d3", "e1"]


def test_ir_datasets_names_are_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    value = [Document("1", "one\u2028more", "T"), Document("2", "")]
    monkeypatch.setattr(module.named, "ir_datasets_corpus", lambda name: iter(value))
    texts = Texts("ir_datasets:x/y")
    check(texts, value)
    assert len(list(tmp_path.iterdir())) == 1
    texts.close()
    assert not list(tmp_path.iterdir())


def test_temporary_files_go_with_close_and_with_the_object_but_not_with_a_copy(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    path = tmp_path / "c.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"_id": "a", "text": "x"}\n'))
    texts = Texts(path)
    copy = pickle.loads(pickle.dumps(texts))
    assert copy.contents("a") == "x"
    copy.close()
    del copy
    gc.collect()
    assert len(list((tmp_path / "tmp").iterdir())) == 1
    assert texts.contents("a") == "x"
    del texts
    gc.collect()
    assert not list((tmp_path / "tmp").iterdir())


_OTHER_PROCESSES = """
import multiprocessing, os, sys, tempfile
from gradir.data.texts import Texts

if __name__ == "__main__":
    path, tempfile.tempdir, method = sys.argv[1:]
    context = multiprocessing.get_context(method)
    with Texts(path) as texts:
        texts.contents("d1")  # the map is open when it forks
        with context.Pool(1) as pool:
            found = pool.map(texts.contents, [f"d{i}" for i in range(50)])
        assert found == [f"t{i}" for i in range(50)], found
        other = context.Process(target=texts.close)
        other.start()
        other.join()
        assert texts.contents("d2") == "t2"
        assert os.listdir(tempfile.tempdir)  # the other processes removed nothing
"""


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_other_processes_read_the_same(tmp_path, method):
    """In a process of its own: one that has run FAISS, Java and torch before it forks may wait for a lock that nobody holds."""
    (tmp_path / "tmp").mkdir()
    path, script = tmp_path / "c.jsonl.gz", tmp_path / "script.py"
    path.write_bytes(gzip.compress(b"".join(b'{"_id": "d%d", "text": "t%d"}\n' % (i, i) for i in range(50))))
    script.write_text(_OTHER_PROCESSES)
    subprocess.run([sys.executable, script, path, tmp_path / "tmp", method], check=True, timeout=120)
    assert not list((tmp_path / "tmp").iterdir())


def mixed(number: int) -> int:
    """SplitMix64, whose first outputs for seed 0 are published with it."""
    number = (number + 0x9E3779B97F4A7C15) % 2**64
    number = (number ^ (number >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    number = (number ^ (number >> 27)) * 0x94D049BB133111EB % 2**64
    return number ^ (number >> 31)


def test_hashes_are_the_same_in_every_process(tmp_path):
    """They decide what is drawn: the length, and each eight bytes of the id (of its digest, if it is long), mixed in turn."""
    assert mixed(0) == 0xE220A8397B1DCDAF
    long = "x" * 65
    with Texts(put(tmp_path / "c.jsonl", row("a", ""), row("é2345678", ""), row(long, ""))) as texts:
        expected = []
        for docid in (b"a", "é2345678".encode(), hashlib.blake2b(long.encode(), digest_size=16).digest()):
            found = len(docid)
            for first in range(0, len(docid), 8):
                found = mixed(found ^ int.from_bytes(docid[first : first + 8], "little"))
            expected.append(found)
        assert texts.hashes.tolist() == sorted(expected)


def test_an_id_in_two_corpora_with_different_texts(tmp_path, refuses):
    one = put(tmp_path / "one.jsonl", row("a", "x"), row("b", "y"))
    two = put(tmp_path / "two.jsonl", row("c", "x"), row("d", "x"), row("b", "other"))
    with refuses("'b'", f"{one}:2", f"{two}:3", "Rename"):
        Texts([one, two])


BAD = {
    "an id twice": (
        '{"_id": "a", "text": ""}\n{"_id": "b", "text": ""}\n{"_id": "a", "text": ""}\n',
        ":3",
        ":1",
        "'a'",
    ),
    "no id": ('\n{"text": "x"}\n', ":2", "no `_id`"),
    "an id with white space": ('{"_id": "a b", "text": ""}\n', ":1", "white space"),
    "an id with a wide space": ('{"_id": "a\u2003b", "text": ""}\n', ":1", "white space"),
    "an empty id": ('{"_id": "", "text": ""}\n', ":1", "empty"),
    "no JSON": ('{"_id": "a", "text": ""}\nfoo\n', ":2", "not a JSON object"),
    "a list": ("[1]\n", ":1", "not a JSON object"),
    "nothing": ("\n", "no documents"),
    "an empty file": ("", "no documents"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_files(tmp_path, refuses, kind):
    path = tmp_path / "c.jsonl"
    path.write_text(BAD[kind][0], encoding="utf-8")
    with refuses(str(path), *BAD[kind][1:]):
        Texts(path)


def test_bad_lines_are_found_when_they_are_read(tmp_path, refuses):
    path = tmp_path / "c.jsonl"
    path.write_bytes(
        b'{"_id": "a", "text": "x"}\n{"_id": "b"}\n{"_id": "c", "text": [1]}\n{"_id": "d", "text": "\xff"}\n{"_id": "e", \n'
    )
    with Texts(path) as texts:
        for docid, words in {
            "b": (":2", "no `text`"),
            "c": (":3", "not text"),
            "d": (":4", "not UTF-8 at byte 23"),
            "e": (":5", "not a JSON object"),
        }.items():
            with refuses(str(path) + words[0], words[1]):
                texts.contents(docid)
        with refuses(str(path), "no document zz"):
            texts.contents("zz")
        assert texts.contents("a") == "x"


def test_missing_and_damaged_files(tmp_path, refuses):
    with refuses("no such file"):
        Texts(tmp_path / "none.jsonl")
    (tmp_path / "d.jsonl.gz").write_bytes(gzip.compress(b'{"_id": "a", "text": "x"}\n' * 99)[:-12])
    with refuses("damaged gzip"):
        Texts(tmp_path / "d.jsonl.gz")
    (tmp_path / "t.tsv").write_text("a\tx\nb\n")
    with refuses("t.tsv:2", "1 column"):
        Texts(tmp_path / "t.tsv")
    (tmp_path / "empty").mkdir()
    with refuses("holds no corpus"):
        Texts([tmp_path / "empty"])


def test_sixteen_bytes_a_document(tmp_path):
    texts = Texts(put(tmp_path / "c.jsonl", *(row(f"d{i}", "x") for i in range(100))))
    held = [value for value in vars(texts).values() if isinstance(value, np.ndarray)]
    assert sum(value.nbytes for value in held) == 16 * 100
    texts.close()
