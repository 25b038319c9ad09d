"""Rate limits: requests and tokens per minute, and the pauses that a server asks for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

_BURST = 5.0  # seconds' worth of requests that may start at once


class Rate:
    """Lets requests start so that a server's limits hold.

    Each limit is a clock that runs ahead of time by what every request uses up (the generic cell rate algorithm): a request
    starts when its clock is at most five seconds ahead.

    Args:
        requests: Requests per minute; None: no limit.
        tokens: Tokens per minute, of prompts and answers; None: no limit.
        clock: Seconds, from any point on.
        sleep: Waits for so many seconds.
    """

    def __init__(
        self,
        requests: float | None = None,
        tokens: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ):
        self._seconds = [60 / limit if limit else 0.0 for limit in (requests, tokens)]  # that one of them uses up
        self._ahead = [float("-inf")] * 2
        self._paused_until = float("-inf")
        self._clock, self._sleep = clock, sleep

    async def enter(self, tokens: int) -> None:
        """Wait until a request that is thought to need so many tokens may start."""
        now, start = self._clock(), self._clock()
        for kind, amount in enumerate((1, tokens)):
            if self._seconds[kind]:
                ahead = max(self._ahead[kind], now)
                start = max(start, ahead - _BURST)
                self._ahead[kind] = ahead + amount * self._seconds[kind]
        while (wait := max(start, self._paused_until) - self._clock()) > 0:  # a pause may begin while this one waits
            await self._sleep(wait)

    def settle(self, planned: int, used: int) -> None:
        """A request that was thought to need `planned` tokens has needed `used`."""
        self._ahead[1] += (used - planned) * self._seconds[1]

    def pause(self, seconds: float) -> None:
        """No request starts for so long."""
        self._paused_until = max(self._paused_until, self._clock() + seconds)
