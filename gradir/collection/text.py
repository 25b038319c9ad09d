"""Docstrings as prose: reStructuredText and Markdown markup taken out, code and tables dropped, sections told apart."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from gradir.collection.inline import plain

# Sections that are no prose about the object: code, bibliography, tables of members
DROPPED_SECTIONS = {"examples", "example", "usage", "references", "methods", "method", "example usage", "usage example"}
SEE_ALSO = {"see also", "seealso"}
# Sections that are lists of names with descriptions
LIST_SECTIONS = {
    *(
        "parameters",
        "other parameters",
        "args",
        "arguments",
        "inputs",
        "input",
        "params",
        "attributes",
        "shape",
        "raises",
    ),
    *(
        "returns",
        "return",
        "yields",
        "outputs",
        "output",
        "keyword args",
        "keyword arguments",
        "kwargs",
        "warns",
        "variables",
    ),
    *("keyword parameters", "receives", "attrs", "properties", "optional args", "throws", "keywords"),
}
PROSE_SECTIONS = {
    "notes",
    "note",
    "warnings",
    "warning",
    "details",
    "description",
    "explanation",
    "remarks",
    "tip",
    "tips",
}
KNOWN_SECTIONS = DROPPED_SECTIONS | SEE_ALSO | LIST_SECTIONS | PROSE_SECTIONS

_KEPT_DIRECTIVES = {
    "note",
    "warning",
    "tip",
    "important",
    "caution",
    "attention",
    "hint",
    "admonition",
    "math",
    "rubric",
}
_DIRECTIVE = re.compile(r"^(\s*)\.\.\s+(?:\|[^|]*\|\s+)?([\w:+.-]+?)\s*::(?:\s+(.*)|$)")
_COMMENT = re.compile(r"^(\s*)\.\.(\s+(\[|_|\S)|\s*$)")
_TABLE = re.compile(r"^\s*(\+[-=+]{3,}\+|[=-]{2,}(\s+[=-]{2,})+|\|(.*\|)+)\s*$")
_HEADING_WORD = re.compile(r"^(\s*)(?:#+\s*|\*\*|``)?([A-Za-z][\w ]{2,24}?)(?:\*\*|``)?\s*:{1,2}(?:\*\*)?\s*$")
_SIGNATURE = re.compile(r"^[\w.]+\s*\(.*\)\s*(->.*|→.*)?$|^[\w.]+\(.*$")
# `%(before_notes)s`, `${ARRAY_FUNCTION_LIKE}`, `{reduction_descr}`, alone in a line: filled in by decorators
_PLACEHOLDER = re.compile(r"^\s*(%\(\w+\)[sd]|\$\{\w+\}|\{\w+\})\.?\s*$")
_BULLET = re.compile(r"^\s*([-*+•]|\d{1,2}[.)]|\(\w\))\s+")


@dataclass
class Text:
    """What a docstring says.

    Attributes:
        paragraphs: (section, text); the section is empty before the first heading.
        described: Words of prose: all but the headers of list entries (`name : type`).
        see_also: Names in its "See Also" section, as written.
    """

    paragraphs: list[tuple[str, str]] = field(default_factory=list)
    described: int = 0
    see_also: list[str] = field(default_factory=list)

    def body(self) -> str:
        """The whole text, a paragraph a line; the first line of a section names it."""
        lines, current = [], ""
        for section, text in self.paragraphs:
            lines.append(f"{section}: {text}" if section and section != current else text)
            current = section
        return "\n".join(lines)


def read_docstring(docstring: str) -> Text:
    """The prose of a docstring."""
    lines = _without_signature(docstring.expandtabs().replace("\r", "").split("\n"))
    lines = [line for line in lines if not _PLACEHOLDER.match(line)]
    result = Text()
    related: list[str] = []
    for section, block in _sections(_without_directives(lines, related)):
        if section.lower() in SEE_ALSO:
            related += _see_also_names(block)
        elif section.lower() not in DROPPED_SECTIONS:
            _add_paragraphs(section, _without_code(block), result)
    result.see_also = list(dict.fromkeys(related))
    return result


def _without_signature(lines: list[str]) -> list[str]:
    """Drop leading blank lines and call signatures (`norm(x, ord=None) -> Tensor`), also over several lines."""
    while lines and (lines[0].strip() in ("", "--") or _SIGNATURE.match(lines[0].strip())):
        depth = lines[0].count("(") - lines[0].count(")")
        lines = lines[1:]
        while depth > 0 and lines and lines[0].strip():
            depth += lines[0].count("(") - lines[0].count(")")
            lines = lines[1:]
    return lines


def _underline(lines: list[str], at: int) -> bool:
    """Whether the line after `at` underlines a heading."""
    if at + 1 >= len(lines) or not lines[at].strip():
        return False
    return re.fullmatch(r"\s*([-=~^#*+])\1{2,}\s*", lines[at + 1]) is not None


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _block_end(lines: list[str], start: int, indent: int) -> int:
    """The first line at or after `start` that is not blank and not deeper than `indent`."""
    while start < len(lines) and (not lines[start].strip() or _indent(lines[start]) > indent):
        start += 1
    return start


def _without_directives(lines: list[str], related: list[str]) -> list[str]:
    """Directives and comments dropped with what they hold; the text of notes and warnings kept, `seealso` recorded."""
    kept: list[str] = []
    at = 0
    while at < len(lines):
        line = lines[at]
        directive = _DIRECTIVE.match(line)
        if not directive and not _COMMENT.match(line):
            kept.append(line)
            at += 1
            continue
        end = _block_end(lines, at + 1, _indent(line))
        name = directive.group(2).lower() if directive else ""
        content = [(directive.group(3) or "") if directive else "", *lines[at + 1 : end]]
        if name == "seealso":
            related += re.findall(r":\w+:`~?\.?([\w.]+)`", "\n".join(content))
        elif name in _KEPT_DIRECTIVES:
            kept += ["", *_dedented(content, _indent(line)), ""]
        at = end
    return kept if len(kept) == len(lines) else _without_directives(kept, related)


def _dedented(content: list[str], indent: int) -> list[str]:
    content = [line for line in content if not re.match(r"\s*:(class|label|nowrap|name|open):", line)]
    depth = min((_indent(line) for line in content[1:] if line.strip()), default=indent)
    return [" " * indent + content[0].strip(), *(" " * indent + line[depth:] for line in content[1:])]


def _sections(lines: list[str]) -> list[tuple[str, list[str]]]:
    """The lines of each section; headings are underlined (numpydoc), or known words with a colon (Google).

    A section of Google's style also ends where the text goes back to the indentation of its heading.
    """
    sections: list[tuple[str, list[str]]] = [("", [])]
    at, margin = 0, -1
    while at < len(lines):
        line = lines[at]
        word = _HEADING_WORD.match(line)
        if _underline(lines, at):
            title = line.strip().rstrip(":")
            known = title.lower() in KNOWN_SECTIONS
            sections.append((title.capitalize() if known else plain(title), []))
            margin, at = -1, at + 2
            continue
        if word and word.group(2).lower() in KNOWN_SECTIONS:
            sections.append((word.group(2).capitalize(), []))
            margin, at = _indent(line), at + 1
            continue
        if line.strip() and _indent(line) <= margin and any(_indent(earlier) > margin for earlier in sections[-1][1]):
            sections.append(("", []))
            margin = -1
        sections[-1][1].append(line)
        at += 1
    return sections


def _see_also_names(block: list[str]) -> list[str]:
    """`a, b.c : description` and `:func:`a`` entries of a "See Also" section."""
    base = min((_indent(line) for line in block if line.strip()), default=0)
    names: list[str] = []
    for line in block:
        if not line.strip() or _indent(line) > base:
            continue
        entry = re.split(r"\s:\s|\s:$|\s--?\s", re.sub(r":[\w:]+:`~?\.?([^`]*)`", r"\1", line.replace("``", "`")))[0]
        for name in entry.split(","):
            name = name.strip(" `~.*-")
            if re.fullmatch(r"[A-Za-z_][\w.]*", name):
                names.append(name.removesuffix("()"))
    return names


def _without_code(lines: list[str]) -> list[str]:
    """Doctests, fenced and `::` code blocks, and tables dropped."""
    kept: list[str] = []
    at = 0
    while at < len(lines):
        line, stripped = lines[at], lines[at].strip()
        if stripped.startswith("```") or stripped.startswith("~~~"):
            at = next(
                (end + 1 for end in range(at + 1, len(lines)) if lines[end].strip().startswith(stripped[:3])),
                len(lines),
            )
        elif stripped.startswith((">>>", "... ")) or _TABLE.match(line):
            at = next((end for end in range(at + 1, len(lines)) if not lines[end].strip()), len(lines))
        elif stripped.endswith("::"):
            if stripped != "::":
                kept.append(line.rstrip()[:-1])
            at = _block_end(lines, at + 1, _indent(line))
            kept.append("")
        else:
            kept.append(line)
            at += 1
    return kept


def _add_paragraphs(section: str, lines: list[str], result: Text) -> None:
    """Join the lines of a section to paragraphs; in a list section every entry is one."""
    listed = section.lower() in LIST_SECTIONS
    base = min((_indent(line) for line in lines if line.strip()), default=0)
    paragraph: list[str] = []
    depth, header = base, False

    def end() -> None:
        text = plain(" ".join(paragraph))
        if any(character.isalnum() for character in text):
            result.paragraphs.append((section, text))
            result.described += len(_words(text)) - header_words
        paragraph.clear()

    header_words = 0
    for line in lines:
        if not line.strip():
            if paragraph and not (listed and header):
                end()
                header_words = 0
            continue
        indent = _indent(line)
        starts = (listed and indent <= base) or _BULLET.match(line) or (not listed and indent < depth)
        if paragraph and starts:
            end()
            header_words = 0
        if not paragraph:
            depth = indent
        words, header = _entry(line, listed and indent <= base)
        if header or (listed and indent <= base):
            header_words = header_words or len(_words(words)) if header else _colon_words(line)
        paragraph.append(words)
    end()


def _entry(line: str, at_base: bool) -> tuple[str, bool]:
    """A line of a list section, and whether it is the header of an entry (`name : type`), whose description follows."""
    stripped = line.strip()
    if at_base and not _BULLET.match(line):
        match = re.fullmatch(r"([*`\w., /\[\]()'\"-]{1,80}?)\s+:(?:\s+(.*))?", stripped)
        if match:
            kind = re.sub(r"[.,]\s*$", "", match.group(2) or "")
            return (f"{match.group(1)} ({kind}):" if kind else f"{match.group(1)}:"), True
        if re.fullmatch(r"[*`\w.]{1,40}(, [*`\w.]{1,40})*", stripped):
            return stripped + ":", True
    return stripped, False


def _colon_words(line: str) -> int:
    """Words before the colon of `name (type): description`."""
    head, colon, _ = line.partition(":")
    return len(_words(head)) if colon else 0


def _words(text: str) -> list[str]:
    return re.findall(r"[A-Za-z]{2,}", text)
