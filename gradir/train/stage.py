"""`gradir train dense` and `gradir train splade`: retrievers from graded lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from gradir.command import Outcome, command_line
from gradir.errors import GradirError
from gradir.train.config import TrainConfig, changed, parse, put, read_values

if TYPE_CHECKING:
    import torch

    from gradir.train.perform import Parts

Kind = Literal["dense", "splade"]
_UNIT_TEMPERATURE = 0.05  # where vectors have unit length and nothing else is said: sentence-transformers' scale of 20


def dense(
    config: Path | None = None,
    set_: list[str] | None = None,
    encoder: str | None = None,
    lists: list[str] | None = None,
    corpus: list[str] | None = None,
    output: Path | None = None,
    loss: list[str] | None = None,
    steps: int | None = None,
    epochs: float | None = None,
    batch_size: int | None = None,
    group_size: int | None = None,
    chunk_size: int | None = None,
    learning_rate: float | None = None,
    max_query_length: int | None = None,
    max_passage_length: int | None = None,
    dev: str | None = None,
    dev_qrels: str | None = None,
    eval_every: int | None = None,
    patience: int | None = None,
    seed: int | None = None,
    dtype: str | None = None,
    device: str | None = None,
    overwrite: bool = False,
) -> Outcome:
    """Train a dense encoder on graded lists.

    Several GPUs: `torchrun --nproc-per-node N -m gradir.train dense …`. An interrupted run goes on at its last checkpoint.

    Args:
        config: A configuration (YAML, docs/training.md); flags overrule it.
        set_: Further keys of the configuration, `key=value`, `a.b=value`; values are YAML.
        encoder: Encoder folder or hub name to start from.
        lists: Graded lists (`gradir mine`), one or several files.
        corpus: Texts of their documents: BEIR folders or corpus files.
        output: The encoder folder to write.
        loss: Losses, `NAME` or `NAME:WEIGHT`: infonce, wasserstein, kl, margin_mse, listnet, …
        steps: Optimiser steps.
        epochs: Passes over the lists, in place of steps.
        batch_size: Queries of a step, per device.
        group_size: Documents of a query in a step.
        chunk_size: Queries whose texts are in memory at a time; batches may then be larger than the memory (GradCache).
        learning_rate: Highest learning rate.
        max_query_length: Tokens of a query.
        max_passage_length: Tokens of a document.
        dev: Collection that is searched while training, a BEIR folder; the best model is kept.
        dev_qrels: Its judgements.
        eval_every: Steps between evaluations.
        patience: Evaluations without a better one after which training stops.
        seed: Of order, draws and dropout.
        dtype: auto, float32, bfloat16, float16.
        device: auto, cpu, cuda.
        overwrite: Start afresh where the output exists.
    """
    return run("dense", config, overwrite, set_ or [], given_flags(locals()))


def splade(
    config: Path | None = None,
    set_: list[str] | None = None,
    encoder: str | None = None,
    lists: list[str] | None = None,
    corpus: list[str] | None = None,
    output: Path | None = None,
    loss: list[str] | None = None,
    steps: int | None = None,
    epochs: float | None = None,
    batch_size: int | None = None,
    group_size: int | None = None,
    chunk_size: int | None = None,
    learning_rate: float | None = None,
    lambda_query: float | None = None,
    lambda_doc: float | None = None,
    target_terms_query: float | None = None,
    target_terms_doc: float | None = None,
    max_query_length: int | None = None,
    max_passage_length: int | None = None,
    dev: str | None = None,
    dev_qrels: str | None = None,
    eval_every: int | None = None,
    patience: int | None = None,
    seed: int | None = None,
    dtype: str | None = None,
    device: str | None = None,
    overwrite: bool = False,
) -> Outcome:
    """Train a SPLADE encoder on graded lists.

    Several GPUs: `torchrun --nproc-per-node N -m gradir.train splade …`. An interrupted run goes on at its last checkpoint.

    Args:
        config: A configuration (YAML, docs/training.md); flags overrule it.
        set_: Further keys of the configuration, `key=value`, `a.b=value`; values are YAML.
        encoder: Encoder folder or hub name to start from; one without a masked-language head goes through
            `gradir train init-splade` first.
        lists: Graded lists (`gradir mine`), one or several files.
        corpus: Texts of their documents: BEIR folders or corpus files.
        output: The encoder folder to write.
        loss: Losses, `NAME` or `NAME:WEIGHT`: infonce, wasserstein, kl, margin_mse, listnet, …
        steps: Optimiser steps.
        epochs: Passes over the lists, in place of steps.
        batch_size: Queries of a step, per device.
        group_size: Documents of a query in a step.
        chunk_size: Queries whose texts are in memory at a time; batches may then be larger than the memory (GradCache).
        learning_rate: Highest learning rate.
        lambda_query: Weight of the FLOPS regulariser of queries.
        lambda_doc: Weight of the FLOPS regulariser of documents.
        target_terms_query: Active terms of a query to be reached; the weight follows.
        target_terms_doc: Active terms of a document to be reached; the weight follows.
        max_query_length: Tokens of a query.
        max_passage_length: Tokens of a document.
        dev: Collection that is searched while training, a BEIR folder; the best model is kept.
        dev_qrels: Its judgements.
        eval_every: Steps between evaluations.
        patience: Evaluations without a better one after which training stops.
        seed: Of order, draws and dropout.
        dtype: auto, float32, bfloat16, float16.
        device: auto, cpu, cuda.
        overwrite: Start afresh where the output exists.
    """
    return run("splade", config, overwrite, set_ or [], given_flags(locals()))


def given_flags(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The flags that stand for keys of the configuration, and were given."""
    other = ("config", "set_", "overwrite")
    return {name: value for name, value in arguments.items() if name not in other and value is not None}


