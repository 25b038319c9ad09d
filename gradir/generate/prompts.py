"""Prompts are data: YAML files, ours in the folder `prompts`, the user's wherever they are. None of them holds code.

```yaml
format: 1
name: terse                       # ours: the file's name without its ending
kind: queries                     # queries | documents | judgements
about: One line for people.
paper: "2202.05144"               # arXiv number, where there is one
mode: completion                  # completion: text to be continued; chat: a message to be answered
system: …                         # chat: the system message; some models take none
head: …                           # what all requests share
example: |                        # how an example is shown
  Text {number}: {document}
  Query: {query}
examples:                         # examples of the prompt's own; others may be given in their place
  - {document: …, query: …}
shots: 3                          # examples shown where others are given
body: |                           # what a request adds: the document, and after it the cue
  Text {number}: {document}
  Query:
values: {tone: plain}             # what a slot holds that nobody fills
stop: ["\\n"]
sampling: {max_tokens: 64, temperature: 0}
```

What the model sees is head, examples and body with a blank line between them (`gradir.generate.render`): all that is shared comes
first, so that an engine with a prefix cache reads it once. A slot is a name in braces, of small letters and underscores.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from gradir.data.jsonl import check_format
from gradir.errors import GradirError, InputError, nearest

Kind = Literal["queries", "documents", "judgements"]
Mode = Literal["completion", "chat"]
SLOT = re.compile(r"\{([a-z][a-z_]*)\}")
_KINDS = ("queries", "documents", "judgements")
_MODES = ("completion", "chat")
_NEEDED: dict[str, tuple[str, ...]] = {
    "queries": ("document",),
    "judgements": ("query", "document"),
}  # slots of the body
_SAMPLING: dict[str, tuple[type, ...]] = {
    "max_tokens": (int,),
    "temperature": (int, float),
    "top_p": (int, float),
    "top_k": (int,),
}


@dataclass(frozen=True)
class Prompt:
    """A prompt; the fields are those of the file, and `digest`.

    Attributes:
        name: What it is called.
        kind: What it asks for.
        body: What a request adds to what all share.
        about: One line for people.
        paper: arXiv number of the paper whose idea it follows; the words are ours.
        mode: `completion` or `chat`.
        system: The system message of a chat; none if empty.
        head: The beginning, shared by all requests.
        example: How an example is shown; empty: without examples.
        examples: The prompt's own, each slot -> text.
        shots: How many examples are shown where others are given.
        values: Slot -> text, where nobody fills the slot.
        stop: Strings that end the answer.
        sampling: max_tokens, temperature, top_p, top_k, as far as given.
        digest: The first 16 hexadecimal digits of the SHA-256 of all that decides what the model sees and how it answers.
    """

    name: str
    kind: Kind
    body: str
    about: str = ""
    paper: str = ""
    mode: Mode = "completion"
    system: str = ""
    head: str = ""
    example: str = ""
    examples: tuple[Mapping[str, str], ...] = ()
    shots: int = 3
    values: Mapping[str, str] = field(default_factory=dict)
    stop: tuple[str, ...] = ()
    sampling: Mapping[str, Any] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """See above; `name`, `about` and `paper` do not count."""
        said = {one.name: getattr(self, one.name) for one in fields(self) if one.name not in ("name", "about", "paper")}
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def slots(self) -> set[str]:
        """The slots that a request fills: all but those of `example`."""
        return set(SLOT.findall(f"{self.system}\n{self.head}\n{self.body}"))


def names(kind: Kind | None = None) -> list[str]:
    """The names of our prompts, of one kind or all, in alphabetical order."""
    found = sorted(path.name.removesuffix(".yaml") for path in _folder().iterdir() if path.name.endswith(".yaml"))
    return [name for name in found if kind is None or load(name).kind == kind]


def load(name: str, kind: Kind | None = None) -> Prompt:
    """A prompt of ours by its name, or a file.

    A file that does not end in .yaml or .yml is a plain template for queries: text with the slot `{document}`; it may end with the
    slot `{query}`, where the model goes on writing, and an answer is one line.

    Args:
        name: `inpars`, or a path.
        kind: What it must be for.

    Raises:
        InputError: A file that is no prompt: all that is wrong with it.
        GradirError: No such prompt, or one of another kind.
    """
    path, text = source(name, kind)
    plain = path.suffix not in (".yaml", ".yml")
    prompt = _template(text, path) if plain else parse(text, path)
    if kind is not None and prompt.kind != kind:
        raise GradirError(
            f"prompt '{name}' is for {prompt.kind}, not {kind}. See gradir generate prompt list --kind {kind}"
        )
    return prompt


def source(name: str, kind: Kind | None = None) -> tuple[Path, str]:
    """The file of a prompt, and its text.

    Raises:
        InputError: It cannot be read.
        GradirError: No such prompt.
    """
    path = Path(name)
    if path.suffix in (".yaml", ".yml") or path.is_file():
        return path, _read(path)
    ours = _folder().joinpath(f"{name}.yaml")
    if not re.fullmatch(r"[a-z0-9_-]+", name) or not ours.is_file():
        raise GradirError(
            f"no prompt '{name}'{nearest(name, names(kind))} See gradir generate prompt list, or name a file."
        )
    return Path(f"{name}.yaml"), ours.read_text(encoding="utf-8")


def _folder() -> Any:
    return resources.files("gradir.generate").joinpath("prompts")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(path, f"cannot be read ({error.strerror})", "Check the path") from None
    except UnicodeDecodeError:
        raise InputError(path, "not UTF-8", "Convert it first: iconv -f ENCODING -t UTF-8") from None


def _template(text: str, path: Path) -> Prompt:
    """A plain text with the slot `{document}`, up to `{query}`."""
    body = text.partition("{query}")[0].rstrip()
    if "{document}" not in body:
        raise InputError(
            path, "has no slot {document}", "Put {document} where the document shall stand, before {query}"
        )
    return Prompt(path.stem, "queries", body, f"the template {path.name}", stop=("\n",))


def parse(text: str, path: str | Path) -> Prompt:
    """The prompt that a YAML text holds.

    Raises:
        InputError: All that is wrong with it.
    """
    import yaml

    try:
        value = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        raise InputError(path, f"not YAML ({error.problem})", "Mend the line", line) from None
    except yaml.YAMLError as error:
        raise InputError(path, f"not YAML ({error})", "Mend it") from None
    if not isinstance(value, dict):
        raise InputError(path, "is not a mapping", "See gradir generate prompt show inpars")
    value = {str(name): one for name, one in value.items()}
    check_format(path, value)
    value = {"name": Path(path).stem, **{name: one for name, one in value.items() if name != "format"}}
    problems = list(_problems(value))
    if problems:
        raise InputError(path, "; ".join(problems), "See gradir generate prompt show inpars")
    return _made(value)


def _made(value: Mapping[str, Any]) -> Prompt:
    """The record of a value that has been checked."""
    texts = {name: value[name].strip("\n").rstrip() for name in ("system", "head", "example", "body") if name in value}
    lists = {name: tuple(value[name]) for name in ("stop", "examples") if name in value}
    return Prompt(**{**value, **texts, **lists})


def _problems(value: Mapping[str, Any]) -> Iterable[str]:
    """All that keeps a value from being a prompt."""
    known = [one.name for one in fields(Prompt)]
    yield from (f"unknown key '{name}'{nearest(name, known)}" for name in value if name not in known)
    for name in ("kind", "body"):
        if name not in value:
            yield f"'{name}' is missing"
    for name, (holds, expected) in _FORMS.items():
        if name in value and not holds(value[name]):
            yield f"'{name}' is not {expected}"
    kind, body = value.get("kind"), value.get("body")
    if isinstance(kind, str) and isinstance(body, str):
        yield from (f"'body' has no slot {{{name}}}" for name in _NEEDED.get(kind, ()) if f"{{{name}}}" not in body)
    if value.get("system") and value.get("mode") != "chat":
        yield "'system' is for mode: chat"
    yield from _example_problems(value)


def _example_problems(value: Mapping[str, Any]) -> Iterable[str]:
    example, examples = value.get("example", ""), value.get("examples", [])
    if not isinstance(example, str) or not _is_list_of_texts(examples):
        return
    if examples and not example:
        yield "'examples' without 'example', which says how one is shown"
    slots = set(SLOT.findall(example)) - {"number", *_FILLED, *value.get("values", {})}
    for number, one in enumerate(examples, 1):
        yield from (f"example {number} has no '{slot}'" for slot in sorted(slots - set(one)))


_FILLED = ("language", "in_language")  # what a stage fills in an example, too


def _is_list_of_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(one, dict) and _is_texts(one) for one in value)


def _is_texts(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(one, str) for pair in value.items() for one in pair)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_sampling(value: object) -> bool:
    return isinstance(value, dict) and all(
        isinstance(one, _SAMPLING.get(name, ())) and not isinstance(one, bool) for name, one in value.items()
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_stop(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) and one for one in value)


_FORMS: dict[str, tuple[Callable[[object], bool], str]] = {
    **{
        name: (_is_text, "text (put it in quotes)")
        for name in ("name", "about", "paper", "system", "head", "example", "body")
    },
    "kind": (_KINDS.__contains__, "one of " + ", ".join(_KINDS)),
    "mode": (_MODES.__contains__, "one of " + ", ".join(_MODES)),
    "examples": (_is_list_of_texts, "a list of mappings of slots to texts"),
    "shots": (_is_number, "a whole number"),
    "values": (_is_texts, "a mapping of slots to texts"),
    "stop": (_is_stop, "a list of texts"),
    "sampling": (_is_sampling, f"a mapping of {', '.join(_SAMPLING)} to numbers"),
}
