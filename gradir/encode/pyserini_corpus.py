"""A corpus read as `pyserini.encode` reads it: JSON lines, fields as keys or cut out of `contents`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from gradir.encode.rows import Row, Side, Span, within
from gradir.errors import InputError


@dataclass(frozen=True)
class PyseriniCorpus:
    """A file, or all files of a folder in the order that the system lists them in (as Pyserini takes them).

    Attributes:
        path: File or folder of JSON lines.
        fields: Keys, or the parts of `contents` in order.
        docid_field: Key of the id; the first of `id`, `_id` and `docid` if None.
        delimiter: Between the fields in `contents`.
        span: The rows taken: from, and up to but without.
    """

    path: str
    fields: tuple[str, ...] = ("text",)
    docid_field: str | None = None
    delimiter: str = "\n"
    span: Span = (0, None)

    @property
    def side(self) -> Side:
        """A corpus holds passages."""
        return "passage"

    def files(self) -> list[str | Path]:
        """The files, in reading order."""
        if not os.path.isdir(self.path):
            return [self.path]
        found = [os.path.join(self.path, name) for name in os.listdir(self.path)]
        if not found:
            raise InputError(self.path, "is an empty folder", "Name the folder that holds the JSON lines")
        return list(found)

    def total(self) -> int | None:
        """The lines of plain files."""
        from gradir.data.corpus import count_lines

        return within(count_lines([Path(file) for file in self.files()]), self.span)

    def rows(self) -> Iterator[Row]:
        """The rows of the span; a row's text is `{field: value}`, with None for a value that is empty or missing.

        Raises:
            InputError: A line that Pyserini could not read either, or a text with half a surrogate pair.
        """
        return islice(self._rows(), *self.span)

    def _rows(self) -> Iterator[Row]:
        from gradir.data.jsonl import read_objects

        for path in self.files():
            for line, value in read_objects(path):
                fields = dict(zip(self.fields, self._values(path, line, value), strict=True))
                contents = "\n".join(text or "" for text in fields.values())
                yield Row(self._id(path, line, value), fields, contents)

    def _id(self, path: str | Path, line: int, value: dict[str, Any]) -> str:
        names = (self.docid_field,) if self.docid_field else ("id", "_id", "docid")
        found = next((value[name] for name in names if name in value), None)
        if found is None:
            raise InputError(path, f"no {' or '.join(f'`{name}`' for name in names)}", "Give --docid-field", line)
        return str(found)

    def _values(self, path: str | Path, line: int, value: dict[str, Any]) -> list[str | None]:
        """The value of each field."""
        present = any if self._lenient else all
        if present(field in value for field in self.fields):
            values = [_stripped(path, line, field, value.get(field)) for field in self.fields]
        else:
            values = self._from_contents(path, line, value)
        return [self._placed(field, text) for field, text in zip(self.fields, values, strict=True)]

    def _placed(self, field: str, text: str | None) -> str | None:
        """A file that a field names, from where the corpus lies."""
        if text is None or "path" not in field or text.startswith(("http://", "https://")):
            return text
        return os.path.join(self._folder, text)

    def _from_contents(self, path: str | Path, line: int, value: dict[str, Any]) -> list[str | None]:
        from gradir.data.jsonl import text_field

        contents = text_field(path, line, value, ("contents",))
        # one delimiter more than fields need is the end of the text; but where the last field is empty, it belongs to it
        if contents.count(self.delimiter) == len(self.fields):
            contents = contents.removesuffix(self.delimiter)
        found = contents.split(self.delimiter)
        if len(found) != len(self.fields):
            problem = f"{len(found)} fields in `contents`, {len(self.fields)} expected ({', '.join(self.fields)})"
            raise InputError(path, problem, "Give --fields or --delimiter", line)
        return [text if self._keeps_spaces else text.strip(" ") for text in found]

    @cached_property
    def _folder(self) -> str:
        return self.path if os.path.isdir(self.path) else os.path.dirname(self.path)

    @cached_property
    def _lenient(self) -> bool:
        """Pyserini lets fields be missing in the collections of M-BEIR, which it knows by name."""
        return any("mbeir" in str(file) for file in self.files())

    @cached_property
    def _keeps_spaces(self) -> bool:
        """And keeps spaces at the end of the texts of BRIGHT."""
        return any("bright" in str(file) for file in self.files())


def _stripped(path: str | Path, line: int, field: str, found: Any) -> str | None:
    from gradir.data.jsonl import text_field

    return text_field(path, line, {field: found}, (field,)).strip() if found else None
