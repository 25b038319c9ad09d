"""Every form of an exported encoder against float32 in torch: `gradir export --check`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gradir.data.atomic import new_text
from gradir.data.jsonl import FORMAT
from gradir.engine.onnx_model import OnnxModel, graph_name
from gradir.errors import MissingDependency
from gradir.export.compare import (
    Row,
    like_scores,
    like_vectors,
    outputs,
    same_impacts,
    same_scores,
    same_vectors,
)
from gradir.export.samples import QUERIES, java_splits_alike
from gradir.models.config import Side

if TYPE_CHECKING:
    from gradir.export.anserini import Slot
    from gradir.export.reranker import Reranker
    from gradir.models.folder import EncoderFolder


def check_encoder(
    source: EncoderFolder, written: EncoderFolder, texts: Sequence[str], slot: Slot | None = None
) -> tuple[list[Row], list[str]]:
    """Compare what was written with what it was made from.

    Args:
        source: The encoder that was exported, opened afresh.
        written: The folder made of it, opened afresh.
        texts: What they are tried on.
        slot: Anserini's slot, where the folder has `anserini/`.

    Returns:
        (the comparisons, what could not be compared and why).
    """
    rows, skipped = [], []
    for side in _sides(written):
        reference = _encoded(written, side, texts)
        again = _encoded(source, side, texts)
        rows.append(_same(written, f"{_named(side, written)}torch and what it was made from", reference, again))
        rows += _graphs(written, side, texts, reference)
    if slot:
        problem = _java_missing()
        if problem:
            skipped.append(f"Anserini's Java encoder was not run: {problem}")
        else:
            rows.append(_java(written, slot, texts))
    return rows, skipped


def check_reranker(source: Reranker, written: Reranker, texts: Sequence[str]) -> list[Row]:
    """As `check_encoder`, for scores of pairs of a query and a text."""
    from gradir.export.reranker import tokenized

    pairs = [(QUERIES[i % len(QUERIES)], text) for i, text in enumerate(texts)]
    batches = [tokenized(written, pairs[start : start + 8]) for start in range(0, len(pairs), 8)]

    def scores(model: Any) -> NDArray[np.float32]:
        found = [model(*(batch[name] for name in written.inputs)).detach().numpy() for batch in batches]
        return np.concatenate(found)

    reference = scores(written.model)
    rows = [same_scores("torch and what it was made from", scores(source.model), reference)]
    for int8, compare, name in ((False, same_scores, "ONNX"), (True, like_scores, "int8")):
        path = written.path / graph_name(int8=int8)
        if path.exists():
            rows.append(compare(f"{name} and torch", scores(OnnxModel(path)), reference))
    return rows


def _sides(folder: EncoderFolder) -> Iterator[Side]:
    """Queries have a row of their own only where they go another way."""
    yield "passage"
    if folder.query_model is not folder.model:
        yield "query"


def _named(side: Side, folder: EncoderFolder) -> str:
    return "" if folder.query_model is folder.model else "queries: " if side == "query" else "documents: "


def _encoded(folder: EncoderFolder, side: Side, texts: Sequence[str], model: Any = None) -> NDArray[np.float32]:
    """What one side of a folder (or another form of its model) makes of texts, [N, D] or weights [N, V]."""
    own = side == "query"
    tokenizer = folder.query_tokenizer if own else folder.tokenizer
    prefixed = [folder.config.prefix(side) + text for text in texts]
    chosen = model or (folder.query_model if own else folder.model)
    return outputs(chosen, tokenizer, prefixed, folder.config.max_length(side))


def _impacts(folder: EncoderFolder, weights: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.rint(weights * folder.config.impact_scale)


def _same(folder: EncoderFolder, pair: str, ours: NDArray[Any], reference: NDArray[Any]) -> Row:
    if folder.config.kind == "dense":
        return same_vectors(pair, ours, reference)
    return same_impacts(pair, _impacts(folder, ours), _impacts(folder, reference))


def _graphs(folder: EncoderFolder, side: Side, texts: Sequence[str], reference: NDArray[Any]) -> Iterator[Row]:
    """The ONNX files of one side."""
    own: Side = "query" if side == "query" and folder.query_model is not folder.model else "passage"
    sparse = folder.config.kind == "splade"
    for int8, name in ((False, "ONNX"), (True, "int8")):
        path = folder.path / graph_name(own, int8)
        if not path.exists():
            continue
        found, pair = _encoded(folder, side, texts, OnnxModel(path)), f"{_named(side, folder)}{name} and torch"
        if not int8:
            yield _same(folder, pair, found, reference)
        elif sparse:
            yield like_vectors(pair, _impacts(folder, found), _impacts(folder, reference), sparse=True)
        else:
            yield like_vectors(pair, found, reference, sparse=False)


def _java_missing() -> str:
    """Why Anserini cannot be run here; empty if it can."""
    from importlib.util import find_spec

    from gradir import jvm

    try:
        jvm.anserini_jar()
        jvm.find_java()
    except MissingDependency as error:
        return str(error)
    return "" if find_spec("jnius") else "pyjnius is not installed"


def _java(folder: EncoderFolder, slot: Slot, texts: Sequence[str]) -> Row:
    """Anserini's own encoder on the texts that it splits alike."""
    from gradir.export.anserini import SPECIAL
    from gradir.export.java import encode_in_java
    from gradir.models.vocabulary import terms_by_id

    tokenizer = folder.query_tokenizer
    known = [text for text in texts if java_splits_alike(text, tokenizer.all_special_tokens)]
    found = encode_in_java(folder.path / "anserini", slot, known)
    reference, pair = _encoded(folder, "query", known), f"Anserini's {slot.name}Encoder and torch"
    if folder.config.kind == "dense":
        return same_vectors(pair, np.asarray(found, dtype=np.float32), reference)
    expected = _impacts(folder, _largest(reference, folder.config.top_k_query))
    expected[:, list(SPECIAL.values())] = 0  # Java leaves them out
    places = {term: i for i, term in enumerate(terms_by_id(tokenizer, expected.shape[1]))}
    impacts = np.zeros_like(expected)
    for row, terms in enumerate(found):
        for term, impact in terms.items():
            impacts[row, places[term]] = impact
    return same_impacts(pair, impacts, expected)


def _largest(weights: NDArray[np.float32], count: int | None) -> NDArray[np.float32]:
    """The weights with all but the largest of each row 0."""
    if not count or count >= weights.shape[1]:
        return weights
    kept = np.argsort(-weights, axis=1, kind="stable")[:, :count]
    cut = np.zeros_like(weights)
    np.put_along_axis(cut, kept, np.take_along_axis(weights, kept, axis=1), axis=1)
    return cut


def write_check(folder: Path, rows: Sequence[Row], skipped: Sequence[str]) -> None:
    """Write `check.json`."""
    with new_text(folder / "check.json") as stream:
        value = {"format": FORMAT, "compared": [row.as_dict() for row in rows], "not_compared": list(skipped)}
        json.dump(value, stream, indent=1, ensure_ascii=False)
        stream.write("\n")
