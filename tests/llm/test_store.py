"""The store of replies: nothing that was stored is lost, whatever happens to the process, the disk or the file."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gradir.errors import GradirError
from gradir.llm.records import Choice, Reply, Usage
from gradir.llm.store import Store


def _key(i: int) -> str:
    return hashlib.sha256(str(i).encode()).hexdigest()


def _reply(i: int) -> Reply:
    return Reply(
        (Choice(f"line {i}\nünïcode \u2028 🚀 \ud800", "length", (-0.1 * i,), ({"a": -1.5},)),), Usage(i, 0, 1)
    )


def _groups(*sizes: int) -> list[list[tuple[str, Reply]]]:
    places = iter(range(sum(sizes)))
    return [[(_key(i), _reply(i)) for i in (next(places) for _ in range(size))] for size in sizes]


def _filled(folder: Path, *sizes: int) -> Path:
    store = Store(folder)
    for group in _groups(*sizes):
        store.put(group)
    store.close()
    return store.path


def test_what_is_put_is_there_at_once_and_after_opening_again(tmp_path: Path) -> None:
    for reopened in (False, True):
        store = Store(tmp_path)
        if not reopened:
            for group in _groups(3, 1, 5):
                store.put(group)
        assert len(store) == 9
        assert [store.get(_key(i)) for i in range(9)] == [_reply(i) for i in range(9)]
        assert _key(8) in store
        assert _key(9) not in store
        assert store.get(_key(9)) is None
        store.close()


def test_replies_with_an_error_are_not_stored(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put([(_key(0), Reply(error="no")), (_key(1), _reply(1))])
    store.put([(_key(2), Reply(error="no"))])
    store.close()
    again = Store(tmp_path)
    assert [_key(i) in again for i in range(3)] == [False, True, False]
    assert store.path.read_bytes().count(b"\n") == 1
    again.close()


def test_a_file_that_ends_anywhere_holds_whole_groups_and_goes_on(tmp_path: Path) -> None:
    """Cut anywhere in the last two lines: the groups before are there, none in part, and new ones can be added."""
    path = _filled(tmp_path / "whole", 2, 3, 1)
    whole = path.read_bytes()
    ends = [place + 1 for place, byte in enumerate(whole) if byte == 10]
    near = {end + step for end in ends for step in (-2, -1, 0, 1, 2)}
    for length in sorted(near.union(range(ends[0], len(whole), 23)).intersection(range(ends[0], len(whole)))):
        folder = tmp_path / "cut"
        folder.mkdir(exist_ok=True)
        (folder / path.name).write_bytes(whole[:length])
        store = Store(folder)
        kept = sum(end <= length for end in ends)
        assert len(store) == [0, 2, 5, 6][kept]
        store.put([(_key(99), _reply(99))])
        assert store.get(_key(99)) == _reply(99)
        store.close()
        again = Store(folder)
        assert len(again) == [0, 2, 5, 6][kept] + 1
        assert all(again.get(_key(i)) == _reply(i) for i in range([0, 2, 5, 6][kept]))
        again.close()


@pytest.mark.parametrize("place", [0, 12, 25, 60, 200, -10])
def test_a_damaged_line_is_named(tmp_path: Path, place: int, raises_error: Callable[..., Any]) -> None:
    path = _filled(tmp_path, 1, 2, 1)
    lines = path.read_bytes().splitlines(keepends=True)
    damaged = bytearray(lines[1])
    damaged[place] ^= 1
    path.write_bytes(lines[0] + damaged + lines[2])
    with raises_error(f"{path}:2", "damaged", "Remove the line"):
        Store(tmp_path)
    path.write_bytes(lines[0] + lines[2])  # the fix that is named
    store = Store(tmp_path)
    assert [_key(i) in store for i in range(4)] == [True, False, False, True]
    store.close()


def test_a_file_of_a_newer_version_is_refused(tmp_path: Path, raises_error: Callable[..., Any]) -> None:
    path = _filled(tmp_path, 1)
    path.write_bytes(path.read_bytes().replace(b'"format":1', b'"format":2'))
    with raises_error(f"{path}:1", "another version"):
        Store(tmp_path)


HOLD = """
import sys
from gradir.llm.store import Store
store = Store(sys.argv[1])
print("held", flush=True)
sys.stdin.read()
"""


def test_a_second_process_is_refused_while_the_first_one_lives(
    tmp_path: Path, raises_error: Callable[..., Any]
) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == b"held\n"
        with raises_error(str(tmp_path), "another process"):
            Store(tmp_path)
        first.kill()
    Store(tmp_path).close()  # a killed process holds nothing


FORK = """
import os, sys, time
from gradir.llm.store import Store
store = Store(sys.argv[1])
if not os.fork():
    print(os.getpid(), flush=True)
