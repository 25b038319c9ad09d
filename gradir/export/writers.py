"""Writing an exported folder: files, graphs, checks, card."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradir.engine.onnx_model import graph_name, note_of
from gradir.errors import GradirError
from gradir.export.anserini import check_fits, write_variant
from gradir.export.card import Card, write_card
from gradir.export.check import check_encoder, check_reranker, write_check
from gradir.export.compare import Row, table
from gradir.export.files import write_encoder, write_pickle
from gradir.export.graphs import sample_inputs, write_graph
from gradir.export.int8 import write_int8
from gradir.export.reranker import open_reranker, write_reranker
from gradir.models.config import Side, read_config
from gradir.models.encoders import StaticEncoder
from gradir.models.folder import open_folder
from gradir.models.weights import weights_hash

if TYPE_CHECKING:
    from gradir.models.folder import EncoderFolder


@dataclass(frozen=True)
class Plan:
    """What is to be made.

    Attributes:
        encoder: As the user named it.
        path: Where it lies.
        output: The folder to write, as the user named it.
        wanted: Which forms to add: onnx, int8, anserini, pyserini_compat.
        texts: What they are tried on; none if they are not.
        trust: Whether the model's own code may run.
    """

    encoder: str
    path: Path
    output: Path
    wanted: dict[str, bool]
    texts: Sequence[str]
    trust: bool


@dataclass(frozen=True)
class Made:
    """What was made.

    Attributes:
        kind: `dense`, `splade` or `reranker`.
        rows: The comparisons.
    """

    kind: str
    rows: Sequence[Row] = ()


class NotMet(GradirError):
    """A form differs by more than is allowed.

    Attributes:
        table: All comparisons.
    """

    def __init__(self, rows: Sequence[Row]):
        self.table = table(rows)
        found = "; ".join(f"{row.pair}: {row.problem}" for row in rows if row.problem)
        super().__init__(f"{found}. Nothing was written. Leave that form out, or use float32 for this encoder.")


def write_retriever(plan: Plan, folder: Path) -> Made:
    """Write a dense or SPLADE encoder.

    Args:
        plan: What is to be made.
        folder: An empty folder.

    Raises:
        NotMet: A comparison shows too large a difference.
        GradirError: The encoder cannot be opened, or has no such form.
    """
    source = open_folder(plan.path, trust_remote_code=plan.trust)
    if plan.wanted["anserini"]:
        check_fits(source.config, source.query_tokenizer)
    size, projected = _shape(source)
    write_encoder(source, folder)
    if plan.wanted["pyserini_compat"]:
        write_pickle(folder)
    if plan.wanted["onnx"]:
        _write_graphs(open_folder(folder, trust_remote_code=plan.trust), plan.wanted["int8"])
    slot = None
    if plan.wanted["anserini"]:
        slot = write_variant(open_folder(folder, trust_remote_code=plan.trust), folder / "anserini")
    rows: list[Row] = []
    skipped: list[str] = []
    if plan.texts:
        opened = [open_folder(place, trust_remote_code=plan.trust) for place in (plan.path, folder)]
        rows, skipped = check_encoder(opened[0], opened[1], plan.texts, slot)
        _judge(folder, rows, skipped)
    config = read_config(folder)
    write_card(folder, Card(str(plan.output), plan.encoder, config, size, projected, checked=rows, not_checked=skipped))
    return Made(config.kind, rows)


def _shape(folder: EncoderFolder) -> tuple[int, bool]:
    """(numbers of a vector or terms, whether layers follow the pooling)."""
    model: Any = folder.model
    if folder.config.kind == "splade":
        return int(model.decoder.out_features), False
    return int(model.size), len(model.projections) > 0


def _write_graphs(folder: EncoderFolder, int8: bool) -> None:
    """The graph of documents, and that of queries where they go through a model of their own."""
    output = "weights" if folder.config.kind == "splade" else "embeddings"
    note, query = note_of(folder.config), folder.query_model
    sides: list[tuple[Side, Any, Any]] = [("passage", folder.model, folder.tokenizer)]
    if query is not folder.model and not isinstance(query, StaticEncoder):
        sides.append(("query", query, folder.query_tokenizer))
    for side, model, tokenizer in sides:
        write_graph(model, folder.path / graph_name(side), sample_inputs(tokenizer), output, note)
        if int8:
            write_int8(folder.path / graph_name(side), folder.path / graph_name(side, int8=True))


def write_cross_encoder(plan: Plan, folder: Path) -> Made:
    """Write a cross-encoder; arguments and errors as in `write_retriever`."""
    if plan.wanted["anserini"]:
        raise GradirError(f"--anserini: {plan.path} is a cross-encoder, and Anserini's Java runs none. Leave it out.")
    source = open_reranker(plan.path, plan.trust)
    write_reranker(source, folder)
    if plan.wanted["pyserini_compat"]:
        write_pickle(folder)
    if plan.wanted["onnx"]:
        note = {"kind": "reranker", "activation": source.activation, "weights_sha256": weights_hash(folder)}
        model, inputs = open_reranker(folder, plan.trust).model, sample_inputs(source.tokenizer, source.inputs)
        write_graph(model, folder / graph_name(), inputs, "scores", note)
    if plan.wanted["int8"]:
        write_int8(folder / graph_name(), folder / graph_name(int8=True))
    rows: list[Row] = []
    if plan.texts:
        opened = [open_reranker(place, plan.trust) for place in (plan.path, folder)]
        rows = check_reranker(opened[0], opened[1], plan.texts)
        _judge(folder, rows, [])
    card = Card(str(plan.output), plan.encoder, None, 1, False, source.max_length, source.activation, checked=rows)
    write_card(folder, card)
    return Made("reranker", rows)


def _judge(folder: Path, rows: Sequence[Row], skipped: Sequence[str]) -> None:
    """Write `check.json`, unless something differs by more than is allowed."""
    if any(row.problem for row in rows):
        raise NotMet(rows)
    write_check(folder, rows, skipped)