# flag: place in the configuration, where they differ
_PLACES = {
    "max_query_length": "model.max_query_length",
    "max_passage_length": "model.max_passage_length",
    "lambda_query": "regularise.query.weight",
    "lambda_doc": "regularise.doc.weight",
    "target_terms_query": "regularise.query.target_terms",
    "target_terms_doc": "regularise.doc.target_terms",
    "dev": "dev.collection",
    "dev_qrels": "dev.qrels",
    "eval_every": "dev.every",
    "patience": "dev.patience",
}


def settings(config: Path | None, flags: Mapping[str, Any], changes: Sequence[str]) -> dict[str, Any]:
    """The values of a configuration: those of the file, overruled by flags, overruled by `--set`.

    Raises:
        GradirError: A damaged file, a flag or setting that cannot be.
    """
    values = read_values(config) if config else {}
    flags = dict(flags)
    corpora, files = flags.pop("corpus", None), flags.pop("lists", None)
    if files:
        values["lists"] = [{"lists": file, **({"corpus": corpora} if corpora else {})} for file in files]
    elif corpora:
        raise GradirError("--corpus gives the texts of --lists, which is not given.")
    if "loss" in flags:
        values["losses"] = [_loss(word) for word in flags.pop("loss")]
    if "steps" in flags:
        values.pop("epochs", None)
    if "epochs" in flags:
        values.pop("steps", None)
    for name, value in flags.items():
        put(values, _PLACES.get(name, name).split("."), str(value) if isinstance(value, Path) else value)
    return changed(values, changes)


def _loss(word: str) -> dict[str, Any]:
    """`NAME` or `NAME:WEIGHT`."""
    name, colon, weight = word.partition(":")
    try:
        return {"name": name, **({"weight": float(weight)} if colon else {})}
    except ValueError:
        raise GradirError(f"--loss {word}: expected NAME or NAME:WEIGHT.") from None


def run(kind: Kind, config: Path | None, overwrite: bool, changes: Sequence[str], flags: Mapping[str, Any]) -> Outcome:
    """Train a retriever.

    Args:
        kind: Which.
        config: YAML file.
        overwrite: Start afresh where the output exists.
        changes: `key=value` settings.
        flags: Values by the names of the flags.

    Raises:
        GradirError: The configuration cannot be, input is bad, or the training went astray.
    """
    settled = parse(settings(config, flags, changes), kind, str(config or "the flags"))
    from gradir.data.composition import parse_composition
    from gradir.models.folder import locate
    from gradir.train.losses.terms import terms_of
    from gradir.train.perform import perform

    terms_of(settled.losses or ["infonce"], settled.positive_grade)  # refuses what is no loss before anything is read
    composition = parse_composition({"seed": settled.seed, "lists": settled.lists}, str(config or "the flags"))
    models = [settled.encoder, *([settled.query_encoder] if settled.query_encoder else [])]
    inputs: list[str | Path] = [locate(model, settled.trust_remote_code) for model in models]
    inputs += [file for name in composition.files() for file in input_files(name)]
    collection = settled.dev.collection if settled.dev else None
    then = command_line(
        "gradir encode", {"encoder": settled.output, "corpus": collection or "CORPUS", "output": "vectors"}
    )
    return perform(
        f"gradir train {kind}",
        settled,
        inputs,
        lambda device: _parts(kind, settled, composition, device),
        overwrite,
        then,
    )


