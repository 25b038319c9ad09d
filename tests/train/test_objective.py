"""The objective: which documents each loss sees, what is refused, and what is warned of."""

from __future__ import annotations

import math
import warnings
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import cross_entropy

from gradir.errors import GradirError
from gradir.train.losses import LOSSES, graded_margin_mse, infonce, kl, listnet, margin_mse, wasserstein
from gradir.train.objective import Labels, LossWarning, Objective, own_documents

QUERIES, EACH = 4, 3
NOWHERE = torch.nan


def batch(**changes: Tensor) -> tuple[Tensor, Labels]:
    """Scores [4, 12] and labels: lists of three documents, graded 0 to 3, the first of each at least 1."""
    generator = torch.Generator().manual_seed(5)
    scores = torch.randn(QUERIES, QUERIES * EACH, generator=generator)
    own = torch.eye(QUERIES, dtype=torch.bool).repeat_interleave(EACH, 1)
    grades = torch.tensor([[3.0, 1, 0], [1, 0, 0], [2, 2, 0], [1, 0, 3]])
    teacher = torch.randn(QUERIES, EACH, generator=generator)
    spread = {
        "grades": torch.block_diag(*grades),
        "own": own,
        "teacher": torch.block_diag(*teacher).masked_fill(~own, NOWHERE),
        "excluded": torch.zeros_like(own),
    }
    return scores, Labels(**{**spread, **changes})


def lists(value: Tensor) -> Tensor:
    """The blocks of the diagonal: each query's own documents, [4, 3]."""
    return torch.stack([row[number * EACH : (number + 1) * EACH] for number, row in enumerate(value)])


def value_of(entry: Any, scores: Tensor, labels: Labels) -> Tensor:
    return Objective([entry])(scores, labels)[0]


def test_it_is_the_weighted_sum_of_its_losses() -> None:
    scores, labels = batch()
    objective = Objective([{"name": "wasserstein", "weight": 2}, {"name": "infonce", "weight": 0.1}, "listnet"])
    total, parts = objective(scores, labels)
    assert list(parts) == ["wasserstein", "infonce", "listnet"]
    everything = torch.ones_like(labels.own)
    torch.testing.assert_close(parts["wasserstein"], wasserstein(scores, labels.grades, everything))
    torch.testing.assert_close(parts["infonce"], infonce(scores, labels.grades, everything))
    own, whole = lists(scores), torch.ones(QUERIES, EACH, dtype=torch.bool)
    torch.testing.assert_close(parts["listnet"], listnet(own, lists(labels.grades), whole))
    expected = 2 * parts["wasserstein"] + 0.1 * parts["infonce"] + parts["listnet"]
    assert total.item() == pytest.approx(expected.item(), rel=1e-6)


def test_a_loss_may_stand_there_twice() -> None:
    scores, labels = batch()
    _, parts = Objective(["infonce", {"name": "infonce", "scope": "own"}])(scores, labels)
    own, whole = lists(scores), torch.ones(QUERIES, EACH, dtype=torch.bool)
    torch.testing.assert_close(parts["infonce-2"], infonce(own, lists(labels.grades), whole))
    assert parts["infonce"] > parts["infonce-2"]


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("scope", ["own", "batch"])
def test_every_loss_takes_either_scope_and_gives_gradients(name: str, scope: str) -> None:
    scores, labels = batch()
    leaf = scores.clone().requires_grad_()
    value_of({"name": name, "scope": scope}, leaf, labels).backward()
    assert leaf.grad is not None
    assert leaf.grad.isfinite().all()
    assert (leaf.grad[labels.own] != 0).any()
    if scope == "own" or LOSSES[name].target == "teacher":
        assert (leaf.grad[~labels.own] == 0).all()


