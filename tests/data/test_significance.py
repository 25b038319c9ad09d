import itertools
import math

import numpy as np
import pytest

from gradir.data.significance import difference, paired_p


def test_the_paired_test_by_hand() -> None:
    # differences 1, 2, 3: mean 2, deviation 1, t = 2 sqrt(3); two-sided p with 2 degrees of freedom is 1 - t / sqrt(t^2 + 2)
    t = 2 * math.sqrt(3)
    assert math.isclose(paired_p([1, 2, 3], [0, 0, 0]), 1 - t / math.sqrt(t * t + 2))
    assert paired_p([1, 2], [1, 2]) == 1.0


def test_the_interval_is_that_of_all_draws() -> None:
    ours, theirs = [0.9, 0.5, 0.4, 0.75], [0.5, 0.5, 0.5, 0.25]
    gaps = np.subtract(ours, theirs)
    every = [np.mean(one) for one in itertools.product(gaps, repeat=4)]  # each as likely as any other
    found = difference(ours, theirs)
    assert found.mean == pytest.approx(0.2)
    assert [found.low, found.high] == pytest.approx(np.quantile(every, [0.025, 0.975]), abs=0.02)
    assert found.p == paired_p(ours, theirs)


def test_equal_runs_do_not_differ() -> None:
    assert difference([0.5, 1.0], [0.5, 1.0]) == (0.0, 0.0, 0.0, 1.0)
    assert str(difference([0.5, 1.0], [0.5, 1.0])) == "+0.0000 [+0.0000, +0.0000], p = 1"
