"""From graded lists to the tensors of a step of a cross-encoder: every query with each of its documents."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch

from gradir.data.records import GradedList
from gradir.engine.cross_inputs import Inputs
from gradir.errors import GradirError
from gradir.train.batches import Batch, token_blocks


class CrossCollate:
    """A step's lists as tensors, named as in `gradir.train.batches.Collate`.

    The result has `chunks`, one for each batch of the step, with the token ids of its `pairs` and their `types`, both as
    `token_blocks` gives them; `micro` [B], which batch each list belongs to; and of each document of all lists, [M] each: `owner`,
    the place of its list, int64; `grades`, float32; `teacher`, float32, NaN where there is no score; `keys`, of no use here.
    `qids` names the queries, `tokens` counts tokens without padding.

    Args:
        inputs: What the model sees of (query, document) texts.
        batch_size: Lists of a batch.
        padding: The token id that fills up.
        positions: The most tokens that may be filled up to.
    """

    def __init__(
        self, inputs: Callable[[Sequence[tuple[str, ...]]], list[Inputs]], batch_size: int, padding: int, positions: int
    ):
        self.inputs, self.batch_size, self.padding, self.positions = inputs, batch_size, padding, positions

    def __call__(self, lists: Sequence[GradedList]) -> Batch:
        """The tensors of a step.

        Raises:
            GradirError: A list has no documents, or a query leaves no room for one.
        """
        empty = next((one.qid for one in lists if not one.docs), None)
        if empty is not None:
            raise GradirError(f"the list of query {empty} has no documents. Leave it out.")
        seen = self.inputs([(one.query, doc.text or "") for one in lists for doc in one.docs])
        ends = [0]
        for one in lists:
            ends.append(ends[-1] + len(one.docs))
        chunks = []
        for first in range(0, len(lists), self.batch_size):
            part = seen[ends[first] : ends[min(first + self.batch_size, len(lists))]]
            chunks.append(
                {
                    "pairs": token_blocks([one.ids for one in part], self.padding, self.positions),
                    "types": token_blocks([one.types for one in part], 0, self.positions),
                }
            )
        docs = [(place, doc) for place, one in enumerate(lists) for doc in one.docs]
        scores = [math.nan if doc.score is None else doc.score for _, doc in docs]
        return {
            "chunks": chunks,
            "micro": torch.arange(len(lists)) // self.batch_size,
            "owner": torch.tensor([place for place, _ in docs], dtype=torch.int64),
            "grades": torch.tensor([float(doc.grade) for _, doc in docs]),
            "teacher": torch.tensor(scores, dtype=torch.float32),
            "keys": torch.zeros(len(docs), dtype=torch.int64),
            "qids": [one.qid for one in lists],
            "tokens": sum(len(one.ids) for one in seen),
        }
