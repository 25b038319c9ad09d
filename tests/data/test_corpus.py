from __future__ import annotations

import gzip
import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from gradir.data import Document, corpus_files, read_corpus, write_corpus
from gradir.data.corpus import count_documents
from gradir.data.ids import Duplicates
from gradir.errors import InputError

GOOD = '{"_id": "d1", "title": "One", "text": "first"}\n{"_id": "d2", "title": "", "text": ""}\n'
DOCUMENTS = [Document("d1", "first", "One"), Document("d2", "", "")]

ids = st.text(min_size=1).filter(lambda text: text.split() == [text] and "\0" not in text)
documents = st.lists(st.builds(Document, ids, st.text(), st.text()), min_size=1, unique_by=lambda d: d.docid)


def lines_of(path: Path, *lines: str | bytes) -> Path:
    path.write_bytes(b"".join((line.encode() if isinstance(line, str) else line) + b"\n" for line in lines))
    return path


@given(documents)
def test_what_is_written_is_read_and_is_plain_json_lines(tmp_path_factory, written):
    path = tmp_path_factory.mktemp("c") / "corpus.jsonl"
    assert write_corpus(path, iter(written)) == len(written)
    assert list(read_corpus(path)) == written
    # the slow obvious reader; split("\n"), because splitlines() cuts at U+2028
    values = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]
    assert [Document(v["_id"], v["text"], v["title"]) for v in values] == written


@pytest.mark.parametrize("name", ["c.jsonl", "c.jsonl.gz", "c.jsonl.zst", "c.json", "c.txt"])
def test_beir_lines_plain_and_compressed(tmp_path, name):
    pack = {".gz": gzip.compress, ".zst": zstandard.compress}.get(Path(name).suffix, bytes)
    (tmp_path / name).write_bytes(pack(GOOD.encode()))
    assert list(read_corpus(tmp_path / name)) == DOCUMENTS
    assert list(read_corpus(str(tmp_path / name))) == DOCUMENTS


def test_byte_order_mark_and_crlf_are_tolerated(tmp_path):
    path = tmp_path / "c.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())
    assert list(read_corpus(path)) == DOCUMENTS
    tsv = tmp_path / "c.tsv"
    tsv.write_bytes(b"\xef\xbb\xbfd1\tfirst\r\nd2\t\r\n")
    assert list(read_corpus(tsv)) == [Document("d1", "first"), Document("d2", "")]


def test_pyserini_lines_are_read(tmp_path):
    path = lines_of(tmp_path / "c.jsonl", '{"id": "a", "contents": "x\\ny"}', "", '{"id": "b", "contents": "z"}')
    assert list(read_corpus(path)) == [Document("a", "x\ny"), Document("b", "z")]


def test_ms_marco_tsv_has_two_or_three_columns(tmp_path, refuses):
    path = lines_of(tmp_path / "c.tsv", "0\tsome  text ", "1\tTitle\tbody", "", "2\t")
    assert list(read_corpus(path)) == [
        Document("0", "some  text "),
        Document("1", "body", "Title"),
        Document("2", ""),
    ]
    with refuses(f"{path}:2: 1 column.", "docid<TAB>text"):
        list(read_corpus(lines_of(path, "0\ta", "1 b")))
    with refuses(f"{path}:1: 4 columns"):
        list(read_corpus(lines_of(path, "0\ta\tb\tc")))


@pytest.mark.parametrize("odd", ["\u2028", "\x85", "\u2029", "\x0b", "\x0c", "\x1c", "\x1e"])
def test_only_a_line_feed_ends_a_line(tmp_path, odd):
    text = f"before{odd}after"
    path = tmp_path / "c.jsonl"
    # raw in the JSON string where JSON allows it
    raw = odd if odd >= " " else json.dumps(odd)[1:-1]
    lines_of(path, f'{{"_id": "d1", "text": "before{raw}after"}}', '{"_id": "d2", "text": ""}')
    assert [document.text for document in read_corpus(path)] == [text, ""]
    lines_of(tmp_path / "c.tsv", f"d1\t{text}", "d2\tx")
    assert [document.text for document in read_corpus(tmp_path / "c.tsv")] == [text, "x"]


def test_nul_and_very_long_lines_are_kept(tmp_path):
    long = "wing " * 400_000 + "\0 end"
    write_corpus(tmp_path / "c.jsonl", [Document("d1", long), Document("d2", "\0")])
    assert [d.text for d in read_corpus(tmp_path / "c.jsonl")] == [long, "\0"]


def test_ids_stay_text(tmp_path):
    path = lines_of(
        tmp_path / "c.jsonl", *(f'{{"_id": {found}, "text": ""}}' for found in ['"1e5"', '"007"', "7", "-3"])
    )
    assert [d.docid for d in read_corpus(path)] == ["1e5", "007", "7", "-3"]
    path = lines_of(tmp_path / "c.tsv", "1e5\ta", "007\tb")
    assert [d.docid for d in read_corpus(path)] == ["1e5", "007"]


