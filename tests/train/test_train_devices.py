"""Two processes with half of the batch each find the gradients of one process with the whole of it."""

from __future__ import annotations

import socket
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gradir.train.devices import cross_device_mean, gather_rows, gather_with_grad, process_count, total_rows
from gradir.train.losses import infonce
from gradir.train.objective import Labels, Objective
from gradir.train.regularisers import DocumentFrequency, anti_collapse, flops, l1

SIZE, TERMS, QUERIES, EACH = 5, 12, 6, 2
SHARES = {"even": (3, 3), "uneven": (2, 4)}  # queries of each process


class Model(nn.Module):
    """A linear layer, whose outputs are term weights, and a temperature: what a case makes of them is the loss."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(SIZE, TERMS)
        losses = [{"name": "wasserstein"}, {"name": "infonce", "temperature": "learn", "temperature_start": 1.5}]
        self.objective = Objective(losses)

    def forward(self, case: str, queries: Tensor, documents: Tensor) -> Tensor:
        if case == "encode":
            return self.encode(documents)
        return self.loss(case, self.encode(queries), self.encode(documents))

    def encode(self, texts: Tensor) -> Tensor:
        return self.layer(texts).relu().log1p()

    def loss(self, case: str, queries: Tensor, documents: Tensor) -> Tensor:
        unused = 0.0 * sum(parameter.sum() for parameter in self.parameters())
        return unused + getattr(self, case)(queries, documents)

    def regularisers(self, queries: Tensor, documents: Tensor) -> Tensor:
        means = cross_device_mean(queries), cross_device_mean(documents)
        totals = [mean.sum() * total_rows(side) for mean, side in zip(means, (queries, documents), strict=True)]
        return flops(means[1]) + 0.3 * l1(means[0]) + anti_collapse(*totals)

    def losses_of_all(self, queries: Tensor, documents: Tensor) -> Tensor:
        queries, documents = gather_with_grad(queries), gather_with_grad(documents)
        return self.objective(queries @ documents.T, labels(len(queries)))[0]

    def losses_of_own_queries(self, queries: Tensor, documents: Tensor) -> Tensor:
        documents = gather_with_grad(documents)
        first = torch.distributed.get_rank() * len(queries) if process_count() > 1 else 0
        mine = labels(QUERIES)
        grades, taking_part = mine.grades[first : first + len(queries)], ~mine.excluded[first : first + len(queries)]
        return infonce(queries @ documents.T, grades, taking_part)

    def losses_by_own_rows(self, queries: Tensor, documents: Tensor) -> Tensor:
        documents = gather_rows(documents)
        scores = gather_rows(queries) @ documents.T
        grades = labels(len(scores)).grades
        return process_count() * infonce(scores, grades, torch.ones_like(grades, dtype=torch.bool))


def labels(queries: int) -> Labels:
    own = torch.eye(queries, dtype=torch.bool).repeat_interleave(EACH, 1)
    grades = torch.tensor([2.0, 0.0]).repeat(queries) * own
    return Labels(grades, own, torch.full_like(grades, torch.nan), torch.zeros_like(own))


def data() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(QUERIES, SIZE, generator=generator), torch.randn(QUERIES * EACH, SIZE, generator=generator)


def gradients(model: Any, case: str, queries: Tensor, documents: Tensor) -> dict[str, Tensor]:
    """Of the loss of a case; with `cached`, of FLOPS through vectors that are computed twice, two documents at a time."""
    plain = getattr(model, "module", model)
    plain.zero_grad()
    if case == "cached":
        chunks = documents.split(2)
        with torch.no_grad():
            vectors = [model("encode", queries, chunk) for chunk in chunks]
        leaf = torch.cat(vectors).requires_grad_()
        flops(cross_device_mean(leaf)).backward()
        assert leaf.grad is not None
        for number, (chunk, gradient) in enumerate(zip(chunks, leaf.grad.split(2), strict=True), 1):
            silent = hasattr(model, "no_sync") and number < len(chunks)
            with model.no_sync() if silent else nullcontext():
                model("encode", queries, chunk).backward(gradient)
    else:
        model(case, queries, documents).backward()
    return {name: one.grad.clone() for name, one in plain.named_parameters() if one.grad is not None}


def train_apart(rank: int, port: int, folder: str) -> None:
    """What one of two processes finds in every case."""
    from torch.nn.parallel import DistributedDataParallel

    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    queries, documents = data()
    found: dict[str, Any] = {}
    for name, counts in SHARES.items():
        mine = slice(0, counts[0]) if rank == 0 else slice(counts[0], None)
        own = slice(0, counts[0] * EACH) if rank == 0 else slice(counts[0] * EACH, None)
        model = DistributedDataParallel(Model(), find_unused_parameters=True)
        for case in [case for case, shares in CASES if shares == name]:
            found[f"{case} {name}"] = gradients(model, case, queries[mine], documents[own])
        frequency = DocumentFrequency(SIZE, window=7)
        for _ in range(2):
            frequency.update(documents[own])
        found[f"frequency {name}"] = frequency.share
        found[f"rows {name}"] = gather_rows(documents[own].to(torch.int64))
    if rank == 0:
        torch.save(found, Path(folder) / "found.pt")
    torch.distributed.destroy_process_group()


CASES = [
    (case, shares) for case in ("regularisers", "losses_of_all", "losses_by_own_rows", "cached") for shares in SHARES
]
# where processes have different numbers of queries, the mean over each one's own is another loss
CASES.append(("losses_of_own_queries", "even"))


@pytest.fixture(scope="module")
def apart(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What two processes find."""
    folder = tmp_path_factory.mktemp("processes")
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        port = chosen.getsockname()[1]
    torch.multiprocessing.spawn(train_apart, (port, str(folder)), nprocs=2)
    found: dict[str, Any] = torch.load(folder / "found.pt")
    return found


@pytest.mark.parametrize(("case", "shares"), CASES)
def test_gradients_are_those_of_one_process(apart: dict[str, Any], case: str, shares: str) -> None:
    expected = gradients(Model(), case, *data())
    found = apart[f"{case} {shares}"]
    for name, gradient in expected.items():
        if case == "losses_by_own_rows" and name.startswith("objective"):
            continue
        torch.testing.assert_close(found[name], gradient, atol=1e-6, rtol=1e-5)
    assert expected["layer.weight"].abs().max() > 1e-3


def test_the_learnt_temperature_has_a_gradient(apart: dict[str, Any]) -> None:
    name = "objective.log_temperatures.infonce"
    expected = gradients(Model(), "losses_of_all", *data())[name]
    assert expected.abs() > 1e-3
    torch.testing.assert_close(apart["losses_of_all uneven"][name], expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("shares", SHARES)
def test_frequencies_and_rows_are_of_all(apart: dict[str, Any], shares: str) -> None:
    frequency = DocumentFrequency(SIZE, window=7)
    for _ in range(2):
        frequency.update(data()[1])
    torch.testing.assert_close(apart[f"frequency {shares}"], frequency.share)
    assert apart[f"rows {shares}"].tolist() == data()[1].to(torch.int64).tolist()


def test_one_process_needs_nothing() -> None:
    rows = torch.randn(3, 4)
    assert process_count() == 1
    assert gather_rows(rows) is rows
    assert gather_with_grad(rows) is rows
    assert total_rows(rows) == 3
    torch.testing.assert_close(cross_device_mean(rows.bfloat16()), rows.bfloat16().float().mean(0))
    assert cross_device_mean(rows[:0]).tolist() == [0, 0, 0, 0]
