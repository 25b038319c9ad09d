"""JSON Lines with `file:line` in every error."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import jsonlines

from gradir.data.atomic import new_text
from gradir.data.text import Lines
from gradir.errors import InputError

FORMAT = 1
_HALF_A_PAIR = re.compile("[\ud800-\udfff]")  # what no UTF-8 file and no tokenizer can hold


def read_objects(path: str | Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number, object) of each line; blank lines are passed over.

    Raises:
        InputError: A line is not JSON or not an object.
    """
    lines = Lines(path)
    with jsonlines.Reader(iter(lines)) as reader:
        while True:
            try:
                value = reader.read(type=dict, skip_empty=True)
            except EOFError:
                return
            except (jsonlines.InvalidLineError, RecursionError) as error:
                raise lines.fail(f"not a JSON object ({_cause(error)})", "Mend or remove the line") from None
            yield lines.number, value


def _cause(error: Exception) -> str:
    """Why, in words: jsonlines and json each add a line number of their own, and it is always 1."""
    cause = error.__cause__
    if isinstance(cause, json.JSONDecodeError):
        return f"{cause.msg} at column {cause.colno}"
    return str(cause or error).split(" (line")[0]


def write_objects(path: str | Path, objects: Iterable[dict[str, Any]]) -> int:
    """Write one object a line; the file appears when all are written. Returns their number.

    Raises:
        InputError: A text holds half a surrogate pair.
    """
    count = 0
    with new_text(path) as stream, jsonlines.Writer(stream) as writer:
        for value in objects:
            try:
                writer.write(value)
            except UnicodeEncodeError as error:
                raise InputError(
                    path, f"a text that UTF-8 cannot hold ({error.reason})", _PAIR_FIX, count + 1
                ) from None
            count += 1
    return count


_PAIR_FIX = "Remove it: text.encode('utf-8', 'ignore').decode()"


def check_format(path: str | Path, value: dict[str, Any], line: int | None = None) -> None:
    """Refuse a file written by a newer gradir.

    Raises:
        InputError: `format` is absent or newer than this version reads.
    """
    version = value.get("format")
    if not isinstance(version, int) or isinstance(version, bool):
        raise InputError(path, "has no integer `format`", "Is it a file that gradir wrote?", line)
    if version > FORMAT:
        problem = f"has format {version}, this gradir reads up to {FORMAT}"
        raise InputError(path, problem, "Upgrade: pip install -U gradir", line)


def text_field(
    path: str | Path, line: int | None, value: dict[str, Any], names: tuple[str, ...], default: str | None = None
) -> str:
    """The first of `names` that is present, as text; whole numbers (ids, mostly) become text.

    Raises:
        InputError: None is present and there is no default, or the value is not text.
    """
    for name in names:
        found = value.get(name)
        if isinstance(found, str):
            if not found.isascii() and _HALF_A_PAIR.search(found):
                raise InputError(path, f"half a surrogate pair in `{name}`", _PAIR_FIX, line)
            return found
        if isinstance(found, int) and not isinstance(found, bool):
            return str(found)
        if found is not None:
            raise InputError(path, f"`{name}` is not text but {json.dumps(found)[:40]}", "Put it in quotes", line)
    if default is None:
        keys = ", ".join(value) or "none"
        raise InputError(path, f"no {' or '.join(f'`{name}`' for name in names)}", f"Keys here: {keys}", line)
    return default