GOOD_LINE = '{"_id": "d1", "text": "x"}'
BAD_LINES = {
    "cut": ('{"_id": "d2", "te', "not a JSON object (Unterminated string", "Mend or remove the line"),
    "comma": ('{"_id": "d2" "text": ""}', "(Expecting ',' delimiter at column 14)", "Mend or remove the line"),
    "array": ('["d2", "x"]', "not a JSON object", "Mend or remove the line"),
    "null": ("null", "not a JSON object (line contains null value)", "Mend or remove the line"),
    "deep": ("[" * 200_000, "not a JSON object", "Mend or remove the line"),
    "huge number": ('{"_id": ' + "1" * 5000 + "}", "not a JSON object", "Mend or remove the line"),
    "no id": ('{"text": "x", "url": ""}', "no `_id` or `id` or `docid`", "Keys here: text, url"),
    "no keys": ("{}", "no `_id` or `id` or `docid`", "Keys here: none"),
    "no text": ('{"_id": "d2", "body": "x"}', "no `text` or `contents`", "Keys here: _id, body"),
    "empty id": ('{"_id": "", "text": "x"}', "empty document id", "Give every line an id"),
    "spaced id": ('{"_id": "d 2", "text": "x"}', "white space in document id 'd 2'", "replace it, by _ say"),
    "U+00A0 in id": ('{"_id": "d\\u00a02", "text": "x"}', "white space in document id", "replace it, by _ say"),
    "line end in id": ('{"_id": "d2\\n", "text": "x"}', "white space in document id", "replace it, by _ say"),
    "NUL in id": ('{"_id": "d\\u00002", "text": "x"}', "NUL in document id", "replace it, by _ say"),
    "float id": ('{"_id": 1e5, "text": "x"}', "`_id` is not text but 100000.0", "Put it in quotes"),
    "bool id": ('{"_id": true, "text": "x"}', "`_id` is not text but true", "Put it in quotes"),
    "list text": ('{"_id": "d2", "text": ["x"]}', '`text` is not text but ["x"]', "Put it in quotes"),
    "object title": ('{"_id": "d2", "text": "x", "title": {}}', "`title` is not text", "Put it in quotes"),
    "half a pair": ('{"_id": "d2", "text": "\\ud800"}', "half a surrogate pair in `text`", "Remove it"),
    "latin-1": (b'{"_id": "d2", "text": "caf\xe9"}', "not UTF-8 at byte 27 of the line", "iconv -f"),
    "twice": (GOOD_LINE, "document id 'd1' was used before, at ", "Ids must be unique"),
}


@pytest.mark.parametrize("case", BAD_LINES)
def test_a_bad_line_is_named_with_its_place_and_the_fix(tmp_path, refuses, case):
    line, problem, fix = BAD_LINES[case]
    path = lines_of(tmp_path / "c.jsonl", GOOD_LINE, "", line, '{"_id": "d3", "text": ""}')
    with refuses(f"{path}:3: ", problem, fix):
        list(read_corpus(path))


def test_a_near_duplicate_names_the_earlier_line(tmp_path, refuses):
    path = lines_of(tmp_path / "c.tsv", "a\tx", "b\tx", "a\tx")
    with refuses(f"{path}:3: document id 'a' was used before, at {path}:1. Ids must be unique"):
        list(read_corpus(path))


@pytest.mark.parametrize("far", range(1, 40))
def test_a_far_duplicate_is_found_beyond_the_block(tmp_path, monkeypatch, refuses, far):
    monkeypatch.setattr(Duplicates, "BLOCK", 4)
    names = [f"d{i}" for i in range(41)]
    names[far] = names[0]
    path = lines_of(tmp_path / "c.tsv", *(f"{name}\tx" for name in names))
    with refuses(f"{path}:{far + 1}: document id 'd0' was used before"):
        list(read_corpus(path))


def test_the_first_of_several_far_duplicates_is_named(monkeypatch, refuses):
    monkeypatch.setattr(Duplicates, "BLOCK", 50)
    seen = Duplicates("id")
    for number in range(100):
        seen.add("f", number, f"d{number}")
    for number in range(100, 149):
        seen.add("f", number, f"d{number - 100}")
    with refuses("f:100: id 'd0'"):
        seen.finish()


@given(st.lists(st.integers(0, 60), max_size=80), st.integers(1, 9))
def test_duplicates_agree_with_a_set(numbers, block):
    class Small(Duplicates):
        BLOCK = block

    seen, refused = Small("id"), None
    try:
        for line, number in enumerate(numbers, 1):
            seen.add("f", line, str(number))
        seen.finish()
    except InputError as error:
        refused = error.line
    assert (refused is not None) == (len(set(numbers)) < len(numbers))
    if refused is not None:  # the line named does repeat an earlier one
        assert numbers[refused - 1] in numbers[: refused - 1]


def test_equal_hashes_of_different_new_ids_are_no_duplicate():
    class Same(str):
        __slots__ = ()

        def __hash__(self) -> int:
            return 5

    seen = Duplicates("id")
    seen.add("f", 1, Same("a"))
    seen.add("f", 2, Same("b"))
    with pytest.raises(InputError):
        seen.add("f", 3, Same("b"))


