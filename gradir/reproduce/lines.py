"""YAML whose mappings know their lines: plain values only, a key given twice is an error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from gradir.errors import InputError


class Lined(dict[Any, Any]):
    """A mapping of a file.

    Attributes:
        line: Where it begins, counted from 1; 0 if it is of no file.
    """

    line: int = 0


class _Loader(yaml.SafeLoader):
    """`Lined` mappings."""


def _mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> Lined:
    names = [str(key.value) for key, _ in node.value]  # before `<<: *anchor` adds those that it may override
    for place, (key, _) in enumerate(node.value):
        if names[place] in names[:place]:
            raise yaml.constructor.ConstructorError(None, None, f"'{names[place]}' is given twice", key.start_mark)
    loader.flatten_mapping(node)
    pairs = (
        (loader.construct_object(key, deep=True), loader.construct_object(value, deep=True))
        for key, value in node.value
    )
    found = Lined(pairs)
    found.line = node.start_mark.line + 1
    return found


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def read_yaml(path: Path) -> Lined:
    """The mapping that a file holds.

    Raises:
        InputError: There is no such file, it is no YAML or no mapping, or a key is given twice.
    """
    try:
        value = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except OSError as error:
        raise InputError(path, f"cannot be read ({error.strerror})", "Check the path") from None
    except UnicodeDecodeError:
        raise InputError(path, "not UTF-8", "Save it as UTF-8") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        raise InputError(path, f"not YAML that gradir reads ({error.problem})", "Correct it", line) from None
    if not isinstance(value, Lined):
        raise InputError(path, "holds no mapping", "A recipe begins with `format: 1`")
    return value


def write_yaml(value: Any) -> str:
    """YAML text of plain values, in their order."""
    return yaml.safe_dump(_plain(value), sort_keys=False, allow_unicode=True, width=120)


def _plain(value: Any) -> Any:
    """Without `Lined`, which the writer does not know, and without shared objects, which it would write as anchors."""
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list) else value
