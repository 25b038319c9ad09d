"""`gradir train reranker`: cross-encoders from graded lists.

What InPars trained its rerankers with, for recipes (`method: mono-t5`, `losses: [generation]`, half of the documents relevant):

| | learning_rate | schedule | batch (lists x documents) | steps | weight_decay | max_length | start |
| --- | --- | --- | --- | --- | --- | --- | --- |
| v1 (arXiv 2202.05144) | 3e-4 | linear, warmup 0 | 128 pairs: 8 x 16 | 1 epoch, evaluated every 156 | 5e-5 | 512 | monoT5 |
| v2 (arXiv 2301.01820) | 1e-3 | constant | 128 pairs of 512 tokens | 156 | none | 512 | castorini/monot5-3b-msmarco |
| toolkit (arXiv 2307.04601) | 3e-4 | linear | 128 pairs | 156 | 5e-5 | 512, documents 300 | castorini/monot5-3b-msmarco-10k |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from gradir.command import Outcome, command_line
from gradir.errors import GradirError
from gradir.train.config import Lora, TrainConfig, parse
from gradir.train.stage import given_flags, input_files, settings

if TYPE_CHECKING:
    import torch

    from gradir.train.cross import CrossModel
    from gradir.train.perform import Parts

# flag: place in the configuration, where they differ and `stage.settings` does not know of it
_PLACES = {"prompt_template": "prompt", "dev_run": "dev.run", "dev_hits": "dev.depth"}


def reranker(
    config: Path | None = None,
    set_: list[str] | None = None,
    encoder: str | None = None,
    lists: list[str] | None = None,
    corpus: list[str] | None = None,
    output: Path | None = None,
    method: Literal["auto", "mono-bert", "mono-t5"] | None = None,
    loss: list[str] | None = None,
    steps: int | None = None,
    epochs: float | None = None,
    batch_size: int | None = None,
    group_size: int | None = None,
    learning_rate: float | None = None,
    max_length: int | None = None,
    prompt_template: str | None = None,
    labels: list[str] | None = None,
    dev: str | None = None,
    dev_qrels: str | None = None,
    dev_run: str | None = None,
    dev_hits: int | None = None,
    eval_every: int | None = None,
    patience: int | None = None,
    seed: int | None = None,
    dtype: str | None = None,
    device: str | None = None,
    overwrite: bool = False,
) -> Outcome:
    """Train a reranker on graded lists: an encoder with a head of one logit, or a sequence-to-sequence model such as monoT5.

    It sees query and document as gradir rerank shows them: the query is never cut. Several GPUs: `torchrun --nproc-per-node N -m
    gradir.train reranker …`. An interrupted run goes on at its last checkpoint.

    Args:
        config: A configuration (YAML, docs/training.md); flags overrule it.
        set_: Further keys of the configuration, `key=value`, `a.b=value`; values are YAML.
        encoder: Folder or hub name to start from: a cross-encoder, a T5, or any encoder, which gets a new head.
        lists: Graded lists (`gradir mine`), one or several files.
        corpus: Texts of their documents: BEIR folders or corpus files.
        output: The folder to write.
        method: mono-bert, mono-t5, or auto: by the model's folder.
        loss: Losses, `NAME` or `NAME:WEIGHT`: bce, generation (T5), or those over lists: infonce, kl, listnet, margin_mse, …
        steps: Optimiser steps.
        epochs: Passes over the lists, in place of steps.
        batch_size: Queries of a step, per device.
        group_size: Documents of a query in a step.
        learning_rate: Highest learning rate.
        max_length: Tokens of query and document together.
        prompt_template: Of T5 models: text with {query} and {document}.
        labels: Of T5 models: the words for relevant and not relevant, true false if not given.
        dev: Collection of the queries that are reranked while training, a BEIR folder; the best model is kept.
        dev_qrels: Its judgements.
        dev_run: The run that is reranked.
        dev_hits: Documents reranked per query.
        eval_every: Steps between evaluations.
        patience: Evaluations without a better one after which training stops.
        seed: Of order, draws, dropout and a new head.
        dtype: auto, float32, bfloat16, float16.
        device: auto, cpu, cuda.
        overwrite: Start afresh where the output exists.
    """
    return run(
        config, overwrite, set_ or [], {_PLACES.get(key, key): value for key, value in given_flags(locals()).items()}
    )


def run(config: Path | None, overwrite: bool, changes: Sequence[str], flags: Mapping[str, Any]) -> Outcome:
    """Train a reranker.

    Args:
        config: YAML file.
        overwrite: Start afresh where the output exists.
        changes: `key=value` settings.
        flags: Values by the names of the flags, or by their place in the configuration.

    Raises:
        GradirError: The configuration cannot be, input is bad, or the training went astray.
    """
    place = str(config or "the flags")
    settled = parse(settings(config, flags, changes), "reranker", place)
    if settled.dev and not settled.dev.run:
        raise GradirError(f"{place}: `dev` of a reranker needs `run`: the run whose documents it puts in order.")
    from gradir.data.composition import parse_composition
    from gradir.models.folder import locate
    from gradir.train.cross_learner import checked_losses
    from gradir.train.perform import perform

    checked_losses(settled.losses, settled.positive_grade)
    composition = parse_composition({"seed": settled.seed, "lists": settled.lists}, place)
    inputs: list[str | Path] = [locate(settled.encoder, settled.trust_remote_code)]
    inputs += [file for name in composition.files() for file in input_files(name)]
    make = lambda device: _parts(settled, composition, device)  # noqa: E731
    return perform("gradir train reranker", settled, inputs, make, overwrite, _next(settled))


def _next(config: TrainConfig) -> str:
    """How to use it."""
    dev = config.dev
    collection = (dev.collection if dev else None) or "COLLECTION"
    words: dict[str, Any] = {"run": (dev.run if dev else None) or "RUN", "corpus": collection, "topics": collection}
    words |= {"model": config.output, "output": "reranked.trec"}
    words |= {"prompt_template": config.prompt} if config.prompt else {}
    words |= {"labels": config.labels} if config.labels else {}
    return command_line("gradir rerank", words)


def _parts(config: TrainConfig, composition: Any, device: torch.device) -> Parts:
    """What is trained, on what."""
    from gradir.data.graded import GradedLists
    from gradir.engine.devices import choose_dtype
    from gradir.train.cross_learner import DEFAULT, CrossLearner
    from gradir.train.dev import DevSet
    from gradir.train.perform import Parts

    cross = open_cross(config, choose_dtype("float32" if config.dtype == "float16" else config.dtype, device))
    learner = CrossLearner(cross, config.losses, config.positive_grade)
    lists = GradedLists(composition, positive_grade=config.positive_grade, require_positive=not learner.pointwise)
    if learner.objective is not None:
        learner.objective.check_teacher(lists.scored)
    measures = None
    if config.dev:
        places = {name: getattr(config.dev, name) for name in ("collection", "corpus", "queries", "qrels", "run")}
        depth, measure, limit = config.dev.depth, config.dev.measure, config.dev.limit
        dev = DevSet.open(**places, depth=depth, measure=measure, limit=limit, seed=config.seed)
        measures = lambda: dev.reranking(cross.score)  # noqa: E731
    collate = cross.collator(config.batch_size)
    return Parts(
        learner,
        lists,
        collate,
        cross.save,
        measures,
        counts=lists.statistics(),
        size=cross.model.config.num_labels if cross.method == "mono-bert" else 2,
        losses=config.losses or [DEFAULT[cross.method]],
    )


def open_cross(config: TrainConfig, dtype: torch.dtype) -> CrossModel:
    """The cross-encoder that a configuration starts from. Weights that its folder lacks are named in a warning.

    Raises:
        GradirError: There is no such model, or it does not go with the configuration.
    """
    import sys

    from gradir.train.cross import CrossModel
    from gradir.train.retriever import prepare

    options = {name: getattr(config, name) for name in ("labels", "prompt", "max_length", "trust_remote_code")}
    cross = CrossModel.open(config.encoder, config.method, config.seed, dtype=dtype, **options)
    if cross.new:
        sys.stderr.write(f"warning: {config.encoder} is no reranker yet: {', '.join(cross.new)} start at random\n")
    prepare(cross, replace(config, lora=_beside_the_head(cross, config.lora)))
    if config.lora and cross.method == "mono-bert":  # T5's head is its table of words
        for parameter in cross.head():
            parameter.requires_grad_(True)
    return cross


def _beside_the_head(cross: CrossModel, lora: Lora | None) -> Lora | None:
    """Adapters for the linear layers of the backbone; the head of a classifier is trained as it is, T5's is its table of words."""
    from torch import nn

    if lora is None:
        return None
    wanted, head = lora.modules, {id(parameter) for parameter in cross.head()}
    names = []
    for name, module in cross.model.named_modules():
        named = wanted is None or name in wanted or name.split(".")[-1] in wanted
        if isinstance(module, nn.Linear) and id(module.weight) not in head and named:
            names.append(name)
    if not names:
        raise GradirError(f"lora: no linear layer of the backbone is called {wanted}.")
    return replace(lora, modules=names)