time.sleep(60)
"""


def test_a_forked_child_that_outlives_a_killed_process_holds_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FORK, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        try:
            with pytest.raises(GradirError, match="another process"):
                Store(tmp_path)
            parent.kill()
            parent.wait()
            os.kill(child, 0)  # it lives
            Store(tmp_path).close()
        finally:
            os.kill(child, signal.SIGKILL)


FULL = """
import resource, sys
from gradir.errors import GradirError
from gradir.llm.store import Store
from tests.llm.test_store import _groups, _key, _reply
store = Store(sys.argv[1])
groups = _groups(*[1] * 50)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), -1))
try:
    for group in groups:
        store.put(group)
except GradirError as error:
    print(error)
stored = len(store)
assert all(store.get(_key(i)) == _reply(i) for i in range(stored))
resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))
store.put(groups[stored])  # room has been made
store.close()
"""


def test_no_room_on_the_disk(tmp_path: Path) -> None:
    """A limit on the file's size stands for the full disk: the write fails in the middle of a line just as well."""
    _filled(tmp_path, 3)
    limit = (tmp_path / "replies.jsonl").stat().st_size * 2
    done = subprocess.run([sys.executable, "-c", FULL, str(tmp_path), str(limit)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    store = Store(tmp_path)
    stored = len(store)
    assert 3 < stored < 20
    assert all(store.get(_key(i)) == _reply(i) for i in range(stored))
    for words in (str(store.path), f"{stored - 1} replies", "make room"):
        assert words in done.stdout
    store.close()


def test_a_folder_that_cannot_be_written(tmp_path: Path, raises_error: Callable[..., Any]) -> None:
    (tmp_path / "file").write_text("")
    with raises_error(str(tmp_path / "file"), "cannot be written"):
        Store(tmp_path / "file")


WRITE = """
import sys
from gradir.llm.store import Store
from tests.llm.test_store import _groups
store = Store(sys.argv[1])
for group in _groups(*[7] * 3000):
    store.put(group)
    print(group[-1][0], flush=True)
"""


@pytest.mark.parametrize("lines", [1, 40, 200])
def test_kill_nine_while_writing(tmp_path: Path, lines: int) -> None:
    """What the killed process had said is stored, is stored; groups are whole."""
    with subprocess.Popen([sys.executable, "-c", WRITE, str(tmp_path)], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        said = [writer.stdout.readline().strip() for _ in range(lines)]
        writer.send_signal(signal.SIGKILL)
        said += writer.stdout.read().split()
    assert writer.returncode == -signal.SIGKILL
    store = Store(tmp_path)
    assert len(store) % 7 == 0
    assert all(key in store for key in said)
    assert all(store.get(_key(i)) == _reply(i) for i in range(len(store)))
    store.close()


def test_memory_is_digests_and_offsets(tmp_path: Path) -> None:
    """20,000 replies of 2 KB are 40 MB on the disk, and a tenth of it in memory."""
    store = Store(tmp_path)
    long = Reply((Choice("x" * 2000),))
    for start in range(0, 20_000, 100):
        store.put([(_key(start + i), long) for i in range(100)])
    store.close()
    tracemalloc.start()
    store = Store(tmp_path)
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert len(store) == 20_000
    assert held < 5e6
    assert os.path.getsize(store.path) > 40e6
    store.close()
