"""A model's tokenizer without its weights: prompts as token ids, counts, and cuts that leave characters whole."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gradir.errors import GradirError
from gradir.llm.records import Message
from gradir.llm.tokens import cut
from gradir.models.loading import cause


class Tokenizer:
    """The tokenizer of a folder or of a model on the hub (`NAME` or `NAME@REVISION`).

    Args:
        model: Its name.
        trust_remote_code: Run the code that comes with it. Else nobody is asked, and a tokenizer that needs it is refused.

    Raises:
        GradirError: There is none, or it cannot be loaded.
    """

    def __init__(self, model: str, trust_remote_code: bool = False):
        from transformers import AutoTokenizer

        self.name = model
        name, revision = name_and_revision(model)
        try:
            self.backend: Any = AutoTokenizer.from_pretrained(
                name, revision=revision, trust_remote_code=trust_remote_code
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise GradirError(f"{model}: its tokenizer cannot be loaded ({cause(error)}). {_FIX}") from None

    def prompt_ids(self, prompt: str | tuple[Message, ...]) -> list[int]:
        """Token ids of a prompt, with the special tokens that the model expects before it.

        Raises:
            GradirError: A chat, and the model has no chat template or refuses these roles.
        """
        if isinstance(prompt, str):
            return self.ids(prompt, special=True)
        return self.ids(self.chat(prompt))

    def chat(self, messages: Sequence[Message]) -> str:
        """The text of a chat as the model's template writes it, up to where the assistant begins."""
        from jinja2 import TemplateError

        if not self.backend.chat_template:
            raise GradirError(
                f"{self.name} has no chat template, so it cannot be asked in messages. Name a prompt of `mode: completion`, "
                "or an instruct model."
            )
        told = [message._asdict() for message in messages]
        try:
            return str(self.backend.apply_chat_template(told, tokenize=False, add_generation_prompt=True))
        except TemplateError as error:
            raise GradirError(f"{self.name}: its chat template refuses this chat ({cause(error)}).") from None

    def count(self, text: str) -> int:
        """Tokens of a text, without special ones."""
        return len(self.ids(text))

    def cut(self, text: str, tokens: int) -> str:
        """The beginning of a text: whole tokens and whole characters, at most so many tokens when counted alone."""
        return cut(text, tokens, self.ids, self._decoded)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of an answer's tokens, without special ones. Pieces of a character at its end are left out."""
        text: str = self.backend.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text.rstrip("\ufffd")  # what a piece of a character is decoded as

    def token(self, token: int) -> str:
        """The text of one token, special ones too."""
        return self._decoded([token])

    def ids(self, text: str, special: bool = False) -> list[int]:
        """Token ids of a text, with or without special ones around it."""
        return list(self.backend(text, add_special_tokens=special, verbose=False).input_ids)

    def _decoded(self, ids: Sequence[int]) -> str:
        return str(self.backend.decode(ids, clean_up_tokenization_spaces=False))


def name_and_revision(model: str) -> tuple[str, str | None]:
    """`NAME@REVISION` of the hub in two; a folder as it is."""
    folder = Path(model).expanduser()
    if folder.is_dir():
        return str(folder), None
    name, at, revision = model.partition("@")
    return name, revision if at else None


_FIX = "Is it the whole folder of a language model, or the name of one on the hub that can be reached from here?"
