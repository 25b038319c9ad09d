"""Rate limits, on a clock of their own."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from gradir.llm.rate import Rate


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        until = self.now + seconds
        await asyncio.sleep(0)
        self.now = max(self.now, until)


@pytest.fixture
def starts():
    """`starts(rate, tokens)`: when requests of so many tokens start, one after the other."""

    def run(rate: Rate, clock: Clock, tokens: list[int]) -> list[float]:
        async def enter() -> list[float]:
            found = []
            for one in tokens:
                await rate.enter(one)
                found.append(clock.now)
            return found

        return asyncio.run(enter())

    return run


def most_within(times: list[float], window: float) -> int:
    return max(sum(start <= time < start + window for time in times) for start in times)


def test_requests_per_minute(starts):
    clock = Clock()
    times = starts(Rate(requests=60, clock=clock, sleep=clock.sleep), clock, [0] * 200)
    assert most_within(times, 60) <= 60 + 6  # a burst at the beginning
    assert times[-1] == pytest.approx(199 - 5)
    assert times[5] == 0


def test_tokens_per_minute(starts):
    clock = Clock()
    times = starts(Rate(tokens=6000, clock=clock, sleep=clock.sleep), clock, [1000] * 20)
    assert [later - earlier for earlier, later in pairwise(times[1:])] == pytest.approx([10] * 18)


def test_what_was_not_used_is_given_back(starts):
    clock = Clock()
    rate = Rate(tokens=6000, clock=clock, sleep=clock.sleep)
    starts(rate, clock, [6000])
    rate.settle(6000, 100)
    assert starts(rate, clock, [100, 100]) == [0, 0]


def test_the_tighter_limit_holds(starts):
    clock = Clock()
    times = starts(Rate(requests=60, tokens=600, clock=clock, sleep=clock.sleep), clock, [100] * 10)
    assert times[-1] == pytest.approx(90 - 5)


def test_a_pause_holds_up_everybody_also_those_who_wait_already():
    clock = Clock()
    rate = Rate(clock=clock, sleep=clock.sleep)

    async def run() -> list[float]:
        found = []

        async def enter() -> None:
            await rate.enter(0)
            found.append(clock.now)

        rate.pause(3)
        waiting = [asyncio.create_task(enter()) for _ in range(3)]
        await asyncio.sleep(0)
        rate.pause(10)
        rate.pause(1)  # a shorter one does not end it
        await asyncio.gather(*waiting)
        return found

    assert all(time >= 10 for time in asyncio.run(run()))


def test_without_limits_nobody_waits(starts):
    clock = Clock()
    assert set(starts(Rate(clock=clock, sleep=clock.sleep), clock, [10**9] * 100)) == {0.0}
