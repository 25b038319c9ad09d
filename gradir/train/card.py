"""The model card of a trained folder: what it was made of and how, its configuration, the commands to use it."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from gradir.command import command_line
from gradir.models.card import (
    CardKind,
    block,
    configuration,
    files,
    front_matter,
    gradir_use,
    sentence_transformers_use,
    what,
    write_parts,
)
from gradir.models.config import EncoderConfig, read_config
from gradir.models.cross_encoders import read_record
from gradir.train.config import TrainConfig

# Keys that stand elsewhere in the card, or decide nothing of the result.
_ELSEWHERE = ("encoder", "output", "model", "lists", "losses", "steps", "epochs", "device", "log_every", "save_every")
_ALWAYS = ("batch_size", "learning_rate", "warmup", "schedule", "weight_decay", "seed")


@dataclass(frozen=True)
class Trained:
    """What a card tells of a folder besides its own files.

    Attributes:
        path: The folder as the user named it.
        made_from: Folder or hub name that it was started from.
        command: What made it (`gradir train splade`).
        size: Numbers of a dense vector, terms of a sparse one, logits of a pair.
        told: How it was trained, row by row: values as a configuration has them.
        lists: The `lists` of a configuration.
        start: It is meant to be trained by `gradir train splade`, not to search with.
    """

    path: str
    made_from: str
    command: str
    size: int
    told: Mapping[str, Any]
    lists: Sequence[Any] = field(default=())
    start: bool = False


def write_card(folder: Path, made: Trained) -> None:
    """Write `README.md` into a folder that holds everything else but its manifest."""
    config = read_config(folder) if (folder / "gradir.json").exists() else None
    kind: CardKind = config.kind if config else "reranker"
    front = front_matter(
        kind, made.made_from, [], "sentence-transformers" if config or made.size == 1 else "transformers"
    )
    said = f"{what(kind, made.size)}. Made from `{shown(made.made_from)}` by `{made.command}`."
    said += " It is a start for training." if made.start else ""
    parts = [front, f"# {_title(made.path)}", "", said, "", *files(folder), *_training(made)]
    parts += _encoder(made, config) if config else _reranker(folder, made)
    write_parts(folder, parts)


def told_of(config: TrainConfig, losses: Sequence[Any], counts: Mapping[str, Any], devices: int) -> dict[str, Any]:
    """The rows of a run over graded lists: what its configuration says other than the defaults, and what came of it.

    Args:
        config: The configuration.
        losses: As they were used, where they differ from the configuration's.
        counts: Those of the manifest: `steps`, `lists`, `best`.
        devices: Processes that trained together.
    """
    rows: dict[str, Any] = {"losses": losses, "steps": counts["steps"], "lists of an epoch": counts["lists"]}
    for one in fields(config):
        value = getattr(config, one.name)
        usual = one.default_factory() if one.default_factory is not MISSING else one.default
        if one.name not in _ELSEWHERE and (one.name in _ALWAYS or value != usual):
            rows[one.name] = asdict(value) if hasattr(value, "__dataclass_fields__") else value
    rows |= {"devices": devices} if devices > 1 else {}
    best = counts.get("best")
    return rows | (
        {"best dev measure": f"{best['measure']} {best['value']:.4f} at step {best['step']}"} if best else {}
    )


def shown(place: str) -> str:
    """A path as others may read it: relative where it lies below the working directory, otherwise its last two names."""
    if not os.path.isabs(place):
        return place
    path = Path(place)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else "/".join(path.parts[-2:])


def _title(path: str) -> str:
    """The folder's name; of `encode/NAME/model`, where recipes put models, NAME."""
    place = Path(path)
    return place.parent.name if place.name == "model" and place.parent.name else place.name


def _training(made: Trained) -> list[str]:
    rows = [f"| {name} | {_cell(value)} |" for name, value in made.told.items()]
    parts = ["## Training", "", "| | |", "| --- | --- |", *rows, ""]
    if made.lists:
        text = yaml.safe_dump({"lists": _shown(made.lists)}, sort_keys=False, default_flow_style=None, width=120)
        parts += ["Graded lists:", "", *block(text.splitlines(), "yaml")]
    return [*parts, "Everything that decided the result stands in `manifest.json`, with the hashes of all inputs.", ""]


def _shown(value: Any) -> Any:
    """The same with all paths as `shown` gives them, nothing where nothing was said."""
    if isinstance(value, Mapping):
        return {key: _shown(one) for key, one in value.items() if one is not None}
    if isinstance(value, list | tuple):
        return [_shown(one) for one in value]
    return shown(value) if isinstance(value, str) else value


def _cell(value: Any) -> str:
    """A value in one cell of a table."""
    return _words(_shown(value)).replace("|", "\\|").replace("\n", " ")


def _words(value: Any) -> str:
    """`infonce (weight 0.1); wasserstein`."""
    if isinstance(value, Mapping):
        named = [f"{key} {_inner(one)}" for key, one in value.items() if key != "name"]
        if "name" in value:
            return f"{value['name']}" + (f" ({', '.join(named)})" if named else "")
        return ", ".join(named)
    if isinstance(value, list):
        return ("; " if any(isinstance(one, Mapping) for one in value) else ", ").join(map(_words, value))
    return str(value)


def _inner(value: Any) -> str:
    return f"({_words(value)})" if isinstance(value, Mapping | list) else str(value)


def _encoder(made: Trained, config: EncoderConfig) -> list[str]:
    if made.start:
        words = {
            "encoder": made.path,
            "lists": ["lists.jsonl"],
            "corpus": ["corpus.jsonl"],
            "steps": 1000,
            "output": "model",
        }
        return [*configuration(config), "## gradir", "", *block([command_line("gradir train splade", words)])]
    said = [
        "`gradir export` makes a folder of it that unmodified Pyserini reads, on request with ONNX graphs (`--onnx`) and the",
        "form of Anserini's Java encoders (`--anserini`); that folder's card has their commands.",
    ]
    if config.kind == "splade" and config.special_tokens == "drop":
        said += [
            "Pyserini and sentence-transformers know no `special_tokens`: there these have no weight for them either."
        ]
    export = block([shlex.join(["gradir", "export", made.path, "--output", f"{made.path}-export", "--check"])])
    parts = [
        *configuration(config),
        *gradir_use(made.path, config),
        "## Pyserini, Anserini, ONNX",
        "",
        *said,
        "",
        *export,
    ]
    return [*parts, *sentence_transformers_use(made.path, config.kind)]


def _reranker(folder: Path, made: Trained) -> list[str]:
    record = read_record(folder)
    score = "its one logit" if made.size == 1 else "the logarithm of the probability that it is relevant"
    said = f"A query and a document take up to {record['max_length']} tokens together; a score is {score}."
    words = {"run": "run.trec", "corpus": "corpus.jsonl", "topics": "topics.tsv"}
    lines = [command_line("gradir rerank", {**words, "model": made.path, "output": "reranked.trec"})]
    lines += [command_line("gradir evaluate", {"qrels": "qrels.txt", "run": "reranked.trec"})]
    parts = ["## gradir", "", said, "", *block(lines)]
    return [*parts, *(sentence_transformers_use(made.path, "reranker") if made.size == 1 else [])]
