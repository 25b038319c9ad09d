"""gradir's encoders inside Pyserini's own commands: what `gradir pyserini` does about an `--encoder`.

Pyserini has no place where an encoder could be registered, and guesses the class from parts of the path. So, in the process that
will run the unmodified module, the exact path of a gradir folder is put first among what it looks up.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from gradir.engine.encoder import Encoder

# The commands that take an encoder, with the words that part their flags, as Pyserini's own parsers do it.
_COMMANDS: dict[str, tuple[str, ...]] = {
    "encode": ("input", "output", "encoder"),
    "encode.query": (),
    "search.lucene": (),
    "search.faiss": (),
    "search.hybrid": ("dense", "sparse", "fusion", "run"),
}
_OURS = "gradir"


def prepare(command: str, words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Make a command use gradir's encoder where `--encoder` names a gradir folder.

    A folder is gradir's if it holds `gradir.json`, or with `--encoder-class gradir`. Any other class is an explicit wish for
    Pyserini's own encoder. Flags that the user gives (`--max-length`, `--pooling`, `--l2-norm`, a prefix, `--fp16`) override the
    folder; what is not given follows the folder, where Pyserini would take its own defaults.

    Args:
        command: A Pyserini command, without the leading `pyserini.`.
        words: Its arguments.

    Returns:
        (the arguments for Pyserini, a line on each encoder in use).

    Raises:
        GradirError: The encoder cannot be opened, or is of the kind that the command does not take.
    """
    if command not in _COMMANDS:
        return list(words), []
    prepared = [_prepare_section(command, section) for section in _sections(command, words)]
    return [word for section, _ in prepared for word in section], [line for _, line in prepared if line]


def _sections(command: str, words: Sequence[str]) -> list[list[str]]:
    """The words, parted where a sub-command begins."""
    sections: list[list[str]] = [[]]
    for word in words:
        if word in _COMMANDS[command]:
            sections.append([])
        sections[-1].append(word)
    return sections


@dataclass(frozen=True)
class _Wish:
    """What the words of a section say of its encoder; None where they do not.

    Attributes:
        encoder: The path as it stands there, by which Pyserini will look it up.
        encoder_class: `gradir`, one of Pyserini's, or none.
        device: As Pyserini understands it.
        prefix: Put before a text with one space.
        pooling: How token states become one vector.
        max_length: Tokens of a text.
        l2_norm: Whether vectors shall have unit length.
        fp16: Whether to use float16.
    """

    encoder: str
    encoder_class: str | None
    device: str | None
    prefix: str | None
    pooling: str | None
    max_length: int | None
    l2_norm: bool | None
    fp16: bool


def _read(section: list[str]) -> _Wish | None:
    """The wish for an encoder of gradir's; None where there is none, or where flags are malformed: Pyserini will tell."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    for flag in ("--encoder", "--encoder-class", "--device", "--pooling"):
        parser.add_argument(flag)
    parser.add_argument("--prefix", "--query-prefix", "--prefx", dest="prefix")  # `--prefx` is encode.query's spelling
    parser.add_argument("--max-length", type=int)
    parser.add_argument("--l2-norm", action="store_true", default=None)
    parser.add_argument("--fp16", action="store_true")
    try:
        found, _ = parser.parse_known_args(section)
    except argparse.ArgumentError:
        return None
    if found.encoder is None or found.encoder_class not in (None, _OURS):
        return None
    is_ours = found.encoder_class == _OURS or (Path(found.encoder) / "gradir.json").is_file()
    return _Wish(**vars(found)) if is_ours else None


def _without_our_class(section: list[str]) -> list[str]:
    """The words without `--encoder-class gradir`, which Pyserini's parsers would refuse."""
    rest: list[str] = []
    for word in section:
        if rest and rest[-1] == "--encoder-class" and word == _OURS:
            rest.pop()
        elif word != f"--encoder-class={_OURS}":
            rest.append(word)
    return rest


def _prepare_section(command: str, section: list[str]) -> tuple[list[str], str]:
    """(the words of a section for Pyserini, which encoder is in use): the encoder is opened and put in place."""
    impact = command == "search.lucene" or section[:1] == ["sparse"]
    wish = _read(section)
    if wish is None or (impact and "--impact" not in section):  # BM25 looks at no encoder
        return section, ""
    words = _without_our_class(section)
    made = _open_documents(wish) if command == "encode" else _open_queries(wish, command, impact)
    if command == "encode":
        _put_first("document_encoder_class_map", wish.encoder, made)
        words += _missing(words, made)
    elif command == "encode.query":
        _replace_query_encoders(made)
        if made.encoder.config.kind == "splade" and not _says(words, "--weight-range"):
            words += ["--weight-range", "1", "--quant-range", "1"]  # ours are integers already
    elif impact:
        _answer_strings("pyserini.search.lucene", "LuceneImpactSearcher", wish.encoder, made)
    else:
        _put_first("query_encoder_class_map", wish.encoder, made)
        _answer_strings("pyserini.search.faiss", "FaissSearcher", wish.encoder, made)
    return words, _line(wish.encoder, made.encoder, "passage" if command == "encode" else "query")


