"""Encoding: gradir, Pyserini and sentence-transformers on the same documents.

`python -m benchmarks.encode [--quick] [--json FILE]`. MiniLM and the SPLADE encoder of `make bench-models`; 600 documents, at most
256 tokens each: SciFact's where it stands in `../shared/data`, otherwise the built-in collection's. Each peer runs with its best
batch size.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from benchmarks.models import dense_folder, pydocs_folder, splade_folder
from benchmarks.table import Row, alternate, arguments, peak, ratio_of, show
from gradir.engine import Encoder, SparseQueryEncoder

LENGTH = 256
SCIFACT = Path(__file__).resolve().parents[2] / "shared" / "data" / "scifact"
BATCH_SIZES, DEFAULT = (4, 16, 64), 64

Encode = Callable[[list[str]], Any]


def sample(size: int) -> list[str]:
    """Documents drawn with a fixed seed."""
    from gradir.data.corpus import read_corpus

    source = SCIFACT if SCIFACT.exists() else pydocs_folder()
    texts = [document.contents for document in read_corpus(str(source))]
    return random.Random(13).sample(texts, size)


def ours(folder: Path, dtype: str) -> Encode:
    """gradir on the CPU."""
    encoder = Encoder.open(folder, "cpu", dtype, max_passage_length=LENGTH, max_query_length=LENGTH)
    return encoder.encode


def of_pyserini(kind: str, folder: Path) -> Callable[[int], Encode]:
    """Pyserini's encoder of that kind, by batch size; float32, which is all that it has."""
    import os

    os.environ.setdefault("OPENAI_API_KEY", "unused")
    from gradir import jvm

    jvm.ensure()
    from pyserini.encode import AutoDocumentEncoder, SpladeDocumentEncoder

    if kind == "dense":
        encoder = AutoDocumentEncoder(str(folder), device="cpu", pooling="mean", l2_norm=True)
        joined: Any = np.concatenate
    else:
        encoder = SpladeDocumentEncoder(str(folder), device="cpu")
        joined = lambda lists: [one for part in lists for one in part]  # noqa: E731

    def encode(size: int, texts: list[str]) -> Any:
        return joined([encoder.encode(texts[i : i + size], max_length=LENGTH) for i in range(0, len(texts), size)])

    return lambda size: partial(encode, size)


def of_sentence_transformers(kind: str, folder: Path) -> Callable[[int], Encode]:
    """sentence-transformers in bfloat16, by batch size."""
    from sentence_transformers import SentenceTransformer, SparseEncoder

    model = (SentenceTransformer if kind == "dense" else SparseEncoder)(
        str(folder), device="cpu", model_kwargs={"dtype": torch.bfloat16}
    )
    model.max_seq_length = LENGTH
    return lambda size: partial(model.encode, batch_size=size, show_progress_bar=False)


def best(by_size: Callable[[int], Encode], texts: list[str]) -> tuple[int, Encode]:
    """(batch size, encode) of the size that is fastest on a few of the texts."""
    contenders = {str(size): partial(by_size(size), texts) for size in BATCH_SIZES}
    seconds = alternate(contenders, 2)
    size = int(min(seconds, key=lambda name: min(seconds[name])))
    return size, by_size(size)


def throughput(kind: str, folder: Path, texts: list[str], rounds: int, targets: tuple[float, float]) -> list[Row]:
    """Documents a second, ours in bfloat16 and float32 against both peers, all in one alternation; and our share of the peak."""
    few = texts[:64]  # as many as the largest batch
    low, full = ours(folder, "bfloat16"), ours(folder, "float32")
    by_size = of_pyserini(kind, folder)
    size_p, pyserini = best(by_size, few)
    size_s, sentence = best(of_sentence_transformers(kind, folder), few)
    _compare(kind, folder, few, low, full, pyserini, sentence)
    contenders = {"bf16": low, "f32": full, "pyserini": pyserini, "st": sentence}
    best_products = peak(torch.bfloat16)
    seconds = alternate({name: partial(encode, texts) for name, encode in contenders.items()}, rounds)
    best_products = max(best_products, peak(torch.bfloat16))
    rate = {name: len(texts) / median(times) for name, times in seconds.items()}
    names = {"pyserini": f"Pyserini, float32, batch {size_p}", "st": f"sentence-transformers, bfloat16, batch {size_s}"}
    rows = []
    for mine, dtype in (("bf16", "bfloat16"), ("f32", "float32")):
        for (peer, name), target in zip(names.items(), targets, strict=True):
            goal = target if mine == "bf16" else None
            ratio = ratio_of(seconds, mine, peer)
            rows.append(Row(f"{kind}, {dtype}", name, ratio, goal, True, rate[mine], rate[peer], "documents/s", rounds))
    rows.append(_at_default(kind, low, by_size(DEFAULT), few))
    share = _operations(kind, folder, texts) / median(seconds["bf16"]) / best_products
    against = f"best product, {best_products / 1e12:.2f} TFLOP/s"
    rows.append(Row(f"{kind}, share of peak", against, share, 0.28, True, share, 1.0, "share", rounds, "aim 0.4"))
    return rows


def _at_default(kind: str, ours: Encode, theirs: Encode, texts: list[str]) -> Row:
    """Against Pyserini as it comes: its command has batches of 64."""
    seconds = alternate({"ours": partial(ours, texts), "theirs": partial(theirs, texts)}, 2)
    rates = [len(texts) / median(seconds[name]) for name in ("ours", "theirs")]
    against = f"Pyserini, float32, its default batch of {DEFAULT}"
    ratio = ratio_of(seconds, "ours", "theirs")
    return Row(f"{kind}, bfloat16", against, ratio, None, True, *rates, "documents/s", 2, f"on {len(texts)} documents")