@settings(deadline=None, max_examples=40, database=None)
@given(st.sampled_from(sorted(LOSSES)), st.integers(0, 1000))
def test_excluded_documents_have_no_part(name: str, seed: int) -> None:
    """Some of other queries, and some own ones (which fill up short lists)."""
    excluded = torch.rand(QUERIES, QUERIES * EACH, generator=torch.Generator().manual_seed(seed)) < 0.3
    excluded[:, 0] = False
    scores, labels = batch(excluded=excluded)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = value_of(name, scores, labels)
        leaf = scores.masked_fill(excluded, torch.nan).requires_grad_()
        found = value_of(name, leaf, labels._replace(grades=labels.grades.masked_fill(excluded, 3)))
    torch.testing.assert_close(found, expected)
    found.backward()
    assert leaf.grad is not None
    assert (leaf.grad[excluded] == 0).all()


def test_lists_of_different_lengths_are_gathered() -> None:
    takes_part = torch.tensor([[False, True, False, True], [False, False, False, False], [True, False, False, False]])
    values = torch.arange(12.0).view(3, 4)
    found, mask = own_documents(takes_part, values, takes_part)
    assert mask.tolist() == [[True, True], [False, False], [True, False]]
    assert found[0].tolist() == [1, 3]
    assert found[2, 0] == 8


@pytest.mark.parametrize("name", ["wasserstein", "kl_labels"])
def test_documents_of_other_queries_have_the_grade_that_is_asked_for(name: str) -> None:
    scores, labels = batch()
    function, everything = LOSSES[name].function, torch.ones_like(labels.own)
    lower = labels.grades.masked_fill(~labels.own, -2.0)
    assert value_of(name, scores, labels) == function(scores, labels.grades, everything)
    found = value_of({"name": name, "in_batch_label": -2}, scores, labels)
    torch.testing.assert_close(found, function(scores, lower, everything))
    masked = value_of({"name": name, "in_batch_label": "mask"}, scores, labels)
    torch.testing.assert_close(masked, function(scores, labels.grades, labels.own))
    far_below = value_of({"name": name, "in_batch_label": -1000}, scores.masked_fill(~labels.own, -1000.0), labels)
    torch.testing.assert_close(far_below, masked)


def test_positives_come_from_the_grades() -> None:
    scores, labels = batch()
    own, teacher, whole = lists(scores), lists(labels.teacher), torch.ones(QUERIES, EACH, dtype=torch.bool)
    for grade in (1, 2):
        relevant = lists(labels.grades) >= grade
        expected = margin_mse(own, teacher, whole, relevant=relevant)
        torch.testing.assert_close(value_of({"name": "margin_mse", "positive_grade": grade}, scores, labels), expected)
        torch.testing.assert_close(Objective(["margin_mse"], positive_grade=grade)(scores, labels)[0], expected)
        expected = infonce(scores, labels.grades, torch.ones_like(labels.own), positive_grade=grade)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.testing.assert_close(Objective(["infonce"], positive_grade=grade)(scores, labels)[0], expected)


def test_options_reach_the_loss() -> None:
    scores, labels = batch()
    own, grades = lists(scores), lists(labels.grades)
    whole = torch.ones(QUERIES, EACH, dtype=torch.bool)
    found = value_of({"name": "graded_margin_mse", "margin": 2.5}, scores, labels)
    torch.testing.assert_close(found, graded_margin_mse(own, grades, whole, margin=2.5))
    found = value_of({"name": "kl", "temperature": 2, "teacher_temperature": 3}, scores, labels)
    torch.testing.assert_close(found, kl(own, lists(labels.teacher), whole, temperature=2, teacher_temperature=3))


def test_a_learnt_temperature_learns_and_stays_within_its_limits() -> None:
    scores, labels = batch(grades=torch.block_diag(*torch.tensor([[1.0, 0, 0]]).repeat(QUERIES, 1)))
    scores = scores + 5 * labels.grades  # always right: the colder the better
    entry = {"name": "infonce", "temperature": "learn", "temperature_start": 1.0, "temperature_min": 0.5}
    objective = Objective([entry])
    expected = cross_entropy(scores, torch.arange(0, 12, 3))
    torch.testing.assert_close(objective(scores, labels)[0], expected)
    optimizer = torch.optim.SGD(objective.parameters(), 30.0)
    for _ in range(60):
        optimizer.zero_grad()
        objective(scores, labels)[0].backward()
        optimizer.step()
    assert objective(scores, labels)[0] < expected
    assert objective.temperatures() == {"infonce": pytest.approx(0.5)}
    scores = scores.flip(1)  # always wrong: the parameter finds back from its end
    for _ in range(20):
        optimizer.zero_grad()
        objective(scores, labels)[0].backward()
        optimizer.step()
    assert objective.temperatures()["infonce"] > 1
    other = Objective([entry])
    other.load_state_dict(objective.state_dict())
    assert other.temperatures() == objective.temperatures()


