"""What is trained: one or two encoders, from blocks of tokens to vectors."""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from gradir.errors import GradirError, MissingDependency
from gradir.models.config import EncoderConfig, Side, position_limit
from gradir.models.encoders import DenseEncoder, SpladeEncoder, StaticEncoder, replace_module
from gradir.models.folder import EncoderFolder, open_folder
from gradir.models.together import encode_blocks
from gradir.train.config import Lora, TrainConfig


class Retriever(nn.Module):
    """An encoder of documents and one of queries, which may be the same.

    Args:
        folder: The encoder folder to start from.
        dtype: Number format of the products; weights stay float32.

    Attributes:
        config: The encoder's `gradir.json`.
        document: What documents go through.
        query: What queries go through, or None where it is the same.
    """

    def __init__(self, folder: EncoderFolder, dtype: torch.dtype = torch.float32):
        super().__init__()
        self.config, self.dtype = folder.config, dtype
        self.tokenizer, self.query_tokenizer = folder.tokenizer, folder.query_tokenizer
        self.document: Any = folder.model
        # A second name for the same module would save its weights twice.
        self.query: Any = None if folder.query_model is folder.model else folder.query_model

    def side(self, side: Side) -> Any:
        """The encoder of queries or of documents."""
        return self.document if side == "passage" or self.query is None else self.query

    def forward(self, queries: dict[str, Any], documents: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """Vectors float32 [N, D], or term weights float32 [N, V], of queries and of documents, each in the order of the texts.

        Where one encoder takes both, they go through it together.

        Args:
            queries: What `batches.token_blocks` gives.
            documents: The same.
        """
        if self.query is not None:
            found = [self._encoded(self.query, queries["blocks"]), self._encoded(self.document, documents["blocks"])]
        else:
            together = self._encoded(self.document, [*queries["blocks"], *documents["blocks"]])
            found = list(together.split([len(queries["back"]), len(documents["back"])]))
        sides = zip(found, (queries, documents), ("query", "passage"), strict=True)
        left, right = (self._pruned(vectors[texts["back"]], side) for vectors, texts, side in sides)
        return left, right

    def _encoded(self, encoder: Any, blocks: list[tuple[Tensor, Tensor]]) -> Tensor:
        kind = blocks[0][0].device.type
        with torch.autocast(kind, self.dtype, enabled=self.dtype != torch.float32):
            return encode_blocks(encoder, blocks).float()

    def _pruned(self, vectors: Tensor, side: str) -> Tensor:
        most = self.config.top_k(cast(Side, side))
        return _largest(vectors, most) if self.config.kind == "splade" and most else vectors

    def positions(self, side: Side) -> int:
        """The most tokens of a text that its encoder takes."""
        encoder = self.side(side)
        if isinstance(encoder, StaticEncoder):
            return 0
        return position_limit(backbone_of(encoder).config.to_dict()) or sys.maxsize

    def encoders(self) -> list[Any]:
        """The encoders that have a backbone."""
        return [one for one in (self.document, self.query) if isinstance(one, DenseEncoder | SpladeEncoder)]

    @torch.no_grad()
    def hold(self) -> None:
        """Keep the weights of a table of query terms from falling below 0; called after each step."""
        if isinstance(self.query, StaticEncoder):
            self.query.table.clamp_(min=0.0)

    def write(self, folder: Path) -> None:
        """The encoder folder, as `gradir.models.writing` has it. Adapters are merged first."""
        for encoder in self.encoders():
            merge_lora(encoder)
        if self.config.kind == "dense":
            _write_dense(self, folder)
        else:
            _write_splade(self, folder)


def open_retriever(config: TrainConfig, kind: Any, dtype: torch.dtype, corpora: Iterable[str] = ()) -> Retriever:
    """The models that a configuration starts from.

    Args:
        config: The configuration.
        kind: `dense` or `splade`.
        dtype: Number format of the products.
        corpora: Where document frequencies are counted, for a table of query terms that has none yet.

    Raises:
        GradirError: There is no such encoder, or it does not go with the configuration.
    """
    changes = dict(config.model)
    wanted = changes.pop("query_side", None)
    trust = config.trust_remote_code
    start = "binary" if wanted in ("idf", "weights") else "encoder" if wanted == "separate" else wanted
    try:
        folder = open_folder(config.encoder, kind, trust, query_side=start, **changes)
    except TypeError as error:
        raise GradirError(f"`model`: {error}. Its keys are those of gradir.json.") from None
    if wanted == "separate" or config.query_encoder:
        own = open_folder(config.query_encoder or config.encoder, kind, trust, query_side="encoder", **changes)
        folder = replace(folder, query_model=own.model, query_tokenizer=own.tokenizer)
        wanted = "separate"
    if wanted:
        folder = replace(folder, config=replace(folder.config, query_side=wanted))
    retriever = Retriever(folder, dtype)
    if wanted in ("idf", "weights"):
        retriever.query.table.data = _idf(retriever, list(corpora))
    _freeze(retriever, config)
    for encoder in retriever.encoders():
        prepare(encoder, config)
    return retriever


def _idf(retriever: Retriever, corpora: list[str]) -> Tensor:
    """Lucene's IDF of each term that the table weighs, counted over the documents, float32 [V]."""
    import numpy as np

    from gradir.data.corpus import read_corpus
    from gradir.engine.tokens import Tokens
    from gradir.models.query_side import idf_table

    table = retriever.query.table.data
    tokens = Tokens(retriever.tokenizer, retriever.config, "passage")
    counts, documents = np.zeros(len(table), np.int64), 0
    for corpus in corpora:
        for document in read_corpus(corpus):
            counts[np.unique(tokens.ids([document.contents])[0])] += 1
            documents += 1
    if not documents:
        raise GradirError("query_side idf and weights count terms in the corpus, and `lists` name none.")
    weights: Tensor = torch.from_numpy(idf_table(counts, documents))
    return weights * (table > 0)


def _freeze(retriever: Retriever, config: TrainConfig) -> None:
    """Switch off what is not to be trained."""
    if config.freeze != "none" and retriever.query is None:
        raise GradirError(
            f"`freeze` {config.freeze}: queries and documents share one encoder. Give query_side separate."
        )
    frozen = {"doc": [retriever.document], "query": [retriever.query], "none": []}[config.freeze]
    if isinstance(retriever.query, StaticEncoder) and retriever.config.query_side != "weights":
        frozen.append(retriever.query)
    for encoder in frozen:
        encoder.requires_grad_(False)


def backbone_of(encoder: Any) -> Any:
    """The Hugging Face model inside."""
    return encoder.backbone if isinstance(encoder, DenseEncoder) else encoder.mlm


def prepare(encoder: Any, config: TrainConfig) -> None:
    """Dropout, checkpointing and adapters of one encoder; what no gradient reaches is frozen."""
    backbone = backbone_of(encoder)
    pooler = getattr(backbone, "pooler", None)
    if pooler is not None:
        pooler.requires_grad_(False)  # its output is not used, and DDP waits for gradients
    if config.dropout is not None:
        for module in backbone.modules():
            if isinstance(module, nn.Dropout):
                module.p = config.dropout
            if isinstance(getattr(module, "attention_dropout", None), float):
                module.attention_dropout = config.dropout
    if config.gradient_checkpointing:
        backbone.gradient_checkpointing_enable({"use_reentrant": False})
    if config.lora and any(parameter.requires_grad for parameter in encoder.parameters()):
        add_lora(encoder, config.lora)


def add_lora(encoder: Any, lora: Lora) -> None:
    """Put adapters beside the linear layers of an encoder's backbone, and train these alone.

    Raises:
        GradirError: No layer has such a name, or peft is not installed.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError:
        raise MissingDependency("peft", "lora", "pip install 'gradir[lora]'") from None
    backbone = backbone_of(encoder)
    names = [name for name, module in backbone.named_modules() if isinstance(module, nn.Linear)]
    if lora.modules is not None:
        names = [name for name in names if name.split(".")[-1] in lora.modules or name in lora.modules]
    if not names:
        raise GradirError(f"lora: no linear layer is called {lora.modules}.")
    encoder.requires_grad_(False)
    settings = LoraConfig(r=lora.rank, lora_alpha=int(lora.alpha), lora_dropout=lora.dropout, target_modules=names)
    inject_adapter_in_model(settings, backbone)


def merge_lora(encoder: Any) -> None:
    """Add the adapters to the layers they stand beside, and take them away."""
    for module in list(encoder.modules()):
        if hasattr(module, "lora_A") and hasattr(module, "merge"):
            module.merge(safe_merge=True)
            replace_module(encoder, module, module.get_base_layer())


def _largest(weights: Tensor, most: int) -> Tensor:
    """The `most` largest weights of each row, [N, V]; the others 0."""
    if most >= weights.shape[1]:
        return weights
    least = weights.topk(most, dim=1).values[:, -1:]  # [N, 1]
    return weights * (weights >= least)


def _own(retriever: Retriever) -> bool:
    return retriever.config.query_side == "separate"


def _write_dense(retriever: Retriever, folder: Path) -> None:
    from gradir.models.writing import write_dense_folder

    query = (retriever.query, retriever.query_tokenizer) if _own(retriever) else None
    write_dense_folder(folder, retriever.document, retriever.tokenizer, retriever.config, query)


def _write_splade(retriever: Retriever, folder: Path) -> None:
    from contextlib import ExitStack

    from gradir.models.writing import write_splade_folder

    config: EncoderConfig = retriever.config
    with ExitStack() as stack:
        mlm = stack.enter_context(retriever.document.whole())
        table, query = None, None
        if _own(retriever):
            query = stack.enter_context(retriever.query.whole()), retriever.query_tokenizer
        elif isinstance(retriever.query, StaticEncoder):
            table = retriever.query.table.detach().cpu()
        write_splade_folder(folder, mlm, copy.deepcopy(retriever.tokenizer), config, table, query)
