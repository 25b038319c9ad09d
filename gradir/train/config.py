"""The configuration of a training run: a YAML file, flags and `--set key=value`, one frozen record in the end."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import UnionType
from typing import Any, Literal

from gradir.data.jsonl import FORMAT
from gradir.errors import GradirError, InputError, nearest
from gradir.models.config import EncoderConfig

What = Literal["dense", "splade", "reranker"]


@dataclass(frozen=True)
class Dev:
    """How the model is evaluated while it is trained.

    Attributes:
        collection: BEIR folder with corpus and queries.
        corpus: Corpus, where it is not the collection's.
        queries: Topics, where they are not the collection's.
        qrels: Judgements; only judged queries count.
        run: Rank only the documents of this run, per query its best `depth`.
        measure: What is to be as high as possible.
        every: Steps between evaluations.
        patience: Stop after so many evaluations without a better one.
        depth: Documents ranked of a query.
        limit: Evaluate at most so many queries, drawn by the seed.
    """

    collection: str | None = None
    corpus: str | None = None
    queries: str | None = None
    qrels: str | None = None
    run: str | None = None
    measure: str = "nDCG@10"
    every: int = 100
    patience: int | None = None
    depth: int = 100
    limit: int | None = None


@dataclass(frozen=True)
class Side:
    """The regulariser of queries or of documents.

    Attributes:
        kind: `flops`, `l1` or `df_flops`.
        weight: Lambda, once the schedule is through.
        target_terms: Active terms to be reached; the weight is then adjusted while training.
    """

    kind: Literal["flops", "l1", "df_flops"] = "flops"
    weight: float = 0.0
    target_terms: float | None = None


@dataclass(frozen=True)
class Regularise:
    """The regularisers of a SPLADE encoder.

    Attributes:
        query: Of queries.
        doc: Of documents.
        schedule: How the weights grow from 0.
        steps: Steps until they are whole; below 1 a share of all steps.
        anti_collapse: Weight of the term that grows where vectors become empty.
    """

    query: Side = field(default_factory=Side)
    doc: Side = field(default_factory=Side)
    schedule: Literal["quadratic", "linear", "constant"] = "quadratic"
    steps: float = 0.33
    anti_collapse: float = 0.0


@dataclass(frozen=True)
class Lora:
    """Low-rank adapters in place of full training (Hu et al. 2021, arXiv 2106.09685).

    Attributes:
        rank: Columns of the adapters.
        alpha: Their scale is alpha / rank.
        dropout: On what enters them.
        modules: Names of the linear layers they are put beside; None: all of the backbone.
    """

    rank: int = 16
    alpha: float = 32.0
    dropout: float = 0.05
    modules: list[str] | None = None


@dataclass(frozen=True)
class TrainConfig:
    """A training run. The keys of the YAML file are these fields; `docs/training.md` describes them.

    Attributes:
        encoder: Folder or hub name to start from.
        output: The encoder folder to be written.
        query_encoder: A model of its own for queries.
        model: Changes to the encoder's `gradir.json`.
        seed: Of order, draws and dropout.
        lists: Sources of graded lists (`gradir.data.composition`).
        positive_grade: Documents graded so or higher are positives.
        losses: Names, or mappings with `name`, `weight` and the loss's own options.
        regularise: SPLADE only.
        group_size: Documents of a query in a step; None: all that its list has.
        batch_size: Queries in a step, per device.
        chunk_size: Queries whose texts are in memory at a time (GradCache); None: all.
        accumulate: Batches that make a step; negatives come from the same batch, regularisers see them all.
        steps: Optimiser steps; None: by `epochs`.
        epochs: Passes over the lists.
        learning_rate: Highest learning rate.
        warmup: Steps until it is reached; below 1 a share of all steps.
        schedule: What it does afterwards.
        weight_decay: Of AdamW.
        max_grad_norm: Gradients are scaled down to this norm; 0: never.
        dropout: Of the backbone; None: what its configuration says.
        dtype: `auto`, `float32`, `bfloat16` (autocast), `float16`.
        gradient_checkpointing: Compute activations twice rather than keep them.
        lora: Train adapters instead of all weights; they are merged in the end.
        matryoshka: Sizes of the prefixes of dense vectors that are trained as vectors of their own.
        freeze: The side that is not trained, where both have models of their own.
        dev: Evaluation while training.
        save_every: Steps between checkpoints; None: a tenth of the steps, at most 500.
        log_every: Steps between lines of the log.
        length_grouping: Put lists of like length into one batch.
        device: `auto`, `cpu`, `cuda`.
        trust_remote_code: Allow the model's own Python code to run.
        method: Rerankers: `mono-bert`, `mono-t5` or `auto`.
        prompt: Rerankers of T5: the prompt, with `{query}` and `{document}`.
        labels: Rerankers of T5: the words for relevant and not relevant.
        max_length: Rerankers: tokens of query and document together.
        trainer: Passed on to Hugging Face's `TrainingArguments`.
    """

    encoder: str = ""
    output: str = ""
    query_encoder: str | None = None
    model: dict[str, Any] = field(default_factory=dict)
    seed: int = 13
    lists: list[dict[str, Any]] = field(default_factory=list)
    positive_grade: int = 1
    losses: list[Any] = field(default_factory=list)
    regularise: Regularise = field(default_factory=Regularise)
    group_size: int | None = None
    batch_size: int = 32
    chunk_size: int | None = None
    accumulate: int = 1
    steps: int | None = None
    epochs: float | None = None
    learning_rate: float = 2e-5
    warmup: float = 0.06
    schedule: Literal["linear", "constant", "cosine"] = "linear"
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    dropout: float | None = None
    dtype: str = "auto"
    gradient_checkpointing: bool = False
    lora: Lora | None = None
    matryoshka: list[int] | None = None
    freeze: Literal["none", "doc", "query"] = "none"
    dev: Dev | None = None
    save_every: int | None = None
    log_every: int = 10
    length_grouping: bool = False
    device: str = "auto"
    trust_remote_code: bool = False
    method: Literal["auto", "mono-bert", "mono-t5"] = "auto"
    prompt: str | None = None
    labels: list[str] | None = None
    max_length: int | None = None
    trainer: dict[str, Any] = field(default_factory=dict)


# keys that go with some of the three only
_ONLY: dict[str, tuple[What, ...]] = {
    "regularise": ("splade",),
    "matryoshka": ("dense",),
    "query_encoder": ("dense", "splade"),
    "freeze": ("dense", "splade"),
    "chunk_size": ("dense", "splade"),
    "model": ("dense", "splade"),
    "method": ("reranker",),
    "prompt": ("reranker",),
    "labels": ("reranker",),
    "max_length": ("reranker",),
}


def read_values(path: str | Path) -> dict[str, Any]:
    """What a YAML file says, as it stands.

    Raises:
        InputError: No such file, not YAML, not a mapping, a newer format.
    """
    import yaml

    try:
        value = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(path, str(error.strerror or error), "Check the path") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        raise InputError(path, "not YAML", str(error).splitlines()[0], mark.line + 1 if mark else None) from None
    if not isinstance(value, dict):
        raise InputError(path, "not a mapping of keys to values", "See docs/training.md")
    form = value.pop("format", FORMAT)
    if form != FORMAT:
        raise InputError(path, f"is of format {form!r}, this gradir reads {FORMAT}", "Use a newer gradir")
    return value


def changed(values: Mapping[str, Any], settings: Sequence[str]) -> dict[str, Any]:
    """Values with `key=value` settings put in, where `a.b=c` reaches into a mapping and values are YAML.

    Raises:
        GradirError: A setting without `=`, or one that reaches into what is no mapping.
    """
    import copy

    import yaml

    result = copy.deepcopy(dict(values))
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals:
            raise GradirError(f"--set {setting}: expected key=value.")
        try:
            put(result, name.strip().split("."), yaml.safe_load(text))
        except yaml.YAMLError:
            raise GradirError(f"--set {setting}: the value is not YAML.") from None
    return result


def put(values: dict[str, Any], place: Sequence[str], value: Any) -> None:
    """Set a value where a path of keys leads, making the mappings on the way.

    Raises:
        GradirError: There is something else than a mapping on the way.
    """
    *path, last = place
    for key in path:
        if values.get(key) is None:
            values[key] = {}
        values = values[key]
        if not isinstance(values, dict):
            raise GradirError(f"{'.'.join(place)}: `{key}` is no mapping of keys to values.")
    values[last] = value


def parse(values: Mapping[str, Any], what: What, where: str = "the configuration") -> TrainConfig:
    """The configuration that values describe.

    Args:
        values: As read from YAML.
        what: What is trained; keys of the others are refused.
        where: The file, for errors.

    Raises:
        GradirError: Unknown keys, wrong types, values out of range; all problems are listed.
    """
    problems: list[str] = []
    config = _record(TrainConfig, values, "", problems)
    for key, kinds in _ONLY.items():
        if key in values and what not in kinds:
            problems.append(f"`{key}` is for {' and '.join(kinds)}, not for {what}")
    model = values.get("model")
    if isinstance(model, Mapping):
        known = typing.get_type_hints(EncoderConfig)
        problems += [f"unknown key `model.{key}`{nearest(str(key), known)}" for key in model if key not in known]
    if not problems:
        problems = _contradictions(config)
    if problems:
        raise GradirError(f"{where}: " + "; ".join(problems) + ".")
    return typing.cast(TrainConfig, config)


def _contradictions(config: TrainConfig) -> list[str]:
    """Values that are of the right type and still cannot be."""
    problems = [f"no `{name}`" for name in ("encoder", "output", "lists") if not getattr(config, name)]
    for name in ("batch_size", "accumulate", "log_every", "group_size", "chunk_size", "steps", "save_every"):
        value = getattr(config, name)
        if value is not None and value < 1:
            problems.append(f"`{name}` is {value}, not above 0")
    for name in ("learning_rate", "epochs"):
        value = getattr(config, name)
        if value is not None and not 0 < value < float("inf"):
            problems.append(f"`{name}` is {value}, not above 0")
    for name in ("warmup", "weight_decay", "max_grad_norm"):
        if getattr(config, name) < 0:
            problems.append(f"`{name}` is {getattr(config, name)}, below 0")
    if config.dropout is not None and not 0 <= config.dropout < 1:
        problems.append(f"`dropout` is {config.dropout}, not from 0 to 1")
    if (config.steps is None) == (config.epochs is None):
        problems.append("give either `steps` or `epochs`" + (", not both" if config.steps else ""))
    if config.dev and not (config.dev.qrels and (config.dev.collection or (config.dev.corpus and config.dev.queries))):
        problems.append("`dev` needs `qrels`, and `collection` or both `corpus` and `queries`")
    if config.dev and min(config.dev.every, config.dev.depth) < 1:
        problems.append("`dev.every` and `dev.depth` must be above 0")
    for name in ("query", "doc"):
        side = getattr(config.regularise, name)
        if side.weight < 0 or (side.target_terms is not None and side.target_terms <= 0):
            problems.append(f"`regularise.{name}`: a weight below 0, or target_terms not above 0")
    if config.matryoshka is not None and (not config.matryoshka or min(config.matryoshka) < 1):
        problems.append("`matryoshka` needs sizes above 0")
    return problems


def _record(kind: type, values: Any, place: str, problems: list[str]) -> Any:
    """A dataclass from a mapping; what is wrong is added to `problems`, and then the result is of no use."""
    if not isinstance(values, Mapping):
        problems.append(f"`{place.rstrip('.')}` is {values!r}, not a mapping of keys to values")
        return None
    hints = typing.get_type_hints(kind)
    given = {}
    for key, value in values.items():
        if key not in hints:
            problems.append(f"unknown key `{place}{key}`{nearest(str(key), hints)}")
            continue
        given[key] = _value(hints[key], value, f"{place}{key}", problems)
    return None if problems else kind(**given)


def _value(hint: Any, value: Any, place: str, problems: list[str]) -> Any:
    """A value of the type that is asked for; an int will do for a float, and `2e-5` too, which YAML takes for text."""
    origin = typing.get_origin(hint)
    if origin in (typing.Union, UnionType):
        if value is None:
            return None
        return _value(next(k for k in typing.get_args(hint) if k is not type(None)), value, place, problems)
    if dataclasses.is_dataclass(hint):
        return _record(typing.cast(type, hint), value, f"{place}.", problems)
    if hint is Any:
        return value
    if origin is Literal:
        allowed = typing.get_args(hint)
        if value not in allowed:
            problems.append(f"`{place}` is {value!r}{nearest(str(value), allowed) or f', not one of {allowed}'}")
        return value
    if origin in (list, dict):
        if not isinstance(value, origin):
            problems.append(f"`{place}` is {value!r}, not a {'list' if origin is list else 'mapping'}")
        elif origin is list:
            return [_value(typing.get_args(hint)[0], one, f"{place}[{i}]", problems) for i, one in enumerate(value)]
        return value
    return _plain(hint, value, place, problems)


def _plain(hint: type, value: Any, place: str, problems: list[str]) -> Any:
    if hint is float and isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            pass
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        words = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}[hint]
        problems.append(f"`{place}` is {value!r}, not {words}")
    return value