def test_autocast_does_not_reach_into_the_losses() -> None:
    scores, labels = batch()
    names = sorted(LOSSES)
    expected = Objective(names)(scores, labels)[0]
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(Objective(names)(scores, labels)[0], expected, atol=0, rtol=0)


def test_all_problems_are_told_at_once_and_the_nearest_names() -> None:
    losses = [
        "infonse",
        {"name": "wasserstein", "temprature": 2, "gain": "exponental", "in_batch_label": "masked"},
        {"name": "kl", "temperature": "learn", "weight": -1},
        {"name": "listnet", "in_batch_label": 0, "scope": "batches"},
        {"name": "infonce", "symmetric": True, "scope": "own", "guard": "high", "temperature": 0},
        {"name": "infonce", "temperature": "learn", "temperature_start": 2, "temperature_max": 1},
        {"name": "lambda_loss", "k": 2.5, "weighting": "ndcg"},
        {"weight": 1},
        7,
    ]
    with pytest.raises(GradirError) as caught:
        Objective(losses)
    told = str(caught.value)
    for part in (
        "losses[0]: no loss 'infonse', did you mean 'infonce'?",
        "losses[1] (wasserstein): no option 'temprature', did you mean 'temperature'?",
        "gain is not 'exponental', did you mean 'exponential'?",
        "in_batch_label is not 'masked', did you mean 'mask'?",
        "losses[2] (kl): its temperature cannot be learnt",
        "losses[2] (kl): weight must be above 0, not -1",
        "losses[3] (listnet): no option 'in_batch_label'",
        "scope is not 'batches', did you mean 'batch'?",
        "losses[4] (infonce): symmetric needs `scope: batch`",
        "guard is not 'high'",
        "losses[4] (infonce): temperature must be above 0",
        "losses[5] (infonce): temperature_start must lie between",
        "losses[6] (lambda_loss): k is not 2.5; it is a whole number or null",
        "weighting is not 'ndcg', did you mean 'ndcg2'?",
        "losses[7]: {'weight': 1} is neither a name nor a mapping with a name",
        "losses[8]: 7 is neither",
    ):
        assert part in told


@pytest.mark.parametrize(
    "entry",
    [
        {"name": "infonce", "guard": None},
        {"name": "infonce", "guard": -0.5, "temperature": 0.02, "positives": "each"},
        {"name": "lambda_loss", "k": 10, "weighting": "ndcg2++", "mu": 5},
        {"name": "wasserstein_rows", "power": 2, "gain": "exponential", "label_temperature": 0.5},
        {"name": "margin_mse", "pairs": "all", "positive_grade": 2},
    ],
)
def test_good_options_are_taken(entry: dict[str, Any]) -> None:
    before = dict(entry)
    assert value_of(entry, *batch()).isfinite()
    assert entry == before


@pytest.mark.parametrize(
    "entry",
    [{"name": "wasserstein_rows", "power": 3}, {"name": "infonce", "symmetric": 1}, {"name": "infonce", "guard": True}],
)
def test_bad_values_are_refused(entry: dict[str, Any]) -> None:
    with pytest.raises(GradirError, match="is not"):
        Objective([entry])


def test_no_loss_at_all_is_refused() -> None:
    with pytest.raises(GradirError, match="none is given"):
        Objective([])


def told(objective: Objective, *calls: tuple[Tensor, Labels]) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for call in calls:
            objective(*call)
    return [str(one.message) for one in caught]


def test_what_is_in_order_is_not_warned_of() -> None:
    assert told(Objective(sorted(LOSSES)), batch(), batch()) == []


