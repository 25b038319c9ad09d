"""From graded lists to the tensors of a step: which lists come when, which of their documents, and their tokens."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from gradir.data.records import GradedList
from gradir.engine.batching import filled
from gradir.engine.tokens import Tokens
from gradir.errors import GradirError

# What starting one more forward pass costs, in tokens: lengths that differ by little are better padded.
_START = 384
_STEP = 16  # lengths are filled up to multiples of this (`gradir.engine.batching`)

Key = tuple[int, int]  # (epoch, index of a list)
Batch = dict[str, Any]


class Lists(Protocol):
    """Where lists come from: `gradir.data.graded.GradedLists`."""

    def __len__(self) -> int: ...

    def coming(self, epoch: int) -> NDArray[np.int64]:
        """Indices of the lists of an epoch, in order."""

    def draw(self, index: int, epoch: int) -> GradedList:
        """One list with its texts."""


class Steps(Sampler[list[Key]]):
    """Which lists each step of the whole training has; the last lists of an epoch that do not fill a step are left out.

    Args:
        lists: Where they come from.
        batch_size: Queries of a batch, per process.
        accumulate: Batches of a step.
        steps: How many there are; None: as many as `epochs` have.
        epochs: Passes over the lists.
        rank: This process, of
        world: so many. Together they see what one process with a batch `world` times as large would see.
        length_grouping: Lists of like length come together; which they are is drawn for 32 steps at a time.
        seed: Of the order of the steps where lists are grouped by length.

    Raises:
        GradirError: There are fewer lists than a step needs.
    """

    def __init__(
        self,
        lists: Lists,
        batch_size: int,
        accumulate: int = 1,
        steps: int | None = None,
        epochs: float | None = None,
        rank: int = 0,
        world: int = 1,
        length_grouping: bool = False,
        seed: int = 13,
    ):
        self.lists, self.batch_size, self.accumulate = lists, batch_size, accumulate
        self.rank, self.world, self.length_grouping, self.seed = rank, world, length_grouping, seed
        self.queries = batch_size * accumulate * world  # of a step
        in_epoch = len(lists.coming(0)) // self.queries
        if not in_epoch:
            raise GradirError(
                f"a step needs {self.queries} lists, and there are {len(lists)}. Give a smaller batch_size, or more lists."
            )
        self.steps = steps or max(1, round((epochs or 1.0) * in_epoch))

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[list[Key]]:
        done, epoch = 0, 0
        while done < self.steps:
            for keys in self._epoch(epoch):
                if done == self.steps:
                    return
                done += 1
                yield self._mine(keys)
            epoch += 1

    def _epoch(self, epoch: int) -> Iterator[list[Key]]:
        """The lists of each step of an epoch, for all processes."""
        indices = self.lists.coming(epoch)
        whole = len(indices) // self.queries * self.queries
        if self.length_grouping:
            indices = self._grouped(indices, epoch)
        for first in range(0, whole, self.queries):
            yield [(epoch, int(index)) for index in indices[first : first + self.queries]]

    def _grouped(self, indices: NDArray[np.int64], epoch: int) -> NDArray[np.int64]:
        """The same lists, those of like length together within windows of 32 steps."""
        rng = np.random.default_rng((self.seed, epoch, 1))
        window = 32 * self.queries
        found = []
        for first in range(0, len(indices), window):
            part = indices[first : first + window]
            lengths = [sum(len(doc.text or "") for doc in self.lists.draw(int(i), epoch).docs) for i in part]
            part = part[np.argsort(lengths, kind="stable")]
            rest = part[len(part) // self.queries * self.queries :]
            steps = part[: len(part) - len(rest)].reshape(-1, self.queries)
            found += [steps[rng.permutation(len(steps))].ravel(), rest]
        return np.concatenate(found)

    def _mine(self, keys: list[Key]) -> list[Key]:
        """This process's share of each batch of a step."""
        size = self.batch_size
        starts = range(self.rank * size, len(keys), self.world * size)
        return [key for start in starts for key in keys[start : start + size]]


class DrawnLists(Dataset[GradedList]):
    """Lists by (epoch, index), cut to `group_size` documents.

    Where a list has more, one positive is kept for certain; it and the others are drawn at random, by seed, epoch and list.

    Args:
        lists: Where they come from.
        group_size: Documents of a list; None: all.
        positive_grade: Documents graded so or higher are positives.
        seed: Of the draws.
    """

    def __init__(self, lists: Lists, group_size: int | None, positive_grade: int, seed: int):
        self.lists, self.group_size, self.positive_grade, self.seed = lists, group_size, positive_grade, seed

    def __len__(self) -> int:
        return len(self.lists)

    def __getitem__(self, key: Key) -> GradedList:
        epoch, index = key
        drawn = self.lists.draw(index, epoch)
        size = self.group_size
        if size is None or len(drawn.docs) <= size:
            return drawn
        rng = np.random.default_rng((self.seed, epoch, index))
        order = rng.permutation(len(drawn.docs))
        first = next((i for i in order if drawn.docs[i].grade >= self.positive_grade), order[0])
        chosen = sorted([first, *(i for i in order if i != first)][:size])
        return drawn._replace(docs=tuple(drawn.docs[i] for i in chosen))


