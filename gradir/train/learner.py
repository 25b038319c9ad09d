"""The loss of a step: vectors of its queries and documents, their scores, the losses over these, the regularisers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gradir.train.batches import Batch
from gradir.train.devices import gather_rows, gather_with_grad, process_count
from gradir.train.objective import Labels, Objective
from gradir.train.penalty import Penalty
from gradir.train.retriever import Retriever

Parts = dict[str, Tensor]


class Learner(nn.Module):
    """A retriever and what it is to learn.

    On several devices each sees the documents of all where a loss looks beyond a query's own list, and the regularisers are of the
    batch of all devices.

    Args:
        retriever: What is trained.
        objective: The losses.
        penalty: The regularisers of sparse vectors.
        sizes: Lengths of the prefixes of dense vectors that are trained as vectors (Matryoshka representation learning,
            Kusupati et al. 2022, arXiv 2205.13147: the losses of all are added up).
    """

    def __init__(
        self,
        retriever: Retriever,
        objective: Objective,
        penalty: Penalty | None = None,
        sizes: Sequence[int] | None = None,
    ):
        super().__init__()
        self.retriever, self.objective, self.penalty = retriever, objective, penalty
        self.sizes = sorted(sizes or [], reverse=True)
        self.gathers = any(term.scope == "batch" for term in objective.terms)

    def forward(self, batch: Batch | None = None, chunk: dict[str, Any] | None = None) -> Any:
        """The loss of a batch (see `losses`), or the vectors of a chunk (see `encode`): whatever is trained on several devices must
        go through this one method."""
        if chunk is not None:
            return self.encode(chunk)
        if batch is None:
            raise TypeError("forward() needs a batch or a chunk")
        vectors = [self.encode(one) for one in batch["chunks"]]
        queries, documents = (torch.cat(side) if len(side) > 1 else side[0] for side in zip(*vectors, strict=True))
        return self.losses(queries, documents, batch)

    def encode(self, chunk: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """Vectors of a chunk's queries, [b, D], and documents, [m, D]; D is V for SPLADE."""
        vectors: tuple[Tensor, Tensor] = self.retriever(chunk["queries"], chunk["documents"])
        return vectors

    def losses(self, queries: Tensor, documents: Tensor, batch: Batch) -> Parts:
        """`loss`, which is to be minimised, and its parts for the log.

        Args:
            queries: float32 [B, D], of all batches of the step.
            documents: float32 [M, D], in the order of the queries.
            batch: What `batches.Collate` gives.
        """
        batches = int(batch["micro"][-1]) + 1
        parts: Parts = {}
        total = torch.zeros((), device=queries.device)
        for number in range(batches):
            mine = batch["micro"] == number
            loss, found = self._objective(queries, documents, batch, mine)
            total = total + loss / batches
            for name, part in found.items():
                parts[name] = parts.get(name, 0) + part / batches
        if self.penalty is not None:
            penalty, found = self.penalty(queries, documents)
            total, parts = total + penalty, parts | found
        return {"loss": total, **parts}

    def plan(self, steps: int) -> None:
        """Told how many steps there will be."""
        if self.penalty is not None:
            self.penalty.plan(steps)

    def memory(self) -> dict[str, Any]:
        """What a checkpoint must keep besides weights."""
        return self.penalty.memory() if self.penalty is not None else {}

    def remember(self, memory: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        if self.penalty is not None and memory:
            self.penalty.remember(memory)

    def _objective(self, queries: Tensor, documents: Tensor, batch: Batch, mine: Tensor) -> tuple[Tensor, Parts]:
        """The losses of one batch of the step; `mine` tells its queries, bool [B]."""
        chosen = mine[batch["owner"]]  # [M]
        queries, documents = queries[mine], documents[chosen]
        known = {name: batch[name][chosen] for name in ("owner", "grades", "teacher", "keys")}
        known["owner"] = known["owner"] - known["owner"][0]
        if self.gathers and process_count() > 1:
            known["owner"] = known["owner"] + _queries_before(len(queries), queries.device)
            queries, documents = gather_with_grad(queries), gather_with_grad(documents)
            known = {name: gather_rows(value) for name, value in known.items()}
        labels = labels_of(len(queries), **known)
        totals: list[Tensor] = []
        parts: Parts = {}
        for size in self.sizes or [queries.shape[1]]:
            total, found = self.objective(self._scores(queries, documents, size), labels)
            totals.append(total)
            parts |= {name if not parts else f"{name}@{size}": part for name, part in found.items()}
        return torch.stack(totals).sum(), parts

    def _scores(self, queries: Tensor, documents: Tensor, size: int) -> Tensor:
        """Inner products, [B, N], of the first `size` numbers."""
        if size < queries.shape[1]:
            queries, documents = queries[:, :size], documents[:, :size]
            if self.retriever.config.normalize:
                queries, documents = (nn.functional.normalize(side, dim=-1) for side in (queries, documents))
        return queries @ documents.T


def labels_of(queries: int, owner: Tensor, grades: Tensor, teacher: Tensor, keys: Tensor) -> Labels:
    """What is known of every pair of a query and a document.

    A document whose text also stands in the query's own list is left out where it comes with another list.

    Args:
        queries: B.
        owner: The query of each document, int64 [N].
        grades: float32 [N].
        teacher: float32 [N], NaN where there is none.
        keys: int64 [N], equal where texts are equal.
    """
    own = owner == torch.arange(queries, device=owner.device).unsqueeze(1)  # [B, N]
    distinct, numbers = keys.unique(return_inverse=True)  # [K], [N]
    holds = torch.zeros(queries, len(distinct), dtype=torch.bool, device=owner.device)  # [B, K]
    holds[owner, numbers] = True
    nowhere = torch.full_like(teacher, torch.nan)
    return Labels(
        grades=torch.where(own, grades, torch.zeros_like(grades)),
        own=own,
        teacher=torch.where(own, teacher, nowhere),
        excluded=holds[:, numbers] & ~own,
    )


def _queries_before(count: int, device: torch.device) -> int:
    """How many queries the devices before this one have."""
    counts = gather_rows(torch.tensor([count], device=device))
    return int(counts[: torch.distributed.get_rank()].sum())
