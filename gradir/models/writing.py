"""Encoder folders, written so that gradir, sentence-transformers, Hugging Face and Pyserini open them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradir.data.atomic import new_text
from gradir.data.vectors import write_vocab
from gradir.errors import GradirError
from gradir.models.config import EncoderConfig, write_config
from gradir.models.layout import hashes, read_layout
from gradir.models.vocabulary import special_ids, terms_by_id

if TYPE_CHECKING:
    from torch import Tensor

    from gradir.models.encoders import DenseEncoder

_MODES = {"mean": "mean_tokens", "cls": "cls_token", "max": "max_tokens", "last": "lasttoken"}
_PACKAGE = "sentence_transformers.sparse_encoder.models"

# (class of sentence-transformers, subfolder) of the modules that texts go through, in order
_Modules = list[tuple[str, str]]


def write_dense_folder(
    folder: Path,
    model: DenseEncoder,
    tokenizer: Any,
    config: EncoderConfig,
    query: tuple[DenseEncoder, Any] | None = None,
) -> None:
    """Write a dense encoder folder that gradir, Hugging Face (`AutoModel`) and `SentenceTransformer` open.

    Only the latter and gradir apply pooling, projections and prefixes; the others give the states of tokens.

    Args:
        folder: An empty folder.
        model: The encoder of documents.
        tokenizer: Its tokenizer; `model_max_length` is set to the longer of both lengths, which is what truncates elsewhere.
        config: `gradir.json`; the hashes are filled in.
        query: Model and tokenizer of queries, where `query_side` is `separate`.

    Raises:
        GradirError: The configuration and what is given for queries do not go together.
    """
    _check_query_side(config, own=query is not None, table=False)
    _save(folder, model.backbone, tokenizer, config)
    modules = _write_dense_modules(folder, model, config)
    if query:
        own = replace(config, query_side="encoder", passage_prefix=config.query_prefix)
        write_dense_folder(folder / "query", *query, _as_built(own, query[0]))
    _write_routes(folder, modules, _own_modules(folder, query is not None))
    _write_texts(folder, config, "SentenceTransformer", "cosine")
    write_config(folder, replace(config, **_hashes_of(folder, config)))


def write_splade_folder(
    folder: Path,
    mlm: Any,
    tokenizer: Any,
    config: EncoderConfig,
    table: Tensor | None = None,
    query: tuple[Any, Any] | None = None,
) -> None:
    """Write a SPLADE encoder folder that gradir, Pyserini (`AutoModelForMaskedLM`) and `SparseEncoder` open.

    Args:
        folder: An empty folder.
        mlm: The masked-language model, whole.
        tokenizer: Its tokenizer; `model_max_length` is set to the longer of both lengths, which is what truncates elsewhere.
        config: `gradir.json`; the hashes are filled in.
        table: Weights of query terms, float32 [V], where `query_side` is `idf` or `weights`.
        query: Masked-language model and tokenizer of queries, where `query_side` is `separate`.

    Raises:
        GradirError: The configuration and what is given for queries do not go together.
    """
    _check_query_side(config, own=query is not None, table=table is not None)
    _save(folder, mlm, tokenizer, config)
    rows = mlm.get_output_embeddings().out_features
    write_vocab(folder, terms_by_id(tokenizer, rows))
    pooling = {"pooling_strategy": config.pooling, "activation_function": config.activation}
    (folder / "1_SpladePooling").mkdir()
    _write_json(folder / "1_SpladePooling" / "config.json", {**pooling, "word_embedding_dimension": rows})
    modules = [(f"{_PACKAGE}.MLMTransformer", ""), (f"{_PACKAGE}.SpladePooling", "1_SpladePooling")]
    queries = None
    if query:
        own = replace(config, query_side="encoder", passage_prefix=config.query_prefix)
        write_splade_folder(folder / "query", *query, own)
        queries = _own_modules(folder, True)
    elif config.query_side != "encoder":
        _write_table(folder / "query", tokenizer, _table(table, rows, tokenizer, config), config.query_side)
        queries = [(f"{_PACKAGE}.SparseStaticEmbedding", "query")]
    if not config.expansion:  # sentence-transformers multiplies: only terms of the text keep their weight
        _write_table(folder / "2_SparseStaticEmbedding", tokenizer, _table(None, rows, tokenizer, config), "binary")
        modules.append((f"{_PACKAGE}.SparseStaticEmbedding", "2_SparseStaticEmbedding"))
    _write_routes(folder, modules, queries)
    _write_texts(folder, config, "SparseEncoder", "dot")
    write_config(folder, replace(config, **_hashes_of(folder, config)))


def _check_query_side(config: EncoderConfig, own: bool, table: bool) -> None:
    side = config.query_side
    wanted = {"separate": "an encoder", "idf": "a table", "weights": "a table"}.get(side, "neither")
    given = "an encoder" if own else "a table" if table else "neither"
    if wanted != given and not (side == "binary" and given == "a table"):
        raise GradirError(f"query_side '{side}' needs {wanted} of its own for queries, and {given} is given.")


def _save(folder: Path, model: Any, tokenizer: Any, config: EncoderConfig) -> None:
    """The model and its tokenizer in Hugging Face's format."""
    folder.mkdir(exist_ok=True)
    tokenizer.model_max_length = max(config.max_query_length, config.max_passage_length)
    # Every call sets both; in the file they would be those of the last call, and bind those who use the file as it is.
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _as_built(config: EncoderConfig, model: DenseEncoder) -> EncoderConfig:
    """The configuration of a model of queries, as far as the model decides it."""
    return replace(config, pooling=model.pooling, normalize=model.normalize, dimensions=model.dimensions)


