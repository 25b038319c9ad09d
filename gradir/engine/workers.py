"""Batches on the cores of a processor: each batch is one thread's work, which on two cores is faster than two threads a batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TypeVar

import torch

Given = TypeVar("Given")
Made = TypeVar("Made")

# Python's own work for a batch is a hundredth of the whole: so many threads do not wait for one another.
_MOST = 16


class Workers:
    """Threads that work on a batch each, with their share of the cores.

    Threads of one product meet at its end, and wait there for the slowest; batches of their own need no meeting. Tokenising and
    gathering results go on meanwhile.

    Args:
        device: Where the batches are computed; on a GPU there is one worker, the caller.
        alone: Also on a processor: what computes has threads of its own.
    """

    def __init__(self, device: torch.device, alone: bool = False):
        self.threads = torch.get_num_threads()
        self.number = min(self.threads, _MOST) if device.type == "cpu" and not alone else 1
        self._pool: ThreadPoolExecutor | None = None

    def map(self, work: Callable[[Given], Made], batches: list[Given]) -> Iterator[Made]:
        """Results in the order of the batches. Few batches are the caller's own work, with all cores."""
        if self.number == 1 or len(batches) < 2 * self.number:
            return map(work, batches)
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self.number, "encode", self._take_share, (Barrier(self.number),))
        return self._in_order(work, batches, self._pool)

    def _take_share(self, all_here: Barrier) -> None:
        torch.set_num_threads(max(1, self.threads // self.number))
        all_here.wait()  # a thread that begins after the last batch would set MKL's threads for the whole process, for good

    def _in_order(
        self, work: Callable[[Given], Made], batches: Iterable[Given], pool: ThreadPoolExecutor
    ) -> Iterator[Made]:
        results = pool.map(work, batches)
        try:
            yield from results
        finally:
            # An error or an early end leaves no batch behind; and MKL heeds whoever set its threads last.
            results.close()  # type: ignore[attr-defined]
            torch.set_num_threads(self.threads)
