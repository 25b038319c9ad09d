"""What the commands that ask an LLM have in common: their arguments, the store beside the output, seeds, and the account."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradir.data.list_order import salt
from gradir.errors import GradirError
from gradir.generate.prompts import Prompt
from gradir.llm.records import Sampling

if TYPE_CHECKING:
    from gradir.llm.client import LLM
    from gradir.llm.given import Given

_OF_THE_PROMPT = ("context", "max_model_len", "tokenizer")  # options that decide where a document is cut


@dataclass(frozen=True)
class Asking:
    """The common arguments of `gradir generate queries`, `documents` and `judgements`.

    Attributes:
        llm: `hf:MODEL`, `vllm:MODEL` or `openai:MODEL`.
        output: The folder to be made.
        prompt: The prompt.
        base_url: Of the server.
        options: KEY=VALUE, for the engine.
        requests: The store of finished requests; None: beside the output, so that --overwrite pays for nothing twice.
        temperature: None: the prompt's, or the default of the command.
        top_p: None: the prompt's, or 1.
        max_tokens: None: the prompt's, or the default of the command.
        seed: Of all that is drawn.
    """

    llm: str
    output: Path
    prompt: Prompt
    base_url: str | None = None
    options: tuple[str, ...] = ()
    requests: Path | None = None
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    seed: int = 13

    @property
    def store(self) -> Path:
        """The folder of finished requests."""
        return self.requests or self.output.with_name(f"{self.output.name}.requests")

    def problems(self) -> list[str]:
        """What is wrong with the arguments, a line each."""
        found = []
        try:
            engine = self._given.engine
            if (engine == "openai") != (self.base_url is not None):
                found.append("--base-url and --llm openai:MODEL need each other")
        except GradirError as error:
            found.append(str(error))
        if self.temperature is not None and not (0 <= self.temperature < math.inf):
            found.append(f"--temperature {self.temperature} is not 0 or above")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            found.append(f"--top-p {self.top_p} is not above 0 and at most 1")
        if self.max_tokens is not None and self.max_tokens < 1:
            found.append(f"--max-tokens {self.max_tokens} is below 1")
        if self.output.resolve() in (self.store.resolve(), *self.store.resolve().parents):
            found.append(
                f"--requests {self.store} is in the output, which is replaced as a whole: the store stands beside it"
            )
        return found

    def sampling(self, temperature: float = 0.0, max_tokens: int = 64, **more: Any) -> Sampling:
        """How answers are drawn: flags go before the prompt, the prompt before the command's defaults given here.

        Args:
            temperature: Where neither says.
            max_tokens: Where neither says.
            more: Other fields of `Sampling`.
        """
        flags = {"temperature": self.temperature, "top_p": self.top_p, "max_tokens": self.max_tokens}
        given = {name: value for name, value in flags.items() if value is not None}
        values = {"temperature": temperature, "max_tokens": max_tokens, **self.prompt.sampling, **given}
        return Sampling(**{"stop": self.prompt.stop, **values, **more})

    def config(self) -> dict[str, Any]:
        """What of all this decides the result, for the manifest."""
        options = self._given.options
        return {
            "model": self.model(),
            "prompt": self.prompt.name,
            "prompt_digest": self.prompt.digest,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "max_tokens": self.max_tokens,
            "seed": self.seed,
            "llm_options": {name: options[name] for name in _OF_THE_PROMPT if name in options},
        }

    def model(self) -> str:
        """What the model is called in the keys of the store: engine, identity, and options that change its answers.

        Raises:
            GradirError: No such model, or options that cannot be read.
        """
        return self._given.identity

    @cached_property
    def _given(self) -> Given:
        from gradir.llm.given import read_llm

        return read_llm(self.llm, self.options)

    @contextmanager
    def opened(self) -> Iterator[LLM]:
        """The LLM; it loads or calls the model only when an answer is missing in the store."""
        from gradir.llm import open_llm

        llm = open_llm(self.llm, self.store, self.base_url, self.options)
        try:
            yield llm
        finally:
            llm.close()


def seed_of(seed: int, *names: str) -> int:
    """A seed, 31 bits, for what is called so: the same on every machine, whatever was drawn before."""
    return salt(seed, *names) >> 33


def account(llm: LLM) -> str:
    """What was asked and paid, in a line for people."""
    paid, reused = llm.paid, llm.reused
    tokens = paid.usage.prompt + paid.usage.completion
    said = f"{paid.requests:,} requests asked ({tokens:,} tokens), {reused.requests:,} from the store"
    return said + (f", cost {paid.cost:,.2f}" if paid.cost else "")


def measured(llm: LLM) -> dict[str, float]:
    """For the manifest's `measured`: what depends on how often a job was interrupted stands there, not in its counts."""
    return {"asked": llm.paid.requests, "reused": llm.reused.requests, **llm.measured()}
