"""Answers of a given form: what may be written next, by xgrammar; and how likely each of several choices was."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gradir.errors import GradirError, MissingDependency
from gradir.llm.fault_handler import import_xgrammar
from gradir.llm.records import Choice, Sampling
from gradir.models.loading import cause

if TYPE_CHECKING:
    from torch import Tensor


class Grammars:
    """The grammars of one model; each is compiled once.

    Args:
        tokenizer: The Hugging Face tokenizer.
        rows: Size of the model's output, which may be larger than the tokenizer's vocabulary.
        stops: The tokens that end an answer.

    Raises:
        MissingDependency: xgrammar is not installed.
    """

    def __init__(self, tokenizer: Any, rows: int, stops: Sequence[int]):
        try:
            xgrammar = import_xgrammar()
        except ImportError:
            raise MissingDependency("xgrammar", "an answer of a given form", "pip install gradir[structured]") from None
        self._xgrammar = xgrammar
        info = xgrammar.TokenizerInfo.from_huggingface(tokenizer, vocab_size=rows, stop_token_ids=list(stops))
        self._compiler = xgrammar.GrammarCompiler(info)
        self._rows = rows

    def matcher(self, sampling: Sampling) -> Any:
        """Follows one answer: `accept_token`, `is_terminated`.

        Raises:
            GradirError: The JSON schema is none.
        """
        try:
            if sampling.choice is not None:
                # not as \\ud83d\\ude80: the halves of a pair would be two characters here
                written = (json.dumps(choice, ensure_ascii=False) for choice in sampling.choice)
                grammar = "root ::= " + " | ".join(written)
                compiled = self._compiler.compile_grammar(grammar)
            else:
                schema = sampling.json_schema or "{}"
                # White space of the model's own choosing is where one that is at a loss goes on without end.
                compiled = self._compiler.compile_json_schema(schema, any_whitespace=False)
        except (RuntimeError, ValueError) as error:
            reason = re.sub(r"^\[[\d:]+\] \S+: ", "", cause(error))  # without the time and the line of its sources
            raise GradirError(f"the form that the answer shall have cannot be used: {reason}") from None
        return self._xgrammar.GrammarMatcher(compiled)

    def mask(self, scores: Tensor, matchers: Sequence[tuple[int, Any]]) -> None:
        """Set to minus infinity, in place, what may not come next: (row of `scores`, its matcher) each."""
        allowed = self._xgrammar.allocate_token_bitmask(len(scores), self._rows)
        for row, matcher in matchers:
            matcher.fill_next_token_bitmask(allowed, row)
        rows = [row for row, _ in matchers]
        self._xgrammar.apply_token_bitmask_inplace(scores, allowed.to(scores.device), indices=rows)


def choice_distribution(answer: Choice, choices: Sequence[str]) -> dict[str, float]:
    """How likely each choice was, by the likeliest tokens at each place of an answer that had to be one of them; sums to 1.

    The answer is followed token by token. A token that leads to one choice only gives it its probability times that of the
    tokens before it. A token that several choices begin with is followed if it was drawn, with what comes after it; where it was
    not, its probability is shared evenly between them, because what would have come after it is not known. So the result is
    exact where the choices differ at their first token, and nearly so where they differ at a later one that was reached.
    What lies beyond the likeliest tokens that were recorded is left out, and the rest scaled to 1.

    Args:
        answer: One of `choices`, with `top`: ask with `Sampling(choice=choices, logprobs=20)`.
        choices: All that were allowed.

    Raises:
        GradirError: The answer carries no log-probabilities, or is none of the choices.
    """
    if answer.top is None or answer.logprobs is None:
        raise GradirError("the answer carries no likeliest tokens: ask with logprobs of 1 or more")
    if answer.text not in choices:
        raise GradirError(f"the answer {answer.text[:80]!r} is none of the choices")
    found = dict.fromkeys(choices, 0.0)
    written, mass = "", 1.0
    for top, drawn in zip(answer.top, answer.logprobs, strict=True):
        followed = _drawn_token(written, top, drawn, answer.text)
        for token, log_probability in top.items():
            leads = _leads_to(written, token, choices)
            if token != followed or len(leads) == 1:
                for choice in leads:
                    found[choice] += mass * math.exp(log_probability) / len(leads)
        mass *= math.exp(drawn)
        if followed is None:  # drawn from beyond the likeliest
            break
        if len(_leads_to(written, followed, choices)) == 1:
            mass = 0.0
            break
        written += followed
    found[answer.text] += mass
    total = sum(found.values())
    return {choice: value / total for choice, value in found.items()}


def _drawn_token(written: str, top: Mapping[str, float], drawn: float, text: str) -> str | None:
    """Which of the likeliest tokens was drawn: what it is known by is its log-probability."""
    near = [token for token, value in top.items() if abs(value - drawn) < 1e-6 and _leads_to(written, token, [text])]
    return max(near, key=len, default=None)


def _leads_to(written: str, token: str, choices: Sequence[str]) -> list[str]:
    """The choices that begin with what is written and this token; what fits none of them ends the answer."""
    leads = [choice for choice in choices if token and choice.startswith(written + token)]
    if not leads and not written:  # some tokenizers begin a text with a space that is none of it
        leads = [choice for choice in choices if token.strip() and choice.startswith(token.lstrip())]
    return leads or [choice for choice in choices if choice == written]
