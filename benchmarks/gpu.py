"""A whole round on a GPU: a BERT-base-shaped model of random weights, dense and SPLADE, padded batches against the fast path.

`python -m benchmarks.gpu [--quick] [--json FILE]`. Without a GPU it runs on the CPU, where `--quick` takes a small model: that
shows that it works, and no more. It needs torch and transformers alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import BertConfig, BertForMaskedLM

from benchmarks.table import Row, alternate, arguments, ratio_of, show
from gradir.engine.batching import padded, token_batches
from gradir.engine.prepare import activation_of, prepare
from gradir.engine.quantise import quantise
from gradir.models.encoders import DenseEncoder, SpladeEncoder
from gradir.models.heads import splade_pool

DEVICE = torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
DTYPE = torch.bfloat16
BATCH, LENGTH = 64, 256


def texts(number: int, vocabulary: int) -> list[list[int]]:
    """Token ids of random texts; lengths are log-normal around 110, at most 256."""
    draw = np.random.default_rng(13)
    lengths = np.clip(draw.lognormal(4.7, 0.6, number), 8, LENGTH).astype(int)
    return [draw.integers(1000, vocabulary, length).tolist() for length in lengths]


def model_of(kind: str, config: BertConfig) -> Any:
    """The encoder, float32 on the CPU."""
    torch.manual_seed(13)
    mlm = BertForMaskedLM(config).eval()
    return SpladeEncoder(mlm, [0]) if kind == "splade" else DenseEncoder(mlm.bert, "mean", normalize=True)


@torch.inference_mode()
def plain(kind: str, model: Any, ids: list[list[int]]) -> None:
    """Batches of a fixed number of texts in their order; SPLADE's logits whole, [B, S, V]."""
    for start in range(0, len(ids), BATCH):
        input_ids, mask = padded(ids[start : start + BATCH], 0, 0, DEVICE)
        if kind == "dense":
            model(input_ids, mask).cpu()
        else:
            hidden = model.mlm(input_ids=input_ids, attention_mask=mask).logits
            quantise(naive_head(hidden, mask, model.decoder.weight, model.decoder.bias), 51.2)


def naive_head(hidden: Tensor, mask: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """`max_i log(1 + relu(h_i . e_j + b_j))` as it is written, [B, S, V] in memory."""
    logits = torch.nn.functional.linear(hidden, weight, bias).float()
    return (torch.log1p(torch.relu(logits)) * mask.unsqueeze(-1)).amax(1)


@torch.inference_mode()
def fast(kind: str, model: Any, budget: int, ids: list[list[int]]) -> None:
    """Like lengths together up to a token budget, and the head in tiles."""
    for batch in token_batches(list(map(len, ids)), budget):
        output = model(*padded([ids[i] for i in batch], 0, LENGTH, DEVICE))
        if kind == "dense":
            output.cpu()
        else:
            quantise(output, 51.2, activation=activation_of(model))


def peak() -> float:
    """Operations a second of the best of 30 matrix products, of a size that fills the device."""
    side = 8192 if DEVICE.type == "cuda" else 1024
    left = torch.randn(side, side, device=DEVICE, dtype=DTYPE)
    best = float("inf")
    for _ in range(30):
        synchronise()
        started = time.perf_counter()
        left @ left
        synchronise()
        best = min(best, time.perf_counter() - started)
    return 2 * side**3 / best


def synchronise() -> None:
    """Wait for the GPU."""
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


def throughput(kind: str, config: BertConfig, number: int, rounds: int) -> list[Row]:
    """Tokens a second and share of the peak."""
    ids = texts(number, config.vocab_size)
    slow, ready = model_of(kind, config).to(DEVICE, DTYPE), prepare(model_of(kind, config), DEVICE, DTYPE)
    budget = 65536 if DEVICE.type == "cuda" else 2048
    contenders: dict[str, Callable[[], object]] = {
        "plain": partial(plain, kind, slow, ids),
        "fast": partial(fast, kind, ready, budget, ids),
    }
    alternate(contenders, 1)
    seconds = alternate(contenders, rounds)
    tokens = sum(map(len, ids))
    width, inner = config.hidden_size, config.intermediate_size
    parameters = config.num_hidden_layers * (4 * width**2 + 2 * width * inner)
    parameters += width**2 + width * config.vocab_size if kind == "splade" else 0
    best = peak()
    rate = {name: tokens / float(np.median(times)) for name, times in seconds.items()}
    share = 2 * parameters * rate["fast"] / best
    return [
        Row(
            f"{kind}, fast path",
            f"padded, batch {BATCH}",
            ratio_of(seconds, "fast", "plain"),
            None,
            True,
            rate["fast"],
            rate["plain"],
            "tokens/s",
            rounds,
        ),
        Row(
            f"{kind}, share of peak",
            f"best product, {best / 1e12:.4g} TFLOP/s",
            share,
            0.5,
            True,
            share,
            1.0,
            "share",
            rounds,
        ),
    ]


def head_memory(config: BertConfig) -> Row:
    """Memory that the SPLADE head takes, against the naive form; of a GPU only."""
    hidden = torch.randn(BATCH, LENGTH, config.hidden_size, device=DEVICE, dtype=DTYPE)
    mask = torch.ones(BATCH, LENGTH, device=DEVICE, dtype=torch.long)
    weight = torch.randn(config.vocab_size, config.hidden_size, device=DEVICE, dtype=DTYPE)
    bias, taken = torch.zeros(config.vocab_size, device=DEVICE, dtype=DTYPE), []
    for head in (splade_pool, naive_head):
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        with torch.inference_mode():
            head(hidden, mask, weight, bias)
        taken.append((torch.cuda.max_memory_allocated() - before) / 2**20)
    name = f"naive, [{BATCH}, {LENGTH}, {config.vocab_size}]"
    return Row("SPLADE head, memory", name, taken[0] / taken[1], 0.1, False, taken[0], taken[1], "MiB", 1)


def main() -> None:
    """Run all, print the table."""
    asked = arguments(__doc__)
    small = asked.quick and DEVICE.type == "cpu"
    config = (
        BertConfig(hidden_size=128, num_hidden_layers=2, num_attention_heads=4, intermediate_size=512)
        if small
        else BertConfig()
    )
    number = (64 if small else 1024) if asked.quick else 20_000
    rows = [row for kind in ("dense", "splade") for row in throughput(kind, config, number, 1 if asked.quick else 3)]
    if DEVICE.type == "cuda":
        rows.append(head_memory(config))
    show(rows, asked.json)


if __name__ == "__main__":
    main()
