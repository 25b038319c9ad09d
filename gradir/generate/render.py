"""What the model sees: a prompt's slots filled, in one pass, with texts that are data and nothing else."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from gradir.errors import GradirError, nearest
from gradir.generate.prompts import SLOT, Prompt
from gradir.llm.records import Message

Rendered = str | tuple[Message, ...]
# <s>, </s>, <|im_end|>, <｜User｜>, <start_of_turn>, <unused12>, <<SYS>>, <0x0A> and the like: the bracket that opens them
_ANGLE = re.compile(r"<(?=[/|｜]?[^\W\d][\w▁|｜:./-]{0,80}/?>|[|｜]|0x)|(?<=[|｜])(?=>)")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")  # control characters and halves of surrogate pairs
_SQUARE = re.compile(r"\[(?=/?[A-Za-z][A-Za-z_]{0,80}\])")  # [INST], [/INST], [CLS], [gMASK]
_FRAME = {
    "completion": 2,
    "chat": 64,
}  # tokens that the engine may put around a prompt: begin and end, the chat's template
_SEAM = 16  # tokens that may be written otherwise where a text meets what is around it


class Ours(str):
    """A value that we wrote ourselves, with line breaks that are meant; `render` takes it as it is."""

    __slots__ = ()


class Model(Protocol):
    """What `fit` asks of an LLM: `gradir.llm` has it."""

    @property
    def context(self) -> int:
        """Most tokens of a prompt and its answer together."""
        ...

    def count(self, text: str) -> int:
        """Tokens of a text."""
        ...

    def cut(self, text: str, tokens: int) -> str:
        """The beginning of a text."""
        ...


class Fitted(NamedTuple):
    """A prompt that fits the context; `cut` says whether the text in the slot lost its end."""

    prompt: Rendered
    cut: bool


def as_data(text: str) -> str:
    """A text from outside as one line that holds no control characters and no special tokens.

    White space of every kind, line breaks too, becomes single spaces, so that no line of a prompt can begin with words of a
    document; control characters and lone surrogates become spaces. Strings that a tokenizer or a chat template may read as
    special (`<|im_end|>`, `</s>`, `[INST]`, `<start_of_turn>`, `<<SYS>>`) are broken up by a space after their first bracket.
    Doing it twice changes nothing.
    """
    text = " ".join(_CONTROL.sub(" ", text).split())
    return _SQUARE.sub("[ ", _ANGLE.sub(r"\g<0> ", text))


def fill(template: str, values: Mapping[str, str]) -> str:
    """A template with its slots filled in one pass: a value that holds `{query}` stays as it is.

    Raises:
        GradirError: A slot that has no value.
    """
    return SLOT.sub(lambda slot: _value(slot[1], values), template)


def _value(name: str, values: Mapping[str, str]) -> str:
    if name not in values:
        known = ", ".join(f"{{{one}}}" for one in values)
        raise GradirError(f"the prompt has a slot {{{name}}}{nearest(name, values)} that nothing fills. Known: {known}")
    found = values[name]
    return found if isinstance(found, Ours) else as_data(found)


def render(prompt: Prompt, values: Mapping[str, str], examples: Sequence[Mapping[str, str]] | None = None) -> Rendered:
    """What the model sees: text, or the messages of a chat.

    Head, examples and body stand in this order with a blank line between them; in a chat they are one message of the user. The
    slot `number` counts the examples from 1, and in the body it is the next number.

    Args:
        prompt: The prompt.
        values: Slot -> text. All go through `as_data`, but those that are `Ours`.
        examples: In place of the prompt's own; their slots go before `values`, which fill what they lack.

    Raises:
        GradirError: A slot that has no value.
    """
    examples = prompt.examples if examples is None else examples
    values = {**prompt.values, **values}
    shown = (
        [fill(prompt.example, {**values, **one, "number": str(number)}) for number, one in enumerate(examples, 1)]
        if prompt.example
        else []
    )
    values["number"] = str(len(shown) + 1)
    parts = [fill(prompt.head, values), *shown, fill(prompt.body, values)]
    text = "\n\n".join(part for part in parts if part)
    if prompt.mode == "completion":
        return text
    system = [Message("system", fill(prompt.system, values))] if prompt.system else []
    return (*system, Message("user", text))


def as_text(rendered: Rendered) -> str:
    """The characters of a prompt, for counting them and for people; messages stand below their roles."""
    if isinstance(rendered, str):
        return rendered
    return "\n\n".join(f"[{message.role}]\n{message.content}" for message in rendered)


class Fitter:
    """Makes prompts that with their answers fit the context: the text of one slot is cut, by tokens, as far as need be.

    Args:
        llm: Counts and cuts.
        prompt: As `render`.
        examples: As `render`.
        slot: The one that may be cut.
        max_tokens: Most tokens of the answer.
        most: Most tokens of the slot, however much room there is.
    """

    def __init__(
        self,
        llm: Model,
        prompt: Prompt,
        examples: Sequence[Mapping[str, str]] | None = None,
        slot: str = "document",
        max_tokens: int = 64,
        most: int | None = None,
    ):
        self._llm, self._prompt, self._examples, self._slot = llm, prompt, examples, slot
        self._max_tokens, self._most = max_tokens, most
        self._bare = (
            "",
            0,
        )  # the prompt without the slot's text, and its tokens: mostly the same one request after another

    def fit(self, values: Mapping[str, str]) -> Fitted:
        """The prompt of these values.

        Raises:
            GradirError: There is no room for the slot at all; or as `render`.
        """
        whole, bare = as_data(values[self._slot]), self._bare_tokens(values)
        room = self._room(bare)
        tokens = room if self._most is None else min(room, self._most)
        text = self._llm.cut(whole, tokens)
        rendered = self._rendered(values, text)
        while tokens + _SEAM > room and text:  # only where it is tight
            over = self._llm.count(as_text(rendered)) - bare - room
            if over <= 0:
                break
            tokens = max(0, tokens - over)
            text = self._llm.cut(text, tokens)
            rendered = self._rendered(values, text)
        return Fitted(rendered, len(text) < len(whole))

    def _rendered(self, values: Mapping[str, str], text: str) -> Rendered:
        return render(self._prompt, {**values, self._slot: text}, self._examples)

    def _bare_tokens(self, values: Mapping[str, str]) -> int:
        text = as_text(self._rendered(values, ""))
        if text != self._bare[0]:
            self._bare = text, self._llm.count(text)
        return self._bare[1]

    def _room(self, bare: int) -> int:
        """Tokens that are left for the slot."""
        context, answer, name = self._llm.context, self._max_tokens, self._prompt.name
        room = context - answer - _FRAME[self._prompt.mode] - bare
        if room < 1:
            raise GradirError(
                f"prompt '{name}' leaves no room for {{{self._slot}}}: {bare:,} tokens without it, {answer:,} for the answer, and "
                f"the context holds {context:,}. Show fewer examples, lower --max-tokens, or take a model with a longer context."
            )
        return room


def fit(
    llm: Model,
    prompt: Prompt,
    values: Mapping[str, str],
    examples: Sequence[Mapping[str, str]] | None = None,
    slot: str = "document",
    max_tokens: int = 64,
    most: int | None = None,
) -> Fitted:
    """One prompt that fits; `Fitter` is for many, and counts only once what they share."""
    return Fitter(llm, prompt, examples, slot, max_tokens, most).fit(values)
