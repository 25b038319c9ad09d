"""A SPLADE training step on a GPU: a BERT-base-shaped model of random weights, its head against the naive one.

    python -m benchmarks.train_gpu [--quick] [--json FILE]

The largest batch that fits, steps a second at the naive head's largest batch, and the share of the best matrix product. Without a
GPU it runs a small model on the CPU, which shows that it works and no more. It needs torch and transformers alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers import BertConfig, BertForMaskedLM

from benchmarks.gpu import DEVICE, DTYPE, naive_head, peak, synchronise
from benchmarks.table import Row, alternate, arguments, ratio_of, show
from gradir.models.encoders import SpladeEncoder
from gradir.models.together import encode_blocks

DOCUMENTS, LENGTH, QUERY_LENGTH, FLOPS = 4, 128, 32, 3e-3

Step = Callable[[int], Tensor]


def vectors(model: Any, ids: Tensor, naive: bool) -> Tensor:
    """Term weights of texts without padding, [B, V]."""
    mask = torch.ones_like(ids)
    if not naive:
        return encode_blocks(model, [(ids, mask)]).float()
    hidden = model.mlm(input_ids=ids, attention_mask=mask).logits  # [B, S, H]: what enters the decoder
    return naive_head(hidden, mask, model.decoder.weight, model.decoder.bias)


def step(model: Any, optimiser: Any, vocabulary: int, naive: bool, queries: int) -> Tensor:
    """InfoNCE with four documents a query, and FLOPS; forward, backward and update."""
    draw = torch.Generator().manual_seed(13)
    sizes = (queries, QUERY_LENGTH), (queries * DOCUMENTS, LENGTH)
    ids = [torch.randint(1000, vocabulary, size, generator=draw).to(DEVICE) for size in sizes]
    with torch.autocast(DEVICE.type, DTYPE):
        asked, found = (vectors(model, one, naive) for one in ids)
    labels = torch.arange(queries, device=DEVICE) * DOCUMENTS
    loss = torch.nn.functional.cross_entropy(asked @ found.T, labels)
    loss = loss + FLOPS * sum(side.mean(0).square().sum() for side in (asked, found))
    loss.backward()
    optimiser.step()
    optimiser.zero_grad()
    return loss.detach()


@torch.no_grad()
def make_sparse(model: Any, vocabulary: int) -> None:
    """Lower the bias until a document has 1% of the terms, as trained encoders have it; random weights give it half of them."""
    ids = torch.randint(1000, vocabulary, (8, LENGTH), generator=torch.Generator().manual_seed(7)).to(DEVICE)
    hidden = model.mlm(input_ids=ids, attention_mask=torch.ones_like(ids)).logits  # [8, S, H]
    largest = torch.nn.functional.linear(hidden, model.decoder.weight).amax(1)  # [8, V]
    model.decoder.bias.copy_(-largest.quantile(0.99, dim=1).mean())


def largest(run: Step, limit: int) -> int:
    """Queries of the largest batch that fits, to a quarter: 8, 12, 16, 24, 32, …"""
    fits, size = 0, 8
    while size <= limit:
        try:
            run(size)
            synchronise()
        except torch.OutOfMemoryError:
            break
        fits, size = size, size * 3 // 2 if size & (size - 1) == 0 else size * 4 // 3
    torch.cuda.empty_cache()
    return fits


def operations(config: BertConfig, queries: int) -> float:
    """Of the products of a step, forwards and backwards; attention's own are left out."""
    width = config.hidden_size
    parameters = config.num_hidden_layers * (4 * width**2 + 2 * width * config.intermediate_size)
    parameters += width**2 + width * config.vocab_size
    return 6.0 * parameters * queries * (QUERY_LENGTH + DOCUMENTS * LENGTH)


def seconds_of(run: Step, queries: int, rounds: int) -> float:
    """Of one step, the best of a few."""
    best = float("inf")
    for _ in range(rounds + 1):
        synchronise()
        started = time.perf_counter()
        run(queries)
        synchronise()
        best = min(best, time.perf_counter() - started)
    return best


def main() -> None:
    """Run all, print the table."""
    asked = arguments(__doc__)
    gpu = DEVICE.type == "cuda"
    small = BertConfig(hidden_size=128, num_hidden_layers=2, num_attention_heads=4, intermediate_size=512)
    config = BertConfig() if gpu else small
    torch.manual_seed(13)
    model: Any = SpladeEncoder(BertForMaskedLM(config), [0]).to(DEVICE).train()
    make_sparse(model, config.vocab_size)
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-5, fused=True)
    ours, naive = (partial(step, model, optimiser, config.vocab_size, one) for one in (False, True))
    limit, rounds = (4096 if gpu else 8), (2 if asked.quick else 7)
    fits = {"naive": largest(naive, limit), "ours": largest(ours, limit)}
    runs = {
        name: lambda run=run: (run(fits["naive"]), synchronise()) for name, run in (("ours", ours), ("naive", naive))
    }
    alternate(runs, 1)
    seconds = alternate(runs, rounds)
    taken = seconds_of(ours, fits["ours"], rounds)
    best, share = peak(), operations(config, fits["ours"]) / taken
    work = f"SPLADE step, {DOCUMENTS} documents x {LENGTH}"
    rates = [1 / min(seconds[name]) for name in ("ours", "naive")]
    rows = [
        Row(
            f"{work}: largest batch",
            "naive head",
            fits["ours"] / fits["naive"],
            8,
            True,
            fits["ours"],
            fits["naive"],
            "queries",
            1,
        ),
        Row(
            work,
            f"naive head, batch {fits['naive']}",
            ratio_of(seconds, "ours", "naive"),
            None,
            True,
            *rates,
            "steps/s",
            rounds,
        ),
        Row(
            f"{work}, batch {fits['ours']}",
            "best product",
            share / best,
            0.4,
            True,
            share / 1e12,
            best / 1e12,
            "TFLOP/s",
            rounds,
        ),
    ]
    show(rows, asked.json)


if __name__ == "__main__":
    main()
