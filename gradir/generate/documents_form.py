"""The form of written texts: the JSON of one answer with a text at each grade, what is mended in it, and what makes a text
unusable."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from gradir.generate.cleaning import BROKEN, SPECIAL
from gradir.llm.asking import Unusable

_NAME = re.compile(r"(?:grade[ _-]?)?([0-3])", re.IGNORECASE)
# What begins a text in JSON that is not quite JSON: a name that is known, a colon, a quotation mark of any kind.
_MARK = re.compile(
    r"""(?:["'“]?\bgrade[ _-]?(?P<named>[0-3])["'”]?|["'“](?P<bare>[0-3])["'”])\s*:\s*(?P<quote>["'“])""", re.IGNORECASE
)
_SENTENCE_END = re.compile(r"""[.!?…。！？]["'”’)\]]*\s*$""")
_THOUGHT = re.compile(r"\s*<think>.*?(?:</think>|\Z)", re.DOTALL)
_FENCED = re.compile(r"\s*```\w*\s*\n?(.*?)(?:```.*)?\s*", re.DOTALL)
_PREAMBLE = re.compile(
    r"(?:sure|certainly|of course|okay|ok|here (?:is|are)|here's|here’s)\b[^\n]{0,160}:\s*(?:\n+|$)", re.IGNORECASE
)
_CUE = re.compile(r"\**(?:passage|document)(?: of grade [0-3])?\**:\**\s*", re.IGNORECASE)
_REFUSAL = re.compile(
    r"\bas an? (?:ai\b|(?:large )?language model)"
    r"|\bI(?: am|['’]m)? (?:cannot|can['’]t|can not|won['’]t|will not|unable to|not able to) "
    r"(?:help|assist|provide|write|create|generate|comply|fulfil|answer|do that)",
    re.IGNORECASE,
)
_REFUSAL_WITHIN = 300  # characters; further on, a document may well quote one
_PIECE, _REPEATS_FROM = 8, 64  # characters
_PIECES = re.compile(f"[\ud800-\udfff{BROKEN}]")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_LABEL = re.compile(r"^([^\W\d_](?:[^{}\n:.]|\{grade\}){0,40}):", re.MULTILINE)
LEVELS = {
    3: "perfectly relevant: all of it is about the query, and it holds the exact answer",
    2: "highly relevant: it answers in part, or the answer is unclear or hidden among other matter",
    1: "related: it has the subject of the query and does not answer it",
    0: "irrelevant: it has nothing to do with the query",
}  # TREC Deep Learning's grades, in our words


def name_of(grade: int) -> str:
    """The name of a grade's text in the JSON."""
    return f"grade_{grade}"


def schema(grades: Sequence[int], longest: int | None = None) -> str:
    """The JSON schema of an answer: an object with a text for each grade, in this order, and nothing else.

    Args:
        grades: In the order in which they are written.
        longest: Most characters of a text.
    """
    text: dict[str, Any] = {"type": "string", "minLength": 1}
    if longest is not None:
        text["maxLength"] = longest
    names = [name_of(grade) for grade in grades]
    value = {
        "type": "object",
        "properties": dict.fromkeys(names, text),
        "required": names,
        "additionalProperties": False,
    }
    return json.dumps(value)


def written(texts: Mapping[int, str]) -> str:
    """The answer that holds these texts, as an example shows it."""
    return json.dumps({name_of(grade): text for grade, text in texts.items()}, ensure_ascii=False)


def parse_all(text: str, grades: Collection[int]) -> dict[int, str]:
    """The texts of an answer by grade.

    What is not quite JSON is mended as far as there is one way to read it: code fences and prose around the object, other
    quotation marks, quotation marks and line breaks inside a text, names without their quotation marks, a comma too many, an
    end that is missing where the last text ends with a sentence.

    Raises:
        Unusable: There is no such object, it is cut off, a grade is missing or comes twice, or is not a text.
    """
    text = _THOUGHT.sub("", text, count=1)
    found = _strict(text)
    if found is None:
        found = _tolerant(text)
    if found is None:
        raise Unusable("refusal" if refuses(text) else "no JSON object")
    texts: dict[int, str] = {}
    for grade, value in found:
        if grade in texts:
            raise Unusable("a grade twice")
        if not isinstance(value, str):
            raise Unusable("a grade that is not text")
        texts[grade] = _clean(value)
    if any(grade not in texts for grade in grades):
        raise Unusable("a grade missing")
    return {grade: texts[grade] for grade in grades}


def parse_one(text: str) -> str:
    """The document of an answer that is a document and nothing else; a thought before it, fences, a line or a
    label that announces it and quotation marks around it are taken off.

    Raises:
        Unusable: It is empty.
    """
    text = _THOUGHT.sub("", text, count=1)
    fenced = _FENCED.fullmatch(text) if text.lstrip().startswith("```") else None
    found = (fenced[1] if fenced else text).strip()
    found = _PREAMBLE.sub("", found, count=1) if _PREAMBLE.match(found) else found
    found = _CUE.sub("", found, count=1) if _CUE.match(found) else found
    for begin, end in ('""', "“”"):
        inner = found[1:-1]
        if len(found) > 1 and found[0] == begin and found[-1] == end and begin not in inner and end not in inner:
            found = inner
    found = _clean(found)
    if not found:
        raise Unusable("empty")
    return found


def check(texts: Iterable[str], markers: re.Pattern[str] | None = None) -> None:
    """Look for what makes written texts unusable, whatever they were written for.

    Args:
        texts: Written together: those of the grades of one query.
        markers: What `markers_of` found in the prompt.

    Raises:
        Unusable: With the reason: empty, refusal, text of another grade, marker of the prompt, endless repetition, broken
            characters.
    """
    seen: set[str] = set()
    for text in texts:
        plain = folded(text)
        if not plain:
            raise Unusable("empty")
        if refuses(text):
            raise Unusable("refusal")
        if plain in seen:
            raise Unusable("text of another grade")
        if SPECIAL.search(text) or (markers and markers.search(text)):
            raise Unusable("marker of the prompt")
        if repeats(text):
            raise Unusable("endless repetition")
        if _PIECES.search(text):
            raise Unusable("broken characters")
        seen.add(plain)


def markers_of(*templates: str) -> re.Pattern[str] | None:
    """What finds a line of a text that begins with a label of the prompt's, such as `Query:`; None where it has none.

    Args:
        templates: Of the prompt: how an example is shown, and what a request adds.
    """
    labels = sorted({label for template in templates for label in _LABEL.findall(template)})
    patterns = (re.escape(label).replace(re.escape("{grade}"), "[0-3]") for label in labels)
    return re.compile(rf"^\s*(?:{'|'.join(patterns)}):", re.MULTILINE) if labels else None


def folded(text: str) -> str:
    """A text without what does not tell it from another: case, punctuation, white space."""
    return " ".join(re.findall(r"\w+", text.casefold()))


def refuses(text: str) -> bool:
    """Whether a text begins as models do that decline."""
    return _REFUSAL.search(text[:_REFUSAL_WITHIN]) is not None


def repeats(text: str) -> bool:
    """Whether a text goes on and on: of all its pieces of 8 characters fewer than half are different.

    Of ordinary prose nearly all are; a sentence said three times brings them down to a third.
    """
    plain = " ".join(text.split())
    pieces = len(plain) - _PIECE + 1
    if len(plain) < _REPEATS_FROM:
        return False
    return len({plain[place : place + _PIECE] for place in range(pieces)}) < pieces / 2


def _clean(text: str) -> str:
    """Without control characters, nor white space at the ends; nor the piece of a character that was cut off."""
    return _CONTROL.sub(" ", text.rstrip(f"{BROKEN} \n")).strip()


def _strict(text: str) -> list[tuple[int, Any]] | None:
    """The grades of the first JSON object that has any; what stands before and after is passed over."""
    decoder = json.JSONDecoder(strict=False, object_pairs_hook=list)
    for brace in re.finditer(r"\{", text):
        try:
            value, _ = decoder.raw_decode(text, brace.start())
        except (ValueError, RecursionError):  # no JSON, a number of thousands of digits, thousands of brackets
            continue
        pairs = [(_NAME.fullmatch(name), value) for name, value in value]
        if known := [(int(name[1]), value) for name, value in pairs if name]:
            return known
    return None


def _tolerant(text: str) -> list[tuple[int, Any]] | None:
    """The grades of what is nearly JSON: each text goes from its name to the next one's."""
    marks = list(_MARK.finditer(text))
    if not marks:
        return None
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    return [
        (int(mark["named"] or mark["bare"]), _value(text[mark.end() : end], mark["quote"], last=end == len(text)))
        for mark, end in zip(marks, ends, strict=True)
    ]


def _value(raw: str, quote: str, last: bool) -> str:
    """A text without its closing quotation mark and what follows it."""
    close = {"“": "”"}.get(quote, quote)
    after = rf"{close}\s*,?\s*"
    found = re.match(rf"(.*?){after}\}}", raw, re.DOTALL) if last else None
    found = found or re.fullmatch(rf"(.*){after}", raw, re.DOTALL)
    if found:
        return _unescaped(found[1])
    if not last:
        raise Unusable("broken JSON")
    if not _SENTENCE_END.search(raw):
        raise Unusable("cut off")
    return _unescaped(raw)


def _unescaped(raw: str) -> str:
    def as_json(found: re.Match[str]) -> str:
        if found[1] is None:
            return '\\"'
        return "'" if found[1] == "'" else found[0]

    try:
        value: str = json.loads('"' + re.sub(r'\\(.)|"', as_json, raw, flags=re.DOTALL) + '"', strict=False)
    except json.JSONDecodeError:
        raise Unusable("broken JSON") from None
    return value
