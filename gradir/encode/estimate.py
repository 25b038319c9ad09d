"""What a run would take, from a sample of its texts."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from gradir.encode.formats import Format
from gradir.encode.parts import LineParts, Parts, VectorParts
from gradir.encode.rows import Row, Source

TOKENISED, ENCODED = 4096, 256  # texts of the sample


def estimate(encoder: Any, source: Source, format: Format, vector_dtype: str = "float32", devices: int = 1) -> str:
    """`name<TAB>value` lines: documents, tokens, seconds, bytes.

    The first texts stand for all. Tokens are counted in up to 4,096 of them, and up to 256 of these, evenly spread, are encoded
    (after a first round that warms up) and written to a temporary folder. Seconds are those of encoding; reading, and for
    Pyserini's formats putting the parts together, come on top.

    Args:
        encoder: A `gradir.engine.Encoder`.
        source: What would be read; counted by reading it where its size is not known.
        format: What would be written.
        vector_dtype: Of dense vectors in shards.
        devices: How many work side by side.
    """
    rows = list(islice(source.rows(), TOKENISED))
    total = source.total()
    documents = sum(1 for _ in source.rows()) if total is None else total
    mean_tokens = sum(_lengths(encoder, [row.text for row in rows], source.side)) / max(1, len(rows))
    sample = rows[:: max(1, -(-len(rows) // ENCODED))]
    seconds, tokens, size = _measured(encoder, source.side, sample, format, vector_dtype)
    expected = mean_tokens * documents
    values = {
        "documents": documents,
        "tokens": round(expected),
        "seconds": round(expected * seconds / max(1, tokens) / devices),
        "bytes": round(size / max(1, len(sample)) * documents),
    }
    return "\n".join(f"{name}\t{value}" for name, value in values.items())


def _lengths(encoder: Any, texts: Sequence[str], side: str) -> list[int]:
    """Tokens of each text, as they would be encoded."""
    prefix, longest = encoder.config.prefix(side), encoder.config.max_length(side)
    ids = encoder.tokenizer([prefix + text for text in texts], truncation=True, max_length=longest)["input_ids"]
    return [len(one) for one in ids]


def _measured(
    encoder: Any, side: str, sample: Sequence[Row], format: Format, vector_dtype: str
) -> tuple[float, int, int]:
    """(seconds, tokens, bytes on disk) of the sample."""
    texts = [row.text for row in sample]
    encoder.encode(texts[:32], side)
    started, before = time.perf_counter(), encoder.tokens
    vectors = encoder.encode(texts, side)
    seconds, tokens = time.perf_counter() - started, encoder.tokens - before
    with TemporaryDirectory() as folder:
        parts: Parts = VectorParts(Path(folder), encoder.description(), vector_dtype)  # type: ignore[arg-type]
        if format == "pyserini":
            parts = LineParts(Path(folder), encoder.vocab() if encoder.config.kind == "splade" else ())
        parts.write(0, [row.id for row in sample], [row.contents for row in sample], vectors)
        size = parts.path(0).stat().st_size
        if isinstance(parts, LineParts):
            size = sum(map(len, parts.lines(0)))
        if format == "faiss":
            size = vectors.nbytes + sum(len(row.id.encode()) + 1 for row in sample)
    return seconds, tokens, size
