"""The built-in collection as the benchmarks search it: encoded by the SPLADE encoder of `make bench-models`, and indexed."""

from __future__ import annotations

from pathlib import Path

from benchmarks.models import CACHE, pydocs_folder, splade_folder
from gradir.data.records import Query

LENGTH = 128


def sparse_shards() -> Path:
    """Vector shards of the documents; made on first use."""
    from gradir import encode

    folder = CACHE / "pydocs-sparse"
    encode.run(str(splade_folder()), folder, str(pydocs_folder()), max_length=LENGTH)
    return folder


def impact_index(top_k: int | None = None) -> Path:
    """The impact index of the documents, with a forward index beside it; of their heaviest terms if `top_k` is given."""
    from gradir import index

    folder = CACHE / f"pydocs-impact-{top_k or 'all'}"
    index.run(sparse_shards(), folder, "impact", top_k=top_k, forward=True)
    return folder


def queries(split: str) -> list[Query]:
    """The judged queries of a split, in the order of the topics."""
    from gradir.data.qrels import read_qrels
    from gradir.data.topics import read_topics

    collection = pydocs_folder()
    judged = read_qrels(collection / "qrels" / f"{split}.tsv")
    return [query for query in read_topics(collection) if query.qid in judged]
