"""Windows of rows to parts: a part is written by a thread while the next window is encoded."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from gradir.encode.parts import Counts, Parts, counts_of
from gradir.encode.rows import Side, Source, Window, windows
from gradir.errors import InputError


class TextEncoder(Protocol):
    """What encodes: a `gradir.engine.Encoder`, or an object with the same face."""

    @property
    def tokens(self) -> int: ...

    def description(self) -> dict[str, Any]: ...

    def vocab(self) -> list[str]: ...

    def encode_windows(
        self, windows: Iterable[Sequence[Any]], side: Side, progress: Callable[[int], object] | None
    ) -> Iterator[Any]: ...


@dataclass(frozen=True)
class Work:
    """One run; a worker process gets it pickled.

    Attributes:
        source: What is read.
        open: Opens the encoder on a device.
        parts: What is written.
        part_size: Rows of a window, which becomes one part.
        devices: One process each if there are several.
        known: Parts that are there already.
    """

    source: Source
    open: Callable[[str], Any]
    parts: Parts
    part_size: int
    devices: tuple[str, ...]
    known: frozenset[int] = frozenset()

    def windows(self, index: int = 0) -> Iterator[Window]:
        """The windows left for the device of this index: each device takes every n-th."""
        for number, rows in windows(self.source.rows(), self.part_size):
            if number % len(self.devices) == index and number not in self.known:
                yield number, rows


def encode_parts(
    encoder: TextEncoder,
    work: Work,
    progress: Callable[[int], object],
    written: Callable[[Counts], object],
    index: int = 0,
) -> None:
    """Write the parts of all windows that are left for one device.

    Args:
        encoder: Open on that device.
        work: The run.
        progress: Called with the number of texts encoded, after each batch.
        written: Called with the counts of each part, once it is on disk.
        index: Which of the devices.

    Raises:
        GradirError: A vector is unsound (its document is named), or the disk is full.
    """
    waiting: deque[Window] = deque()  # windows that the encoder has taken and not given back

    def texts() -> Iterator[list[Any]]:
        for number, rows in work.windows(index):
            waiting.append((number, rows))
            yield [row.text for row in rows]

    with _Writer(work.parts, written) as writer:
        vectors = encoder.encode_windows(texts(), work.source.side, progress)
        while (encoded := _next(vectors, waiting, work.source.side)) is not None:
            writer.write(*waiting.popleft(), encoded)


def _next(vectors: Iterator[Any], waiting: deque[Window], side: Side) -> Any | None:
    """The vectors of the next window; an unsound one is named by its id."""
    from gradir.engine.quantise import UnsoundVector

    try:
        return next(vectors, None)
    except UnsoundVector as error:
        what = "query" if side == "query" else "document"
        raise UnsoundVector(error.row, f"{what} {waiting[0][1][error.row].id}") from None


class _Writer:
    """Writes parts in a thread, one at a time: `write` waits for the part before, whose error it raises."""

    def __init__(self, parts: Parts, written: Callable[[Counts], object]):
        self._parts, self._written = parts, written
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="parts")
        self._pending: Future[Counts] | None = None

    def __enter__(self) -> _Writer:
        return self

    def write(self, number: int, rows: Sequence[Any], vectors: Any) -> None:
        """Begin to write a part."""
        self._settle()
        self._pending = self._thread.submit(self._one, number, rows, vectors)

    def _one(self, number: int, rows: Sequence[Any], vectors: Any) -> Counts:
        with writing(self._parts.folder):
            self._parts.write(number, [row.id for row in rows], [row.contents for row in rows], vectors)
        return counts_of(vectors)

    def _settle(self) -> None:
        if self._pending:
            pending, self._pending = self._pending, None
            self._written(pending.result())

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._settle()
        finally:
            self._thread.shutdown()  # what is being written when something else fails is kept


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """A full disk is the user's to mend, and the parts that are whole are kept."""
    try:
        yield
    except OSError as error:
        problem = f"cannot be written ({error.strerror or error})"
        raise InputError(folder, problem, "Make room there; the same command goes on where it stopped") from None
