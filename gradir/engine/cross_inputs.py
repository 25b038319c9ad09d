"""What a cross-encoder sees: a query with one document or two, as token ids. The query is never cut, documents are.

Where everything is longer than the model takes, the last tokens of the document are left out; of two documents those of the
longer one, until both are equally long.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from gradir.errors import GradirError

MONO_PROMPT = "Query: {query} Document: {document} Relevant:"
DUO_PROMPT = "Query: {query} Document0: {document0} Document1: {document1} Relevant:"
_FIELDS = {2: ("query", "document"), 3: ("query", "document0", "document1")}

Texts = tuple[str, ...]  # a query, and a document or two


class Inputs(NamedTuple):
    """One sequence: its token ids and their types, [S] each."""

    ids: list[int]
    types: list[int]


def pairs(tokenizer: Any, max_length: int) -> Callable[[Sequence[Texts]], list[Inputs]]:
    """Texts as a sequence classifier sees them: `[CLS] query [SEP] document [SEP]`, where duoBERT's second document and one more
    `[SEP]` follow, of type 1 as the first.

    Args:
        tokenizer: A fast Hugging Face tokenizer.
        max_length: Tokens of all together.
    """
    fast = _copied(tokenizer)
    separator = tokenizer.sep_token_id

    def encode(texts: Sequence[Texts]) -> list[Inputs]:
        encoded = fast.encode_batch_fast([(one[0], one[1]) for one in texts])
        found = []
        for one, pair in zip(texts, encoded, strict=True):
            ids, types = pair.ids, pair.type_ids
            if len(one) == 2 and len(ids) <= max_length:
                found.append(Inputs(ids, types))
                continue
            documents = [[place for place, part in enumerate(pair.sequence_ids) if part == 1]]
            if len(one) == 3:
                second = fast.encode(one[2], add_special_tokens=False).ids
                documents.append(list(range(len(ids), len(ids) + len(second))))
                ids, types = [*ids, *second, separator], [*types, *[max(types)] * (len(second) + 1)]
            found.append(_cut(Inputs(ids, types), documents, max_length, one[0]))
        return found

    return encode


def prompts(tokenizer: Any, max_length: int, template: str, texts: int) -> Callable[[Sequence[Texts]], list[Inputs]]:
    """Texts in a prompt.

    Args:
        tokenizer: A fast Hugging Face tokenizer.
        max_length: Tokens of the whole prompt.
        template: Names its fields as `MONO_PROMPT` or `DUO_PROMPT` does.
        texts: 2 for a query and a document, 3 for two documents.

    Raises:
        GradirError: A field is missing, or comes twice.
    """
    fast = _copied(tokenizer)
    between = re.split(r"\{(query|document|document0|document1)\}", template)
    names, fields = between[1::2], _FIELDS[texts]
    if sorted(names) != sorted(fields):
        raise GradirError(
            f"the prompt {template!r} must have each of {{{'}, {'.join(fields)}}} once, and no other field."
        )

    def fill(one: Texts) -> tuple[str, list[tuple[int, int]]]:
        """The prompt, and where in it the documents stand."""
        prompt, spans, values = between[0], [], dict(zip(fields, one, strict=True))
        for name, following in zip(names, between[2::2], strict=True):
            if name != "query":
                spans.append((len(prompt), len(prompt) + len(values[name])))
            prompt += values[name] + following
        return prompt, spans

    def encode(batch: Sequence[Texts]) -> list[Inputs]:
        filled = [fill(one) for one in batch]
        found = []
        for one, (prompt, spans), short in zip(
            batch, filled, fast.encode_batch_fast([prompt for prompt, _ in filled]), strict=True
        ):
            inputs = Inputs(short.ids, short.type_ids)
            if len(inputs.ids) > max_length:
                offsets = fast.encode(prompt).offsets
                documents = [
                    [i for i, (a, b) in enumerate(offsets) if a < b and start < b <= end] for start, end in spans
                ]
                inputs = _cut(inputs, documents, max_length, one[0])
            found.append(inputs)
        return found

    return encode


def _copied(tokenizer: Any) -> Any:
    """The fast tokenizer inside, which cuts and fills nothing. A copy: every call of the wrapper sets it anew."""
    inside = getattr(tokenizer, "backend_tokenizer", None)
    if inside is None:
        raise GradirError("the model has no fast tokenizer. Save one beside its weights: tokenizer.json.")
    from tokenizers import Tokenizer

    copy = Tokenizer.from_str(inside.to_str())
    copy.no_padding()
    copy.no_truncation()
    return copy


def _cut(inputs: Inputs, documents: list[list[int]], max_length: int, query: str) -> Inputs:
    """Without the last tokens of the longer document, as many as there are too many.

    Args:
        inputs: The whole sequence.
        documents: The places of each document's tokens; used up.
        max_length: How many may remain.
        query: For the error.

    Raises:
        GradirError: The query alone is too long.
    """
    left_out = set()
    for _ in range(len(inputs.ids) - max_length):
        longest = max(documents, key=len)
        if not longest:
            raise GradirError(
                f"the query {query[:60]!r} leaves no room for a document in {max_length} tokens. Give a larger --max-length."
            )
        left_out.add(longest.pop())
    kept = [place for place in range(len(inputs.ids)) if place not in left_out]
    return Inputs([inputs.ids[place] for place in kept], [inputs.types[place] for place in kept])
