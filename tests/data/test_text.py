from __future__ import annotations

import gzip
import os

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from gradir.data.text import Lines, suffix
from gradir.errors import InputError


@given(st.lists(st.text(st.characters(blacklist_characters="\r\n", blacklist_categories=["Cs"]))))
@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstandard.compress])
def test_lines_are_what_stands_between_line_feeds(tmp_path_factory, pack, lines):
    ending = {bytes: ".txt", gzip.compress: ".gz"}.get(pack, ".zst")
    path = tmp_path_factory.mktemp("t") / f"f{ending}"
    path.write_bytes(pack("".join(line + "\n" for line in lines).encode()))
    if lines and lines[0].startswith("\ufeff"):
        lines = [lines[0][1:], *lines[1:]]
    reader = Lines(path)
    assert list(reader) == lines
    assert reader.number == len(lines)
    assert list(reader) == lines  # a second time, from the start


def test_the_last_line_needs_no_line_end(tmp_path):
    (tmp_path / "f").write_text("a\nb")
    assert list(Lines(tmp_path / "f")) == ["a", "b"]


TEXT = "".join(f"line {number} {number * 7919 % 10007}\n" for number in range(50_000)).encode()


@pytest.mark.parametrize("ending", [".gz", ".zst"])
@pytest.mark.parametrize("share", [0.01, 0.5, 0.999])
def test_a_truncated_stream_is_damage(tmp_path, ending, share):
    packed = (gzip.compress if ending == ".gz" else zstandard.compress)(TEXT)
    path = tmp_path / f"f{ending}"
    path.write_bytes(packed[: int(len(packed) * share)])
    with pytest.raises(
        InputError, match=rf"f{ending}:\d+: damaged {'gzip' if ending == '.gz' else 'zstd'} file .*Fetch"
    ):
        list(Lines(path))
    path.write_bytes(packed[:-1])
    with pytest.raises(InputError, match="damaged"):
        list(Lines(path))


@pytest.mark.parametrize("ending", [".gz", ".zst"])
def test_a_damaged_stream_names_the_line_reached(tmp_path, ending):
    packed = bytearray(
        (gzip.compress if ending == ".gz" else zstandard.ZstdCompressor(write_checksum=True).compress)(TEXT)
    )
    packed[len(packed) // 2] ^= 0xFF
    path = tmp_path / f"f{ending}"
    path.write_bytes(packed)
    with pytest.raises(InputError) as caught:
        list(Lines(path))
    assert caught.value.line is not None
    assert caught.value.line >= 1


@pytest.mark.parametrize("ending", [".gz", ".zst"])
def test_what_is_not_compressed_at_all_is_damage(tmp_path, ending):
    path = tmp_path / f"f{ending}"
    path.write_text("plain text\n")
    with pytest.raises(InputError, match=r":1: damaged .* Fetch it again"):
        list(Lines(path))


def test_several_frames_and_skippable_ones_are_one_stream(tmp_path):
    path = tmp_path / "f.zst"
    skippable = b"\x50\x2a\x4d\x18" + (4).to_bytes(4, "little") + b"skip"
    path.write_bytes(skippable + zstandard.compress(b"a\nb") + zstandard.compress(b"c\n") + skippable)
    assert list(Lines(path)) == ["a", "bc"]
    path = tmp_path / "f.gz"
    path.write_bytes(gzip.compress(b"a\nb") + gzip.compress(b"c\n"))
    assert list(Lines(path)) == ["a", "bc"]


def test_a_directory_and_a_file_that_may_not_be_read(tmp_path):
    for name in ["d", "d.gz", "d.zst"]:
        (tmp_path / name).mkdir()
        with pytest.raises(InputError, match=r"is a directory, a file is expected\. Name the file inside it"):
            list(Lines(tmp_path / name))
    path = tmp_path / "secret"
    path.write_text("x")
    path.chmod(0)
    if os.geteuid() == 0:  # root may read everything: ask for what nobody can open
        path = tmp_path / ("x" * 300)
    with pytest.raises(InputError, match="cannot be opened"):
        list(Lines(path))


def test_the_ending_below_the_compression():
    names = ["c.jsonl.gz", "c.tsv.zst", "c.json", "c", "c.gz", "beir-v1.0.0-x"]
    assert [suffix(name) for name in names] == [".jsonl", ".tsv", ".json", "", "", ".0-x"]
