"""Queries as a searcher takes them: words, vectors from an encoder, or vectors made before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from gradir.data.records import Query
from gradir.errors import GradirError, InputError
from gradir.search.indexes import Index, differences

if TYPE_CHECKING:
    from gradir.engine.encoder import Encoder
    from gradir.engine.light import LightQueryEncoder
    from gradir.search.class_encoder import EncoderClass, PyseriniQueries
    from gradir.search.encoded_topics import EncodedTopics

Backend = Literal["torch", "onnx", "onnx-int8"]
Dtype = Literal["auto", "float32", "bfloat16", "float16"]


@dataclass(frozen=True)
class QuerySide:
    """How queries become what a searcher takes.

    Attributes:
        encode: Queries to `list[str]` (bm25), `SparseVectors`, or float32 [N, D].
        vocab: The terms of sparse vectors by id.
        description: What the run's manifest says of it; None for words.
        name: What the run's tag calls it.
        warning: What to tell the user at the end.
        encoder: What encodes, where it is an encoder.
    """

    encode: Callable[[Sequence[Query]], Any]
    vocab: Sequence[str]
    description: dict[str, Any] | None
    name: str
    warning: str = ""
    encoder: Encoder | LightQueryEncoder | PyseriniQueries | None = None

    def counts(self) -> dict[str, int]:
        """What a manifest counts of the encoder's work."""
        return {"query_terms": self.encoder.active_terms} if self.encoder and self.encoder.active_terms else {}


@dataclass(frozen=True)
class Opening:
    """How a query encoder is opened: see `gradir.search.run`."""

    encoder: str | None = None
    max_length: int | None = None
    device: str = "auto"
    dtype: Dtype = "auto"
    backend: Backend = "torch"
    encoder_class: EncoderClass | None = None


def query_side(index: Index, opening: Opening, topics: EncodedTopics | None, force: bool) -> QuerySide:
    """The query side of an index: its encoder must be the one that the index was made with.

    Args:
        index: The index, or the first of several shards.
        opening: The encoder, if there is one.
        topics: Queries encoded before, if there are.
        force: Another encoder is only a warning.

    Raises:
        GradirError: No encoder where one is needed, one where none is, or another one without `force`.
    """
    if index.encoder is None:
        given = "--encoder" if opening.encoder is not None else "--encoded-topics" if topics is not None else None
        if given:
            raise GradirError(f"{index.folder} is of type {index.type}, which takes no {given}. Leave it out.")
        return QuerySide(lambda queries: [query.text for query in queries], (), None, index.type)
    if topics is not None:
        return _known(index, topics, opening.encoder, force)
    if opening.encoder is None:
        raise GradirError(
            f"{index.folder} is of type {index.type}: give the --encoder that its vectors were made with, "
            "or --encoded-topics."
        )
    return _encoded(index, opening, force)


def _encoded(index: Index, opening: Opening, force: bool) -> QuerySide:
    """Queries through an encoder."""
    made_with = index.encoder or {}
    changes: dict[str, Any] = {"pooling": made_with.get("pooling")}  # `gradir encode` may have been told
    if made_with["kind"] == "splade" and made_with.get("encoder") == "foreign":  # Pyserini's, or converted from it
        changes = {name: made_with[name] for name in ("impact_scale", "max_query_length")}
    if opening.max_length is not None:
        changes["max_query_length"] = opening.max_length
    name = opening.encoder or ""
    opened = _open(name, opening, made_with["kind"], changes)
    warning = _compared(index, opened.description(), name, "Give the right --encoder, or --force", force)
    vocab = opened.vocab() if made_with["kind"] == "splade" else ()

    def encode(queries: Sequence[Query]) -> Any:
        return opened.encode([query.text for query in queries], "query")

    return QuerySide(encode, vocab, opened.description(), _short(name), warning, opened)


def _open(
    name: str, opening: Opening, kind: str, changes: dict[str, Any]
) -> Encoder | LightQueryEncoder | PyseriniQueries:
    """The encoder; on the CPU an ONNX model needs neither torch nor transformers, whose import takes seconds."""
    if opening.encoder_class is not None:
        return opening.encoder_class.open(name, opening.device, opening.dtype, opening.max_length)
    from gradir.engine.light import LightQueryEncoder

    light = opening.backend != "torch" and opening.device in ("auto", "cpu") and opening.dtype in ("auto", "float32")
    if light and LightQueryEncoder.fits(name, kind):
        return LightQueryEncoder(name, opening.backend == "onnx-int8", kind=kind, **changes)
    from gradir.engine.encoder import Encoder

    return Encoder.open(name, opening.device, opening.dtype, backend=opening.backend, kind=kind, **changes)


def _known(index: Index, topics: EncodedTopics, encoder: str | None, force: bool) -> QuerySide:
    """Queries encoded before."""
    import numpy as np

    from gradir.data.vectors import SparseVectors

    kind = (index.encoder or {})["kind"]
    if encoder is not None:
        raise GradirError("--encoded-topics are encoded: leave --encoder out.")
    if topics.kind != kind:
        raise GradirError(f"{index.folder} holds {kind} vectors, those of --encoded-topics are {topics.kind}.")
    described = topics.description
    warning = _compared(index, described, "topics", "Encode the topics again, or --force", force) if described else ""
    rows = {query.qid: row for row, query in enumerate(topics.queries)}

    def encode(queries: Sequence[Query]) -> Any:
        chosen = np.array([rows[query.qid] for query in queries], dtype=np.int64)
        vectors = topics.vectors
        return vectors.take(chosen) if isinstance(vectors, SparseVectors) else vectors[chosen]

    return QuerySide(encode, topics.vocab, described or {"kind": kind, "encoder": "foreign"}, "encoded", warning)


def _compared(index: Index, encoder: dict[str, Any], name: str, fix: str, force: bool) -> str:
    """A warning where the queries are encoded otherwise than the index; refused without `force`."""
    different = differences(index, encoder, name)
    if not different:
        return ""
    problem = f"{index.folder} was made with another encoder:\n  " + "\n  ".join(different)
    if not force:
        raise GradirError(f"{problem}\n{fix}.")
    return f"warning: {problem}\n"


def _short(encoder: str) -> str:
    """The last part of a path or hub name, fit for a run tag."""
    return "_".join(Path(encoder).name.split()) or "encoder"


def chosen_queries(topics: str | None, encoded: EncodedTopics | None, qrels: str | None) -> list[Query]:
    """Which queries are searched, in which order: the topics', else those of the encoded topics; with qrels, the judged.

    Raises:
        GradirError: None is left.
        InputError: A topic is not among the encoded ones.
    """
    from gradir.data.qrels import read_qrels
    from gradir.data.topics import read_topics

    queries = list(read_topics(topics)) if topics is not None else encoded.queries if encoded else []
    if qrels is not None:
        judged = read_qrels(qrels)
        queries = [query for query in queries if query.qid in judged]
        if not queries:
            raise GradirError(f"{topics}: none of the topics is judged in {qrels}. Do they belong together?")
    if topics is not None and encoded is not None:
        known = {query.qid for query in encoded.queries}
        missing = [query.qid for query in queries if query.qid not in known]
        if missing:
            shown = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
            raise InputError(topics, f"{len(missing)} of the topics are not encoded ({shown})", "Encode them all")
    return queries


def topics_path(topics: str) -> Path:
    """The file that decides the result: of a BEIR folder only the queries."""
    names = ("queries.jsonl", "queries.jsonl.gz", "queries.jsonl.zst", "queries.tsv")
    found = (Path(topics) / name for name in names if (Path(topics) / name).exists())
    return next(found, Path(topics))
