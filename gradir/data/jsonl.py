"""JSON Lines with `file:line` in every error."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import jsonlines

from gradir.data.atomic import new_text
from gradir.data.text import Lines
from gradir.errors import InputError

FORMAT = 1


def read_objects(path: str | Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number, object) of each line; blank lines are passed over.

    Raises:
        InputError: A line is not JSON or not an object.
    """
    lines = Lines(path)
    with jsonlines.Reader(iter(lines)) as reader:
        try:
            for value in reader.iter(type=dict, skip_empty=True):
                yield lines.number, value
        except jsonlines.InvalidLineError as error:
            cause = str(error).split(" (line")[0]
            raise InputError(
                lines.path, f"not a JSON object ({cause})", "Mend or remove the line", lines.number
            ) from None


def write_objects(path: str | Path, objects: Iterable[dict[str, Any]]) -> int:
    """Write one object a line; the file appears when all are written. Returns their number."""
    count = 0
    with new_text(path) as stream, jsonlines.Writer(stream) as writer:
        for value in objects:
            writer.write(value)
            count += 1
    return count


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
    path: str | Path, line: int, value: dict[str, Any], names: tuple[str, ...], default: str | None = None
) -> str:
    """The first of `names` that is present, as text; numbers (ids, mostly) become text.

    Raises:
        InputError: None is present and there is no default, or the value is not text.
    """
    for name in names:
        found = value.get(name)
        if isinstance(found, str):
            return found
        if isinstance(found, int) and not isinstance(found, bool):
            return str(found)
        if found is not None:
            raise InputError(path, f"`{name}` is not text", "", line)
    if default is None:
        raise InputError(
            path, f"no {' or '.join(f'`{name}`' for name in names)}", f"Keys here: {', '.join(value)}", line
        )
    return default