def _write_dense_modules(folder: Path, model: DenseEncoder, config: EncoderConfig) -> _Modules:
    """Pooling, projections and scaling; returns the modules in order."""
    import torch
    from safetensors.torch import save_file
    from torch import nn

    from gradir.models.projections import projection_files

    layers = list(model.projections)
    if model.dimensions:
        # sentence-transformers cuts after scaling; as a layer that keeps the first numbers, the cut comes before
        cut = nn.Linear(model.full_size, model.size, bias=False)
        cut.weight.data = torch.eye(model.size, model.full_size)
        layers.append(cut)
    pooling = {f"pooling_mode_{mode}": name == config.pooling for name, mode in _MODES.items()}
    size = {"word_embedding_dimension": int(model.backbone.config.hidden_size)}
    parts: list[tuple[str, Mapping[str, Any], dict[str, Tensor]]] = [
        ("Pooling", {**size, **pooling, "include_prompt": config.pool_prefix}, {}),
        *projection_files(layers),
        *([("Normalize", {}, {})] if config.normalize else []),
    ]
    modules = [("sentence_transformers.models.Transformer", "")]
    for number, (name, settings, weights) in enumerate(parts, 1):
        modules.append((f"sentence_transformers.models.{name}", f"{number}_{name}"))
        (folder / f"{number}_{name}").mkdir()
        _write_json(folder / f"{number}_{name}" / "config.json", settings)
        if weights:
            save_file(weights, folder / f"{number}_{name}" / "model.safetensors")
    return modules


def _table(table: Tensor | None, rows: int, tokenizer: Any, config: EncoderConfig) -> Tensor:
    """Weights of query terms, those of special tokens 0 where these are dropped."""
    import torch

    weights = torch.ones(rows) if table is None else table.detach().float().cpu().clone()
    if len(weights) != rows:
        raise GradirError(f"the table weighs {len(weights)} terms, and the model has {rows}.")
    if config.special_tokens == "drop":
        weights[special_ids(tokenizer)] = 0.0
    return weights


def _write_table(folder: Path, tokenizer: Any, table: Tensor, side: str) -> None:
    """The folder of sentence-transformers' SparseStaticEmbedding."""
    from safetensors.torch import save_file

    folder.mkdir()
    tokenizer.save_pretrained(folder)
    save_file({"weight": table}, folder / "model.safetensors")
    _write_json(folder / "config.json", {"frozen": side != "weights"})


def _own_modules(folder: Path, there: bool) -> _Modules | None:
    """The modules of the encoder in `query/`, as they are named from outside."""
    if not there:
        return None
    listed = json.loads((folder / "query" / "modules.json").read_text(encoding="utf-8"))
    return [(module["type"], f"query/{module['path']}".rstrip("/")) for module in listed]


def _write_routes(folder: Path, modules: _Modules, queries: _Modules | None) -> None:
    """`modules.json`; where queries go another way, both ways in `router_config.json`."""
    if queries is None:
        _write_json(folder / "modules.json", _listed(modules))
        return
    _write_json(folder / "modules.json", _listed([("sentence_transformers.models.Router", "")]))
    ways = {"query": queries, "document": modules}
    routes = {
        "types": {path or ".": name for way in ways.values() for name, path in way},
        "structure": {side: [path or "." for _, path in way] for side, way in ways.items()},
        "parameters": {"default_route": "document", "allow_empty_key": True},
    }
    _write_json(folder / "router_config.json", routes)


def _listed(modules: _Modules) -> list[dict[str, Any]]:
    return [{"idx": i, "name": str(i), "path": path, "type": name} for i, (name, path) in enumerate(modules)]


def _write_texts(folder: Path, config: EncoderConfig, kind: str, similarity: str) -> None:
    """What happens to texts, in sentence-transformers' files."""
    length = max(config.max_query_length, config.max_passage_length)
    _write_json(folder / "sentence_bert_config.json", {"max_seq_length": length, "do_lower_case": False})
    prompts = {"query": config.query_prefix, "document": config.passage_prefix}
    settings = {"model_type": kind, "prompts": prompts, "similarity_fn_name": similarity}
    _write_json(folder / "config_sentence_transformers.json", settings)


def _hashes_of(folder: Path, config: EncoderConfig) -> dict[str, Any]:
    """The hashes of what has been written."""
    write_config(folder, config)  # which says what there is to be hashed
    return hashes(read_layout(folder))


def _write_json(path: Path, value: Mapping[str, Any] | Sequence[Any]) -> None:
    with new_text(path) as stream:
        json.dump(value, stream, indent=2)
        stream.write("\n")
