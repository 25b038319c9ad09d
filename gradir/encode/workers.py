"""Several devices of one machine: a process for each, which reads the input and writes its parts for itself."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, cast

from gradir.encode.parts import Counts
from gradir.encode.pipeline import Work, encode_parts
from gradir.errors import GradirError

_GO_ON = "The parts that are whole are kept; the same command goes on"


def encode_on_devices(
    work: Work,
    description: dict[str, Any],
    progress: Callable[[int, int], object],
    written: Callable[[Counts], object],
) -> None:
    """Write all parts, the n-th part on the n-th device and so on in turn.

    Args:
        work: The run.
        description: What the encoder must be on every device, so that all parts are of one kind.
        progress: Called with texts and tokens encoded since the last call.
        written: Called with the counts of each part.

    Raises:
        GradirError: A process failed or was killed; the others are stopped.
    """
    context = multiprocessing.get_context("spawn")  # a CUDA context does not survive a fork
    processes: dict[Connection, tuple[str, BaseProcess]] = {}
    try:
        for index, device in enumerate(work.devices):
            ours, theirs = context.Pipe(duplex=False)
            process: BaseProcess = context.Process(target=_worker, args=(work, index, description, theirs), daemon=True)
            process.start()
            theirs.close()  # so that the end of the process is the end of the pipe
            processes[ours] = (device, process)
        _listen(processes, progress, written)
    finally:
        for connection, (_, process) in processes.items():
            process.terminate()
            process.join()
            connection.close()


def _listen(
    processes: dict[Connection, tuple[str, BaseProcess]],
    progress: Callable[[int, int], object],
    written: Callable[[Counts], object],
) -> None:
    """Pass on what the processes tell until all are done."""
    working = dict(processes)
    while working:
        for ready in wait(list(working)):
            connection = cast(Connection, ready)
            device, process = working[connection]
            try:
                kind, *values = connection.recv()
            except EOFError:
                process.join()
                raise GradirError(f"the process of device {device} {_ending(process.exitcode)}. {_GO_ON}.") from None
            if kind == "progress":
                progress(*values)
            elif kind == "written":
                written(*values)
            elif kind == "error":
                raise GradirError(f"device {device}: {values[0]}")
            else:
                del working[connection]


def _ending(code: int | None) -> str:
    """How a process ended, in words."""
    if code is not None and code < 0:
        return f"was ended by {signal.Signals(-code).name}" + (" (out of memory?)" if code == -signal.SIGKILL else "")
    return f"ended early with exit code {code}; what it said stands above"


def _worker(work: Work, index: int, description: dict[str, Any], pipe: Connection) -> None:
    """The life of one process. It ends quietly when nobody listens any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent stops us
    try:
        try:
            _encode(work, index, description, pipe)
        except GradirError as error:
            pipe.send(("error", str(error)))
        else:
            pipe.send(("done",))
    except BrokenPipeError:
        return


def _encode(work: Work, index: int, description: dict[str, Any], pipe: Connection) -> None:
    encoder = work.open(work.devices[index])
    if encoder.description() != description:
        found = [f"{key} {value!r}" for key, value in encoder.description().items() if description.get(key) != value]
        raise GradirError(f"it would encode with {', '.join(found)}, unlike {work.devices[0]}. Give these by flags.")
    tokens = 0

    def progress(texts: int) -> None:
        nonlocal tokens
        fresh, tokens = encoder.tokens - tokens, encoder.tokens
        pipe.send(("progress", texts, fresh))

    encode_parts(encoder, work, progress, lambda counts: pipe.send(("written", counts)), index)