def input_files(name: str) -> list[str | Path]:
    """The files of an input by its name: of a folder those that are read."""
    from gradir.data.corpus import corpus_files

    if not Path(name).is_dir():
        return [name]
    queries = Path(name) / "queries.jsonl"
    return [*corpus_files(name), *([queries] if queries.exists() else [])]


def _parts(kind: Kind, config: TrainConfig, composition: Any, device: torch.device) -> Parts:
    """What is trained, on what."""
    from gradir.data.graded import GradedLists
    from gradir.engine.devices import choose_dtype
    from gradir.engine.tokens import Tokens
    from gradir.train.batches import Collate
    from gradir.train.dev import DevSet
    from gradir.train.evaluation import evaluation
    from gradir.train.learner import Learner
    from gradir.train.objective import Objective
    from gradir.train.penalty import Penalty
    from gradir.train.perform import Parts
    from gradir.train.retriever import open_retriever

    dtype = choose_dtype("float32" if config.dtype == "float16" else config.dtype, device)
    corpora = list(dict.fromkeys(corpus for entry in composition.entries for corpus in entry.corpus))
    retriever = open_retriever(config, kind, dtype, corpora)
    losses = _with_temperature(config.losses or ["infonce"], retriever.config.normalize)
    objective = Objective(losses, config.positive_grade)
    lists = GradedLists(composition, positive_grade=config.positive_grade, require_positive=objective.needs_positive)
    objective.check_teacher(lists.scored)
    penalty = None
    if kind == "splade":
        penalty = Penalty(config.regularise, int(retriever.document.decoder.out_features))
    learner = Learner(retriever, objective, penalty, config.matryoshka)
    positions = retriever.positions("query"), retriever.positions("passage")
    collate = Collate(
        Tokens(retriever.query_tokenizer, retriever.config, "query"),
        Tokens(retriever.tokenizer, retriever.config, "passage"),
        config.batch_size,
        config.chunk_size,
        positions,
    )
    if config.matryoshka and max(config.matryoshka) > retriever.document.size:
        raise GradirError(f"`matryoshka` {config.matryoshka}: vectors have {retriever.document.size} numbers.")
    chunked = config.chunk_size is not None and config.chunk_size < config.batch_size
    dev = None
    if config.dev:
        wanted = {name: getattr(config.dev, name) for name in ("collection", "corpus", "queries", "qrels", "run")}
        dev = DevSet.open(
            **wanted, depth=config.dev.depth, measure=config.dev.measure, limit=config.dev.limit, seed=config.seed
        )
    return Parts(
        learner,
        lists,
        collate,
        lambda folder: retriever.write(folder),
        evaluation(retriever, dev, device, dtype) if dev else None,
        chunked or (penalty is not None and config.accumulate > 1),
        retriever.hold,
        lists.statistics(),
        int(retriever.document.decoder.out_features if kind == "splade" else retriever.document.size),
        losses,
    )


def _with_temperature(losses: Sequence[Any], normalised: bool) -> list[Any]:
    """Losses that divide scores by a temperature have one that fits vectors of unit length, where none is given."""
    import inspect

    from gradir.train.losses import LOSSES

    found = []
    for one in losses:
        given = {"name": one} if isinstance(one, str) else dict(one)
        kind = LOSSES.get(given.get("name", ""))
        takes = kind is not None and "temperature" in inspect.signature(kind.function).parameters
        if normalised and takes:
            given.setdefault("temperature", _UNIT_TEMPERATURE)
        found.append(given)
    return found