class Collate:
    """A step's lists as tensors.

    The result has `chunks`, each with the tokens of `queries` and of their `documents` as `token_blocks` gives them; `micro` [B],
    which batch of the step each query belongs to; and of each document of all lists, [M] each: `owner`, the place of its query,
    int64; `grades`, float32; `teacher`, float32, NaN where there is no score; `keys`, int64, equal where texts are equal. `qids`
    names the queries, `tokens` counts tokens without padding.

    Args:
        queries: Tokenises queries.
        documents: Tokenises documents.
        batch_size: Queries of a batch of a step.
        chunk_size: Queries of a chunk; None: a batch.
        positions: The most tokens of a text that the models of queries and of documents take.
    """

    def __init__(
        self,
        queries: Tokens,
        documents: Tokens,
        batch_size: int,
        chunk_size: int | None,
        positions: tuple[int, int],
    ):
        self.queries, self.documents, self.batch_size = queries, documents, batch_size
        self.chunk_size, self.positions = min(chunk_size or batch_size, batch_size), positions

    def __call__(self, lists: Sequence[GradedList]) -> Batch:
        query_ids = self.queries.ids([one.query for one in lists])
        docs = [(place, doc) for place, one in enumerate(lists) for doc in one.docs]
        doc_ids = self.documents.ids([doc.text or "" for _, doc in docs])
        ends = np.cumsum([0, *(len(one.docs) for one in lists)])
        starts = [
            first + offset
            for first in range(0, len(lists), self.batch_size)
            for offset in range(0, min(self.batch_size, len(lists) - first), self.chunk_size)
        ]
        chunks = []
        for start, end in zip(starts, [*starts[1:], len(lists)], strict=True):
            texts = doc_ids[ends[start] : ends[end]]
            chunks.append(
                {
                    "queries": token_blocks(query_ids[start:end], self.queries.padding, self.positions[0]),
                    "documents": token_blocks(texts, self.documents.padding, self.positions[1]),
                }
            )
        scores = [math.nan if doc.score is None else doc.score for _, doc in docs]
        return {
            "chunks": chunks,
            "micro": torch.arange(len(lists)) // self.batch_size,
            "owner": torch.tensor([place for place, _ in docs], dtype=torch.int64),
            "grades": torch.tensor([float(doc.grade) for _, doc in docs]),
            "teacher": torch.tensor(scores, dtype=torch.float32),
            "keys": torch.tensor([_key(doc.text or "") for _, doc in docs], dtype=torch.int64),
            "qids": [one.qid for one in lists],
            "tokens": sum(map(len, query_ids)) + sum(map(len, doc_ids)),
        }


def _key(text: str) -> int:
    """63 bits that equal texts share."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def token_blocks(ids: Sequence[Sequence[int]], padding: int, positions: int) -> dict[str, Any]:
    """Texts in blocks of like length, so that little padding is computed.

    Args:
        ids: Token ids of N texts.
        padding: The id that fills up.
        positions: The most tokens that may be filled up to.

    Returns:
        `blocks`, pairs of (input_ids, attention_mask), int64 [b, S] each; and `back`, int64 [N]: the place of each text in the
        blocks' rows, one block after another.
    """
    lengths = np.fromiter(map(len, ids), np.int64, len(ids))
    order = np.argsort(lengths, kind="stable")
    blocks, first = [], 0
    for size in _sizes(lengths[order]):
        rows = [ids[i] for i in order[first : first + size]]
        block, mask = filled(rows, padding, positions)
        blocks.append((torch.from_numpy(block), torch.from_numpy(mask)))
        first += size
    return {"blocks": blocks, "back": torch.from_numpy(np.argsort(order, kind="stable"))}


def _sizes(lengths: NDArray[np.int64]) -> list[int]:
    """How many texts each block has, so that padded tokens and starts of passes cost least.

    Args:
        lengths: Of the texts, ascending, [N].
    """
    steps, counts = np.unique(-(-lengths // _STEP) * _STEP, return_counts=True)  # [K] each, K small
    upto = np.concatenate([[0], np.cumsum(counts)])
    best: list[tuple[float, int]] = [(0.0, 0)]  # (cost, where the last block starts) of the first k steps
    for end in range(1, len(steps) + 1):
        width = float(steps[end - 1])
        costs = [best[start][0] + (upto[end] - upto[start]) * width + _START for start in range(end)]
        place = int(np.argmin(costs))
        best.append((costs[place], place))
    sizes, end = [], len(steps)
    while end:
        start = best[end][1]
        sizes.append(int(upto[end] - upto[start]))
        end = start
    return sizes[::-1]


def to_device(value: Any, device: torch.device) -> Any:
    """All tensors of a batch on a device."""
    if isinstance(value, Tensor):
        return value.to(device, non_blocking=True)
    if isinstance(value, dict):
        return {key: to_device(one, device) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(to_device(one, device) for one in value)
    return value
