"""Schedules by hand, the controller on a toy that can be trained, the alarm."""

from __future__ import annotations

import json

import pytest
import torch

from gradir.errors import GradirError
from gradir.train.regularisers import flops, l0, l1
from gradir.train.sparsity import CollapseAlarm, Growth, Schedule, TermController


@pytest.mark.parametrize(
    ("growth", "expected"),
    [("quadratic", [0, 0.0625, 0.25, 1, 1]), ("linear", [0, 0.25, 0.5, 1, 1]), ("constant", [1, 1, 1, 1, 1])],
)
def test_schedules(growth: Growth, expected: list[float]) -> None:
    schedule = Schedule(growth, 100)
    assert [schedule.factor(step) for step in (0, 25, 50, 100, 5000)] == expected
    assert [schedule.complete(step) for step in (0, 99, 100)] == [growth == "constant", growth == "constant", True]


def test_steps_below_1_are_a_share_of_all() -> None:
    assert Schedule.of("quadratic", 0.33, 1000) == Schedule("quadratic", 330)
    assert Schedule.of("linear", 50_000, 150_000) == Schedule("linear", 50_000)
    assert Schedule.of("quadratic", 0, 10).factor(0) == 1


class Toy:
    """Terms of different worth that a model would rather have all of."""

    def __init__(self, controller: TermController, kind: str):
        self.draw = torch.Generator().manual_seed(3)
        self.worth = torch.rand(1000, generator=self.draw) ** 3 * 2 + 0.01
        self.shift = torch.nn.Parameter(torch.ones(1000))
        self.optimizer = torch.optim.Adam([self.shift], 0.01)
        self.controller, self.schedule = controller, Schedule("quadratic", 100)
        self.penalty = flops if kind == "flops" else l1

    def train(self, first: int, last: int) -> list[float]:
        """Active terms of each step."""
        seen = []
        for step in range(first, last):
            noise = torch.randn(8, 1000, generator=self.draw)
            weights = (self.shift + 0.3 * noise).relu().log1p()
            mean = weights.mean(0)
            strength = self.schedule.factor(step) * self.controller.weight
            loss = strength * self.penalty(mean) - (self.worth * mean).sum() + 0.05 * self.shift.square().sum()
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            seen.append(l0(weights).item())
            self.controller.observe(seen[-1], self.schedule.complete(step))
        return seen


@pytest.mark.parametrize("kind", ["l1", "flops"])
@pytest.mark.parametrize("weight", [0.01, 1.0])
@pytest.mark.parametrize("target", [50, 150])
def test_the_controller_reaches_its_target(kind: str, weight: float, target: float) -> None:
    seen = Toy(TermController(target, weight), kind).train(0, 900)
    assert seen[0] > 900
    assert sum(seen[-100:]) / 100 == pytest.approx(target, rel=0.1)


def test_without_the_controller_the_toy_misses_it() -> None:
    fixed = TermController(50, 0.01, limit=1.0)
    assert sum(Toy(fixed, "flops").train(0, 900)[-100:]) / 100 > 200


def test_the_controller_goes_on_after_a_resume_as_if_there_were_none() -> None:
    first, second = TermController(50, 1.0), TermController(50, 1.0)
    for step in range(30):
        first.observe(40.0 + step)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert [first.observe(step) for step in range(20)] == [second.observe(step) for step in range(20)]


def test_the_controller_stays_within_its_limits() -> None:
    up, down = TermController(50, 2.0, limit=10), TermController(50, 2.0, limit=10)
    for _ in range(5000):
        up.observe(30_000)
        down.observe(0)
    assert up.weight == pytest.approx(20)
    assert down.weight == pytest.approx(0.2)


def test_while_the_schedule_grows_the_weight_is_only_lowered() -> None:
    controller = TermController(50, 1.0)
    for _ in range(100):
        controller.observe(30_000, complete=False)
    assert controller.weight == 1
    for _ in range(100):
        controller.observe(1, complete=False)
    assert controller.weight < 0.9


@pytest.mark.parametrize(("target", "weight"), [(0, 1), (-5, 1), (50, 0)])
def test_targets_and_weights_are_above_0(target: float, weight: float) -> None:
    with pytest.raises(GradirError, match="above 0"):
        TermController(target, weight)


def test_the_alarm_stops_after_so_many_empty_steps_in_a_row() -> None:
    alarm = CollapseAlarm(1000, patience=3)
    for empty in (0.6, 1.0, 0.4, 0.6, 0.6):  # once it was better
        alarm.observe("doc", 10, empty, complete=False)
    alarm.observe("query", 10, 0.6)  # the other side has its own count
    with pytest.raises(GradirError, match=r"doc vectors collapsed.*regularise\.doc\.weight.*anti_collapse"):
        alarm.observe("doc", 0, 1.0)


def test_dense_vectors_are_an_alarm_only_after_the_schedule() -> None:
    alarm = CollapseAlarm(1000, patience=3)
    for _ in range(50):
        alarm.observe("query", 1000, 0, complete=False)
    alarm.observe("query", 1000, 0)
    alarm.observe("query", 890, 0)
    alarm.observe("query", 950, 0)
    alarm.observe("query", 950, 0)
    with pytest.raises(GradirError, match=r"query vectors stay dense.*950 of 1000.*target_terms"):
        alarm.observe("query", 950, 0)


def test_the_alarm_goes_on_after_a_resume() -> None:
    alarm, other = CollapseAlarm(1000, patience=2), CollapseAlarm(1000, patience=2)
    alarm.observe("doc", 0, 1.0)
    other.load_state_dict(json.loads(json.dumps(alarm.state_dict())))
    with pytest.raises(GradirError, match="collapsed"):
        other.observe("doc", 0, 1.0)
