"""Agreement of judgements: scikit-learn and SciPy are the oracle."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score, confusion_matrix

from gradir.data.schemas import load as schema
from gradir.errors import GradirError
from gradir.generate.agreement import agreement as agreement_of
from gradir.generate.agreement import confusion, kappa, order_of_systems, report


def agreement(*arguments: Any) -> dict[str, Any]:
    """What is found, of the form that its schema says."""
    found = agreement_of(*arguments)
    jsonschema.validate(found, schema("agreement"))
    return found


LABELS = [0, 1, 2, 3]
Pairs = list[tuple[int, int]]
some_pairs = st.lists(st.tuples(st.sampled_from(LABELS), st.sampled_from(LABELS)), min_size=1, max_size=40)


@given(some_pairs)
def test_kappa_is_that_of_scikit_learn(pairs: Pairs) -> None:
    human, llm = zip(*pairs, strict=True)
    matrix = confusion(pairs, LABELS)
    assert (matrix == confusion_matrix(human, llm, labels=LABELS)).all()
    if len({*human, *llm}) == 1:
        assert kappa(matrix) is None
        assert kappa(matrix, "quadratic") is None
        return
    assert kappa(matrix) == pytest.approx(cohen_kappa_score(human, llm, labels=LABELS))
    assert kappa(matrix, "quadratic") == pytest.approx(
        cohen_kappa_score(human, llm, labels=LABELS, weights="quadratic")
    )


def test_pairs_that_only_one_has_judged_are_counted_and_left_out() -> None:
    human = {"q1": {"a": 3, "b": -1, "c": 1}, "q2": {"a": 2}}
    llm = {"q1": {"a": 3, "b": 0, "z": 2}, "q9": {"a": 1}}
    found = agreement(human, llm)
    assert found["pairs"] == 2
    assert (found["only_human"], found["only_llm"]) == (2, 2)
    assert found["confusion"] == np.diag([1, 0, 0, 1]).tolist()  # a negative grade is one of 0
    assert found["equal"] == found["kappa"] == 1


def test_grades_beyond_the_scale_have_their_own_row() -> None:
    found = agreement({"q": {"a": 4, "b": 0}}, {"q": {"a": 3, "b": 0}})
    assert found["grades"] == [0, 1, 2, 3, 4]
    assert found["confusion"][4] == [0, 0, 0, 1, 0]


def test_nothing_in_common() -> None:
    with pytest.raises(GradirError, match="belong together"):
        agreement({"q": {"a": 1}}, {"q": {"b": 1}})


def write_run(path: Path, order: Sequence[str]) -> Path:
    lines = [f"q Q0 {docid} {rank} {10 - rank} {path.stem}\n" for rank, docid in enumerate(order, 1)]
    path.write_text("".join(lines))
    return path


def ndcg(order: Sequence[str], grades: dict[str, int]) -> float:
    def dcg(gains: Sequence[int]) -> float:
        return float(sum(gain / np.log2(rank + 1) for rank, gain in enumerate(gains, 1)))

    return dcg([grades.get(docid, 0) for docid in order]) / dcg(sorted(grades.values(), reverse=True))


def test_order_of_systems(tmp_path: Path) -> None:
    orders = ["abcd", "bacd", "dcba", "cdab"]
    runs = [write_run(tmp_path / f"s{i}.trec", order) for i, order in enumerate(orders)]
    human, llm = {"a": 3, "b": 2, "c": 1, "d": 0}, {"a": 2, "b": 3, "c": 0, "d": 1}
    found = order_of_systems({"q": human, "unjudged": {"a": 1}}, {"q": llm}, runs)
    assert found["queries"] == 1
    theirs, ours = [ndcg(order, human) for order in orders], [ndcg(order, llm) for order in orders]
    assert [one["human"] for one in found["runs"]] == pytest.approx(theirs, abs=1e-6)
    assert [one["llm"] for one in found["runs"]] == pytest.approx(ours, abs=1e-6)
    agree = sum(
        1 if (theirs[i] - theirs[j]) * (ours[i] - ours[j]) > 0 else -1 for i in range(4) for j in range(i)
    )  # no ties here
    assert found["tau"] == pytest.approx(agree / 6)
    assert -1 < found["tau"] < 1


def test_tau_of_one_system_or_of_equal_ones(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / f"s{i}.trec", "ab") for i in range(2)]
    judged = {"q": {"a": 1, "b": 0}}
    assert order_of_systems(judged, judged, runs[:1])["tau"] is None
    assert order_of_systems(judged, judged, runs)["tau"] is None


def test_the_report_names_what_is_not_defined(tmp_path: Path) -> None:
    judged = {"q": {"a": 1}}
    text = report(agreement(judged, judged, [write_run(tmp_path / "bm25.trec", "a")]))
    assert "kappa             not defined" in text
    assert "bm25.trec" in text
    assert "1 pairs with two grades, 100.0% of them equal" in text
    assert text.splitlines()[3].split() == ["0", "1", "2", "3"]
