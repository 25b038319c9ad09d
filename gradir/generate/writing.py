"""How documents and judgements get to the disk and to people: files side by side, what to do when the disk is full, counts."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from gradir.data.atomic import new_folder, new_text
from gradir.data.qrels import HEADER
from gradir.errors import GradirError
from gradir.generate.asking_arguments import Asking

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


@contextmanager
def new_output(asking: Asking) -> Iterator[Path]:
    """`new_folder` in place of what stands at the output.

    Raises:
        GradirError: The disk is full; says that finished requests are in the store.
    """
    fix = f"Finished requests stay in {asking.store}: make room, and the same command goes on from there."
    with room_on_disk(asking.output, fix), new_folder(asking.output, replace=True) as folder:
        yield folder


@contextmanager
def room_on_disk(output: Path, fix: str = "Make room, and give the same command again.") -> Iterator[None]:
    """Around the writing of an output: a full disk is an error that says what to do.

    Raises:
        GradirError: There is no room.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        raise GradirError(f"{output} cannot be written ({error.strerror or error}). {fix}") from None


def apart(output: Path, inputs: Iterable[str | Path]) -> None:
    """Refuse an output in whose place something stands that is read: with --overwrite it would be gone.

    Raises:
        GradirError: Names it.
    """
    place = output.resolve()
    for one in inputs:
        path = Path(one).resolve()
        if path.exists() and place in (path, *path.parents):
            raise GradirError(
                f"--output {output} would take the place of what is read, {one}. Choose another --output."
            )


class Files:
    """JSON Lines files and judgements that are written side by side, a line at a time; a context manager.

    Args:
        folder: Where they appear if the block ends well.
        names: Of the JSON Lines files.
        qrels: Of the judgements, in BEIR's form.
    """

    def __init__(self, folder: Path, names: Iterable[str], qrels: str):
        with ExitStack() as stack:
            self._streams = {name: stack.enter_context(new_text(folder / name)) for name in names}
            self._qrels = stack.enter_context(new_text(folder / qrels))
            self._qrels.write(HEADER)
            self._stack = stack.pop_all()

    def __enter__(self) -> Files:
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)

    def add(self, name: str, value: dict[str, Any]) -> None:
        """A line of a JSON Lines file."""
        self._streams[name].write(json.dumps(value, ensure_ascii=False) + "\n")

    def judge(self, qid: str, docid: str, grade: int) -> None:
        """A line of the judgements."""
        self._qrels.write(f"{qid}\t{docid}\t{grade}\n")


def columns(rows: Iterable[tuple[str, int]]) -> str:
    """Names and counts for people."""
    known = list(rows)
    width = max(len(name) for name, _ in known) + 2
    return "\n".join(f"{name:<{width}}{count:>10,}" for name, count in known)


def unanswered(requests: int, error: str) -> str:
    """What people must know of requests that failed; empty if there are none."""
    if not requests:
        return ""
    again = "the same command with --overwrite asks only them again"
    return f"\n{requests:,} requests were not answered ({error}); {again}"