def test_duplicates_across_files_are_found(tmp_path, refuses):
    lines_of(tmp_path / "a.jsonl", '{"id": "d1", "contents": ""}')
    lines_of(tmp_path / "b.jsonl", '{"id": "d2", "contents": ""}', '{"id": "d1", "contents": ""}')
    with refuses(f"{tmp_path / 'b.jsonl'}:2: ", f"at {tmp_path / 'a.jsonl'}:1"):
        list(read_corpus(tmp_path))


@pytest.mark.parametrize("name", ["c.jsonl", "c.tsv", "c.jsonl.gz", "c.jsonl.zst"])
def test_an_empty_file_is_refused(tmp_path, refuses, name):
    (tmp_path / name).write_bytes(b"")
    with refuses(f"{tmp_path / name}: holds no documents. Is it the right file?"):
        list(read_corpus(tmp_path / name))


def test_missing_files_and_folders_without_a_corpus(tmp_path, refuses):
    with refuses(f"{tmp_path / 'no.jsonl'}: no such file. Check the path"):
        list(read_corpus(tmp_path / "no.jsonl"))
    (tmp_path / "notes.md").write_text("x")
    with refuses(f"{tmp_path}: holds no corpus. Expected corpus.jsonl"):
        list(read_corpus(tmp_path))
    lines_of(tmp_path / "file.jsonl", GOOD_LINE)
    with refuses("cannot be opened (Not a directory)"):
        list(read_corpus(tmp_path / "file.jsonl" / "corpus.jsonl"))


def test_a_beir_folder_is_its_corpus_file(tmp_path):
    lines_of(tmp_path / "corpus.jsonl", GOOD_LINE)
    lines_of(tmp_path / "another.jsonl", '{"_id": "d9", "text": ""}')
    lines_of(tmp_path / "queries.jsonl", '{"_id": "q1", "text": ""}')
    assert corpus_files(tmp_path) == [tmp_path / "corpus.jsonl"]
    assert [d.docid for d in read_corpus(tmp_path)] == ["d1"]


def test_a_folder_of_files_is_read_in_name_order_without_what_lies_beside(tmp_path):
    for name, docid in [("docs01.jsonl", "b"), ("docs00.json", "a"), ("docs02.tsv", "c")]:
        lines_of(tmp_path / name, f"{docid}\tx" if name.endswith("tsv") else f'{{"id": "{docid}", "contents": "x"}}')
    (tmp_path / "docs03.jsonl.gz").write_bytes(gzip.compress(b'{"id": "d", "contents": "x"}\n'))
    beside = ["manifest.json", "manifest.partial.json", "docs.jsonl.manifest.json", "queries.jsonl", "queries.dev.tsv"]
    for name in [*beside, "qrels.dev.tsv", "topics.json", ".docs.jsonl.partial-1", "._docs00.json", "README.md"]:
        (tmp_path / name).write_text("not a document")
    (tmp_path / "qrels").mkdir()
    assert [d.docid for d in read_corpus(tmp_path)] == ["a", "b", "c", "d"]


def test_a_bad_id_is_not_written(tmp_path, refuses):
    path = tmp_path / "c.jsonl"
    with refuses(f"{path}:2: white space in document id"):
        write_corpus(path, [Document("a", ""), Document("b c", "")])
    with refuses(f"{path}:1: a text that UTF-8 cannot hold", "Remove it"):
        write_corpus(path, [Document("a", "\ud800")])
    assert list(tmp_path.iterdir()) == []


def test_reading_streams(tmp_path):
    """50,000 documents of 200 bytes are 10 MB; the newest ids and 8 bytes for each older one are held."""

    def generated() -> Iterator[Document]:
        for number in range(50_000):
            yield Document(f"document-{number}", "x" * 200)

    write_corpus(tmp_path / "c.jsonl", generated())
    tracemalloc.start()
    try:
        count = sum(1 for _ in read_corpus(tmp_path / "c.jsonl"))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 50_000
    assert peak < 5 * 2**20


def test_duplicates_hold_eight_bytes_an_id():
    tracemalloc.start()
    try:
        seen = Duplicates("id")
        for number in range(2 * 10**5):
            seen.add("f", number, f"document-{number}")
        seen.finish()
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert held < 10 * 2 * 10**5


def test_documents_are_counted_for_the_progress_bar(tmp_path: Path) -> None:
    plain = tmp_path / "corpus.jsonl"
    plain.write_text('{"_id": "a", "text": "1"}\n{"_id": "b", "text": "2"}')  # no line end at the end
    assert count_documents(plain) == count_documents(tmp_path) == 2 == len(list(read_corpus(plain)))
    compressed = tmp_path / "corpus.jsonl.gz"
    compressed.write_bytes(gzip.compress(plain.read_bytes()))
    assert count_documents(compressed) is None
    assert count_documents("ir_datasets:beir/scifact") is None
