"""Which lists come in which step, on how many devices; their tokens in blocks; labels of every pair."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gradir.data.records import GradedDoc, GradedList
from gradir.errors import GradirError
from gradir.train.batches import DrawnLists, Steps, token_blocks
from gradir.train.learner import labels_of


class Numbered:
    """`count` lists of `size` documents, of which the second is relevant."""

    def __init__(self, count: int, size: int = 5):
        self.count, self.size = count, size

    def __len__(self) -> int:
        return self.count

    def coming(self, epoch: int) -> np.ndarray:
        return np.random.default_rng(epoch).permutation(self.count)

    def draw(self, index: int, epoch: int) -> GradedList:
        docs = [
            GradedDoc(f"d{i}", 3 * (i == 1), "rule", None, "word " * (1 + (index * 7) % 50)) for i in range(self.size)
        ]
        return GradedList(f"q{index}", "query", tuple(docs))


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("length_grouping", [False, True])
def test_two_processes_see_what_one_with_twice_the_batch_sees(accumulate: int, length_grouping: bool) -> None:
    lists = Numbered(50)
    options = {"accumulate": accumulate, "steps": 7, "length_grouping": length_grouping}
    alone = list(Steps(lists, 4, **options))
    shares = [list(Steps(lists, 2, **options, rank=rank, world=2)) for rank in range(2)]
    for step, first, second in zip(alone, *shares, strict=True):
        for number in range(accumulate):
            together = first[2 * number : 2 * number + 2] + second[2 * number : 2 * number + 2]
            assert together == step[4 * number : 4 * number + 4]


def test_an_epoch_has_each_list_once_and_full_steps_only() -> None:
    steps = list(Steps(Numbered(23), 5, epochs=2))
    assert len(steps) == 8
    for epoch in range(2):
        seen = [index for step in steps for found, index in step if found == epoch]
        assert len(seen) == len(set(seen)) == 20


def test_lists_of_like_length_come_together() -> None:
    lists = Numbered(60)

    def spread(grouped: bool) -> float:
        steps = Steps(lists, 5, epochs=1, length_grouping=grouped)
        return float(np.mean([np.ptp([(7 * index) % 50 for _, index in step]) for step in steps]))

    assert spread(True) < spread(False) / 3


def test_fewer_lists_than_a_step_needs_are_refused() -> None:
    with pytest.raises(GradirError, match="a step needs 12 lists, and there are 11"):
        Steps(Numbered(11), 3, accumulate=2, world=2)


def test_a_cut_list_keeps_a_positive_and_changes_from_epoch_to_epoch() -> None:
    cut = DrawnLists(Numbered(3, size=9), group_size=4, positive_grade=1, seed=13)
    drawn = [tuple(doc.docid for doc in cut[epoch, 1].docs) for epoch in range(30)]
    assert all(len(docs) == 4 and "d1" in docs for docs in drawn)
    assert len(set(drawn)) > 10
    assert drawn == [tuple(doc.docid for doc in cut[epoch, 1].docs) for epoch in range(30)]


@given(st.lists(st.integers(1, 70), min_size=1, max_size=60))
def test_blocks_hold_every_text_once_and_cost_no_more_than_one_block(lengths: list[int]) -> None:
    ids = [[10 + i] * length for i, length in enumerate(lengths)]
    made = token_blocks(ids, padding=0, positions=64)
    rows = [block[i][mask[i] == 1].tolist() for block, mask in made["blocks"] for i in range(len(block))]
    assert [rows[place] for place in made["back"]] == ids
    padded = sum(block.numel() for block, _ in made["blocks"])
    assert padded <= len(ids) * -(-max(lengths) // 16) * 16


def test_labels_leave_out_what_another_list_shares() -> None:
    # q0 has a, b; q1 has c and, once more, a; q2 has b
    owner = torch.tensor([0, 0, 1, 1, 2])
    labels = labels_of(
        3,
        owner,
        grades=torch.tensor([3.0, 1.0, 2.0, 0.0, 1.0]),
        teacher=torch.tensor([9.0, math.nan, 8.0, 7.0, 6.0]),
        keys=torch.tensor([1, 2, 3, 1, 2]),
    )
    assert labels.own.tolist() == [
        [True, True, False, False, False],
        [False, False, True, True, False],
        [False, False, False, False, True],
    ]
    assert labels.grades.tolist() == [[3, 1, 0, 0, 0], [0, 0, 2, 0, 0], [0, 0, 0, 0, 1]]
    assert labels.excluded.tolist() == [
        [False, False, False, True, True],
        [True, False, False, False, False],
        [False, True, False, False, False],
    ]
    assert labels.teacher.isnan().tolist()[1] == [True, True, False, False, True]
