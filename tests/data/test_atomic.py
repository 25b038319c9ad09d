from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gradir.data import atomic
from gradir.data.atomic import final_name, is_partial, new_folder, new_path, new_text, remove_partial


def test_a_file_appears_when_the_block_ends(tmp_path):
    path = tmp_path / "a" / "b.txt"
    with new_text(path) as stream:
        stream.write("é\n")
        assert not path.exists()
    assert path.read_bytes() == "é\n".encode()
    assert [file.name for file in path.parent.iterdir()] == ["b.txt"]


def test_a_failing_block_leaves_what_was_there(tmp_path):
    path = tmp_path / "b.txt"
    path.write_text("old")

    def fail(error: type[BaseException]) -> None:
        with new_text(path) as stream:
            stream.write("new")
            raise error

    for error in [RuntimeError, KeyboardInterrupt]:
        with pytest.raises(error):
            fail(error)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_file_is_synced_before_it_is_renamed_and_its_folder_after(tmp_path, monkeypatch):
    done = []
    monkeypatch.setattr(atomic, "_sync", lambda path: done.append(("sync", path.name)))
    replace = os.replace
    monkeypatch.setattr(os, "replace", lambda a, b: (done.append(("rename", a.name)), replace(a, b)))
    with new_path(tmp_path / "f") as temporary:
        temporary.write_text("x")
    assert done == [("sync", temporary.name), ("rename", temporary.name), ("sync", tmp_path.name)]
    done.clear()
    with new_folder(tmp_path / "d") as temporary:
        (temporary / "f").write_text("x")
    assert done == [("sync", "f"), ("sync", temporary.name), ("rename", temporary.name), ("sync", tmp_path.name)]


def test_places_where_no_file_can_stand_are_refused_before_the_work(tmp_path, refuses):
    (tmp_path / "file").write_text("x")
    ran = []
    for path, problem in [
        (tmp_path, "is a directory, a file is to be written there. Name a file inside it"),
        (tmp_path / "file" / "f", "cannot be made a folder"),
        (tmp_path / "run.gz", "is written without compression, its name must not end in .gz. Write run and"),
        (tmp_path / "run.zst", "is written without compression"),
    ]:
        with refuses(problem), new_text(path):
            ran.append(path)
    with refuses("cannot be made a folder"), new_folder(tmp_path / "file" / "f"):
        ran.append(tmp_path)
    assert ran == []


def test_a_folder_appears_whole_or_not_at_all(tmp_path, refuses):
    path = tmp_path / "d"

    def fail() -> None:
        with new_folder(path) as temporary:
            (temporary / "f").write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert list(tmp_path.iterdir()) == []
    path.mkdir()  # an empty one is no hindrance
    with new_folder(path) as temporary:
        (temporary / "sub").mkdir()
        (temporary / "sub" / "f").write_text("whole")
        (temporary / "link").symlink_to("nowhere")
    assert (path / "sub" / "f").read_text() == "whole"
    with refuses(f"{path}: exists already. Choose another --output, or give --overwrite"), new_folder(path):
        pytest.fail("no work is to be done")
    with new_folder(path, replace=True) as temporary:
        (temporary / "g").write_text("new")
        assert (path / "sub" / "f").exists()  # until the new one is ready
    assert [file.name for file in path.iterdir()] == ["g"]
    (tmp_path / "f").write_text("a file")
    with new_folder(tmp_path / "f", replace=True):
        pass
    assert sorted(file.name for file in tmp_path.iterdir()) == ["d", "f"]


@pytest.fixture
def dead() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_only_what_the_dead_left_is_removed(tmp_path, dead):
    gone = [f".a.partial-{dead}", f".b.parquet.partial-{dead}", f".a.partial-{os.getpid()}"]
    kept = [f".a.partial-{os.getppid()}", "a.partial-1", ".partial-x", f".a.partial-{dead}.txt", "a", ".hidden"]
    for name in gone[1:] + kept:
        (tmp_path / name).write_text("x")
    (tmp_path / gone[0]).mkdir()
    (tmp_path / gone[0] / "f").write_text("x")
    assert [is_partial(tmp_path / name) for name in gone] == [True] * 3
    assert [is_partial(tmp_path / name) for name in kept] == [True] + [False] * 5
    remove_partial(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)


def test_a_name_limits_what_is_removed(tmp_path, dead):
    for name in ["a", "ab", "a.b"]:
        (tmp_path / f".{name}.partial-{dead}").write_text("x")
    remove_partial(tmp_path, "a")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([f".ab.partial-{dead}", f".a.b.partial-{dead}"])
    remove_partial(tmp_path / "no such folder")


def test_a_killed_writer_leaves_nothing_that_looks_finished(tmp_path):
    code = (
        "import os, sys; from gradir.data.atomic import new_text\n"
        "with new_text(sys.argv[1]) as stream:\n"
        "    stream.write('half'); stream.flush(); os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path / "f")], check=False).returncode == 9
    (left,) = tmp_path.iterdir()
    assert is_partial(left)
    remove_partial(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_files_of_a_new_folder_can_be_read_by_those_who_may_read_others(tmp_path):
    (tmp_path / "plain").touch()
    with new_folder(tmp_path / "made") as folder:
        (folder / "deep").mkdir()
        for name in ("private", "deep/private"):
            (folder / name).touch(mode=0o600)
    for name in ("private", "deep/private"):
        assert (tmp_path / "made" / name).stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_folder_takes_the_place_of_another(tmp_path: Path) -> None:
    (tmp_path / "index").mkdir()
    (tmp_path / "index" / "old").write_text("old")
    with new_folder(tmp_path / "index", replace=True) as folder:
        (folder / "new").write_text("new")
    assert [path.name for path in tmp_path.iterdir()] == ["index"]
    assert [path.name for path in (tmp_path / "index").iterdir()] == ["new"]


@pytest.mark.parametrize("name", ["index", "run.trec", "a.partial-b"])
def test_the_final_name_of_a_temporary_one(tmp_path: Path, name: str) -> None:
    with new_path(tmp_path / name) as temporary:
        assert final_name(temporary) == tmp_path / name
        temporary.touch()
    assert final_name(tmp_path / name) == tmp_path / name