def test_wasserstein_of_one_query_is_warned_of_once() -> None:
    scores, labels = batch()
    alone = scores[:1], Labels(*(value[:1] for value in labels))
    assert len(told(Objective(["wasserstein"]), alone, alone, alone)) == 1
    assert "batch_size" in told(Objective(["wasserstein"]), alone)[0]


def test_lists_without_a_positive_are_counted_and_warned_of_once() -> None:
    scores, labels = batch()
    grades = labels.grades.clone()
    grades[1] = 0
    lacking = scores, labels._replace(grades=grades)
    objective = Objective(["infonce"])
    assert len(told(objective, lacking, lacking)) == 1
    assert objective.skipped == {"infonce: no positive": 2}
    rest = Labels(*(torch.cat([value[:1], value[2:]]) for value in lacking[1]))
    expected = Objective(["infonce"])(torch.cat([scores[:1], scores[2:]]), rest)[0]
    torch.testing.assert_close(objective(*lacking)[0], expected)


def test_contrast_with_nothing_is_warned_of_once() -> None:
    """One query whose documents are all positives; with another query's, or with a lower grade, there is a contrast."""
    scores, labels = batch()
    alone = scores[:1], Labels(*(value[:1] for value in labels))
    only = alone[0], alone[1]._replace(grades=alone[1].own * 3.0, excluded=~alone[1].own)
    (message,) = told(Objective(["infonce"]), only, only)
    assert "no query of the first batch has a negative" in message
    with pytest.warns(LossWarning):
        assert Objective(["infonce"])(*only)[0].item() == 0.0
    assert told(Objective(["infonce"]), (only[0], only[1]._replace(excluded=torch.zeros_like(only[1].own)))) == []
    own = Objective([{"name": "infonce", "scope": "own"}])
    assert len(told(own, (only[0], only[1]._replace(excluded=torch.zeros_like(only[1].own))))) == 1


def test_distillation_is_refused_before_it_begins_where_no_list_is_scored() -> None:
    with pytest.raises(
        GradirError, match=r"kl, margin_mse: needs teacher scores, and no list has one.*gradir mine scores"
    ):
        Objective(["kl", "margin_mse", "infonce"]).check_teacher(False)
    Objective(["infonce"]).check_teacher(False)
    scores, labels = batch()
    objective = Objective(["kl"])
    objective.check_teacher(True)  # of other lists: a first batch without any is passed over
    assert objective(scores, labels._replace(teacher=torch.full_like(scores, NOWHERE)))[0].item() == 0.0


def test_grades_that_never_differ_are_warned_of() -> None:
    scores, labels = batch()
    same = scores, labels._replace(grades=labels.own * 2.0)
    assert len(told(Objective(["listnet", "ranknet"]), same, same)) == 1
    assert told(Objective(["ranknet"]), batch(), same) == []
    assert told(Objective(["infonce"]), same) == []


def test_distillation_without_any_teacher_is_refused_unless_there_was_one() -> None:
    scores, labels = batch()
    nothing = labels._replace(teacher=torch.full_like(scores, NOWHERE))
    objective = Objective(["kl", "margin_mse", "infonce"])
    with pytest.raises(GradirError, match="kl needs teacher scores"):
        objective(scores, nothing)
    objective(scores, labels)
    leaf = scores.clone().requires_grad_()
    total, parts = objective(leaf, nothing)
    assert parts["kl"] == parts["margin_mse"] == 0
    assert total.item() == pytest.approx(parts["infonce"].item())
    total.backward()
    assert math.isfinite(leaf.grad.sum().item() if leaf.grad is not None else math.nan)


@pytest.mark.parametrize(
    ("losses", "needs"),
    [
        (["infonce"], True),
        (["kl"], False),
        (["margin_mse"], True),
        ([{"name": "margin_mse", "pairs": "all"}, "kl"], False),
        (["kl", "listnet"], True),
    ],
)
def test_only_distillation_does_without_positives(losses: list[Any], needs: bool) -> None:
    assert Objective(losses).needs_positive is needs