def _open_documents(wish: _Wish) -> Any:
    """What `encode` is given in place of Pyserini's own encoder."""
    from gradir.engine import DenseDocumentEncoder, SparseDocumentEncoder
    from gradir.models.config import read_config
    from gradir.models.folder import locate

    sparse = read_config(locate(wish.encoder)).kind == "splade"
    given = {name: getattr(wish, name) for name in ("prefix", "pooling", "l2_norm", "fp16", "max_length")}
    chosen = SparseDocumentEncoder if sparse else DenseDocumentEncoder
    return chosen.from_pyserini(wish.encoder, device=_device(wish), **given)


def _open_queries(wish: _Wish, command: str, impact: bool) -> Any:
    """What a searcher, or `encode.query`, is given in place of Pyserini's own encoder."""
    from gradir.engine import DenseQueryEncoder, SparseQueryEncoder
    from gradir.models.config import read_config
    from gradir.models.folder import locate

    kind = read_config(locate(wish.encoder)).kind
    opening: dict[str, Any] = {"device": _device(wish), "dtype": "float16" if wish.fp16 else "float32"}
    opening |= {"max_query_length": wish.max_length, "query_prefix": wish.prefix and f"{wish.prefix} "}
    if kind == "dense":
        opening |= {"pooling": wish.pooling, "normalize": wish.l2_norm}
    sparse = impact if command != "encode.query" else kind == "splade"
    return SparseQueryEncoder(wish.encoder, **opening) if sparse else DenseQueryEncoder(wish.encoder, **opening)


def _device(wish: _Wish) -> str:
    """Pyserini's reading of a device: the CPU where there is no such GPU."""
    from pyserini.util import resolve_device

    return resolve_device(wish.device, backend="torch") if wish.device else "auto"


def _line(path: str, encoder: Encoder, side: Literal["query", "passage"]) -> str:
    """What the user is told of the encoder in use."""
    config = encoder.config
    told = [config.kind, f"{config.pooling} pooling", f"{config.max_length(side)} tokens"]
    if config.kind == "splade":
        told += [f"impact scale {config.impact_scale}", f"special tokens {config.special_tokens}"]
    elif config.normalize:
        told.append("unit length")
    if config.prefix(side):
        told.append(f"prefix {config.prefix(side)!r}")
    return f"gradir's encoder {path}: {', '.join(told)}, {encoder.description()['dtype']}"


def _missing(words: list[str], made: Any) -> list[str]:
    """The encoder's own length and size, where Pyserini's `encode` would take its defaults."""
    added = []
    if not _says(words, "--max-length"):
        added += ["--max-length", str(made.encoder.config.max_passage_length)]
    if made.encoder.config.kind == "dense" and not _says(words, "--dimension"):
        added += ["--dimension", str(made.encode([""]).shape[1])]
    return added


def _says(words: list[str], flag: str) -> bool:
    return any(word.partition("=")[0] == flag for word in words)


def _put_first(map_name: str, path: str, made: Any) -> None:
    """Let the first match of the path among Pyserini's classes be ours: it takes keys that are part of the lower-cased path."""
    import pyserini.encode

    classes = getattr(pyserini.encode, map_name)
    others = dict(classes)
    classes.clear()
    classes[path.lower()] = lambda **_: made
    classes.update(others)


def _answer_strings(module: str, searcher: str, path: str, made: Any) -> None:
    """Let a searcher that is given this path as its encoder take ours."""
    import importlib

    name = {"LuceneImpactSearcher": "_init_query_encoder_from_str", "FaissSearcher": "_init_encoder_from_str"}[searcher]
    owner = getattr(importlib.import_module(module), searcher)
    theirs: Callable[[Any], Any] = getattr(owner, name)
    setattr(owner, name, staticmethod(lambda given: made if given == path else theirs(given)))


def _replace_query_encoders(made: Any) -> None:
    """Let `encode.query`, which has one encoder and no map of classes, find ours under every class that it may choose."""
    import pyserini.encode

    for name in vars(pyserini.encode):
        if name.endswith("QueryEncoder") and name != "QueryEncoder":  # the base of them all
            setattr(pyserini.encode, name, lambda *_, **__: made)