def _compare(kind: str, folder: Path, texts: list[str], *encoders: Encode) -> None:
    """All must give the same before they are timed.

    Raises:
        SystemExit: They do not.
    """
    low, full, pyserini, sentence = (encode(texts) for encode in encoders)
    if kind == "dense":
        off = [float(np.abs(full - pyserini).max()), float(1 - (low * sentence).sum(1).min())]
    else:
        dicts = SparseQueryEncoder(Encoder.open(folder, "cpu", "float32", max_query_length=LENGTH)).encode_batch(texts)
        special = {"[CLS]", "[SEP]", "[PAD]", "[UNK]", "[MASK]"}
        pairs = [
            (a.get(t, 0), b.get(t, 0)) for a, b in zip(dicts, pyserini, strict=True) for t in (a | b).keys() - special
        ]
        theirs = sentence.to_dense().float().numpy()
        overlap = [
            len(set(low.row(i)[0]) & set(np.nonzero(theirs[i])[0])) / max(1, len(low.row(i)[0]))
            for i in range(len(texts))
        ]
        off = [max(abs(a - b) for a, b in pairs) - 1, 0.9 - float(np.mean(overlap))]
    if off[0] > 1e-4 or off[1] > 1e-2:
        sys.exit(f"{kind}: the encoders differ by {off}; their times would mean nothing")


def _operations(kind: str, folder: Path, texts: list[str]) -> float:
    """2 x matrix parameters in use x real tokens."""
    settings = json.loads((folder / "config.json").read_text())
    width, inner, layers = settings["hidden_size"], settings["intermediate_size"], settings["num_hidden_layers"]
    parameters = layers * (4 * width * width + 2 * width * inner)
    if kind == "splade":
        parameters += width * width + width * settings["vocab_size"]
    counting = Encoder.open(folder, "cpu", "float32", max_passage_length=LENGTH)
    return 2.0 * parameters * sum(map(len, counting.token_ids(texts)))


def latency(folder: Path, rounds: int, queries: int) -> list[Row]:
    """One SPLADE query at a time, to the dictionary that Pyserini searches with."""
    from pyserini.encode import SpladeQueryEncoder

    texts = [" ".join(text.split()[:9]) for text in sample(queries)]
    theirs = SpladeQueryEncoder(str(folder), device="cpu")
    mine = {dtype: SparseQueryEncoder(Encoder.open(folder, "cpu", dtype)) for dtype in ("bfloat16", "float32")}
    contenders: dict[str, Any] = {**mine, "pyserini": theirs}

    def all_of(encoder: Any) -> None:
        for text in texts:
            encoder.encode(text)

    alternate({name: partial(all_of, encoder) for name, encoder in contenders.items()}, 1)
    seconds = alternate({name: partial(all_of, encoder) for name, encoder in contenders.items()}, rounds)
    each = {name: 1000 * median(times) / len(texts) for name, times in seconds.items()}
    return [
        Row(
            f"one SPLADE query, {dtype}",
            "Pyserini's SpladeQueryEncoder, float32",
            ratio_of(seconds, dtype, "pyserini"),
            4.0 if dtype == "bfloat16" else None,
            True,
            each[dtype],
            each["pyserini"],
            "ms",
            rounds,
        )
        for dtype in mine
    ]


def memory(folder: Path, fewer: int, more: int) -> Row:
    """Peak memory of `gradir encode` on many short documents against a tenth of them."""
    peaks = [_peak_memory(folder, size) for size in (fewer, more)]
    name = f"the same, {fewer:,} documents"
    return Row(f"peak memory, {more:,} documents", name, peaks[1] / peaks[0], 1.1, False, peaks[1], peaks[0], "MiB", 1)


def _peak_memory(folder: Path, size: int) -> float:
    words = " ".join(sample(50)).split()
    draw = random.Random(size)
    with tempfile.TemporaryDirectory() as scratch:
        corpus, output = Path(scratch, "corpus.jsonl"), Path(scratch, "vectors")
        with corpus.open("w", encoding="utf-8") as stream:
            for i in range(size):
                text = " ".join(draw.choices(words, k=12))
                stream.write(json.dumps({"_id": str(i), "title": "", "text": text}) + "\n")
        words_of = ["--encoder", str(folder), "--corpus", str(corpus), "--output", str(output), "--device", "cpu"]
        command = [sys.executable, "-m", "gradir.encode", *words_of, "--max-length", "16"]
        subprocess.run([sys.executable, "-c", _MEASURED, str(Path(scratch, "peak")), *command], check=True)
        return float(Path(scratch, "peak").read_text()) / 1024


# Runs a command and notes the peak memory of that process alone, in KiB.
_MEASURED = (
    "import resource, subprocess, sys; subprocess.run(sys.argv[2:], check=True, stderr=subprocess.DEVNULL);"
    "open(sys.argv[1], 'w').write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))"
)


def main() -> None:
    """Run all, print the table."""
    asked = arguments(__doc__)
    dense, splade = dense_folder(), splade_folder()
    texts, rounds = sample(64 if asked.quick else 600), 1 if asked.quick else 3
    rows = throughput("dense", dense, texts, rounds, (9.0, 1.4))
    rows += throughput("splade", splade, texts, rounds, (11.0, 4.5))
    rows += latency(splade, rounds, 20 if asked.quick else 100)
    if not asked.quick:
        rows.append(memory(dense, 10_000, 100_000))
    show(rows, asked.json)


if __name__ == "__main__":
    main()
