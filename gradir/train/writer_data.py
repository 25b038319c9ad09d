"""What a writer learns from: pairs as token ids, which of them are held out, which come when, and the batches of them."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset, Sampler

from gradir.data.jsonl import check_format, read_objects, text_field
from gradir.data.list_order import Mix, mixed, salt
from gradir.errors import InputError
from gradir.llm.records import Message
from gradir.llm.tokenizer import Tokenizer

IGNORED = -100
MOST_HELD_OUT = 500
_POOL = 32  # batches that are sorted by length together, so that little is padded
_SHORTEST = 2  # tokens of an answer that must find room


class Example(NamedTuple):
    """A pair as token ids: those from `answer` on are the answer's, and its end where it was not cut."""

    name: str
    ids: NDArray[np.int32]
    answer: int


@dataclass(frozen=True)
class Examples(Dataset[Example]):
    """All pairs of all files in a few arrays, 4 bytes a token: a million pairs of 200 tokens take 0.8 GB.

    Attributes:
        ids: Token ids, one pair after another.
        starts: Where each begins, and the end of the last, [n + 1].
        answers: Tokens of each prompt, [n].
        groups: What pairs share that are held out together: hashes of the query's id, or the document's, [n].
        sizes: Pairs of each file.
        left_out: Pairs whose prompt leaves no room.
        cut: Answers that were cut.
    """

    ids: NDArray[np.int32]
    starts: NDArray[np.int64]
    answers: NDArray[np.int32]
    groups: NDArray[np.uint64]
    sizes: tuple[int, ...]
    left_out: int
    cut: int

    def __len__(self) -> int:
        return len(self.answers)

    def __getitem__(self, index: int) -> Example:
        ids = self.ids[self.starts[index] : self.starts[index + 1]]
        return Example(f"pair {index + 1}", ids, int(self.answers[index]))

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each."""
        return np.diff(self.starts)


def texts(paths: Sequence[Path]) -> Iterator[str]:
    """All that stands in prompts and answers, for a tokenizer to learn."""
    for path in paths:
        for line, value in read_objects(path):
            prompt, answer = _pair(path, line, value)
            yield prompt + continued(prompt, answer) if isinstance(prompt, str) else answer


def continued(prompt: str | tuple[Message, ...], answer: str) -> str:
    """An answer as it goes on the prompt: after a space, where a text does not end with white space already."""
    return f" {answer}" if isinstance(prompt, str) and prompt and not prompt[-1].isspace() else answer


def read_examples(paths: Sequence[Path], tokenizer: Tokenizer, max_length: int) -> Examples:
    """All pairs as token ids: prompts as `gradir.llm` sends them to a model, answers with the token that ends them.

    Raises:
        InputError: A line is no pair; no pair has room; fewer than two queries or documents, of which one is held out.
        GradirError: A chat, and the tokenizer has no template.
    """
    ids, starts, answers, groups = array("i"), array("q", [0]), array("i"), array("Q")
    sizes, left_out, cut = [], 0, 0
    end = tokenizer.backend.eos_token_id
    for path in paths:
        before = len(answers)
        for line, value in read_objects(path):
            prompt, answer = _pair(path, line, value)
            asked = tokenizer.prompt_ids(prompt)
            said = tokenizer.backend(continued(prompt, answer), add_special_tokens=False, verbose=False).input_ids
            whole = [*asked, *said, end]
            if len(asked) + _SHORTEST > max_length:
                left_out += 1
                continue
            cut += len(whole) > max_length
            ids.extend(whole[:max_length])
            starts.append(len(ids))
            answers.append(len(asked))
            groups.append(salt("group", value.get("qid") or value.get("docid") or f"{path} {line}"))
        sizes.append(len(answers) - before)
        if sizes[-1] == 0:
            raise InputError(path, f"no pair fits --max-length {max_length}", "Give a larger one, or shorter documents")
    return Examples(
        np.frombuffer(ids, np.int32), np.frombuffer(starts, np.int64), np.frombuffer(answers, np.int32),
        np.frombuffer(groups, np.uint64), tuple(sizes), left_out, cut,
    )  # fmt: skip


def _pair(path: Path, line: int, value: dict[str, Any]) -> tuple[str | tuple[Message, ...], str]:
    """Prompt and answer of a line.

    Raises:
        InputError: It has none.
    """
    check_format(path, value, line)
    answer, prompt = text_field(path, line, value, ("answer",)), value.get("prompt")
    if isinstance(prompt, list) and all(isinstance(one, list) and len(one) == 2 for one in prompt):
        return tuple(Message(*map(str, one)) for one in prompt), answer
    if not isinstance(prompt, str) or not prompt:
        raise InputError(path, "no `prompt`, text or a list of [role, content]", "Make it: gradir generate pairs", line)
    if not answer:
        raise InputError(path, "the `answer` is empty", "Leave the line out", line)
    return prompt, answer


def held_out(examples: Examples, seed: int, path: Path) -> NDArray[np.bool_]:
    """Which pairs are held out: all of a hundredth of the groups, at most `MOST_HELD_OUT` groups, at least one; [n].

    Raises:
        InputError: There is only one group, or nothing is left of a file.
    """
    groups = np.unique(examples.groups)
    if len(groups) < 2:
        fix = "One is held out to measure the loss, the others are learnt from"
        raise InputError(path, "the pairs are of one query or document alone", fix)
    count = min(MOST_HELD_OUT, max(1, len(groups) // 100))
    order = np.argsort(mixed(groups ^ np.uint64(salt(seed, "held out"))), kind="stable")
    return np.isin(examples.groups, groups[order[:count]])


class Steps(Sampler[list[int]]):
    """The pairs of each step, all drawn by the seed: files mixed by weight epoch after epoch, pairs of like length together.

    Args:
        examples: All pairs.
        held: Which of them are held out.
        weights: Of the files.
        batch_size: Pairs of a step.
        steps: How many there are; None: as many as `epochs` take.
        epochs: See above.
        seed: Of the order.
    """

    def __init__(
        self, examples: Examples, held: NDArray[np.bool_], weights: Sequence[float], batch_size: int,
        steps: int | None, epochs: float, seed: int,
    ):  # fmt: skip
        files = np.repeat(np.arange(len(examples.sizes)), examples.sizes)
        self._rows = [np.flatnonzero(~held & (files == number)) for number in range(len(examples.sizes))]
        kept = [(rows, weight) for rows, weight in zip(self._rows, weights, strict=True) if len(rows)]
        self._order = np.concatenate([rows for rows, _ in kept])
        self._mix = Mix([len(rows) for rows, _ in kept], [weight for _, weight in kept], seed)
        self._lengths, self._size, self._seed = examples.lengths, batch_size, seed
        self.steps = steps or max(1, round(epochs * len(self._mix.coming(0)) / batch_size))

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[list[int]]:
        return islice(self._batches(), self.steps)

    def _batches(self) -> Iterator[list[int]]:
        stream, number = self._stream(), 0
        while True:
            pool = np.fromiter(islice(stream, _POOL * self._size), np.int64)
            pool = pool[np.argsort(self._lengths[pool], kind="stable")]
            order = np.random.default_rng(salt(self._seed, "pool", number)).permutation(_POOL)
            yield from (pool[first * self._size : (first + 1) * self._size].tolist() for first in order)
            number += 1

    def _stream(self) -> Iterator[int]:
        """Pairs without end."""
        epoch = 0
        while True:
            yield from self._order[self._mix.coming(epoch)].tolist()
            epoch += 1


class Collator:
    """Makes batches. Shorter pairs are filled up behind their end, where no token that counts looks.

    Args:
        padding: The token that fills.
    """

    def __init__(self, padding: int):
        self.padding = padding

    def __call__(self, examples: Sequence[Example]) -> dict[str, Any]:
        """A batch.

        Returns:
            `input_ids`, `labels` (the next token, `IGNORED` where there is none) and `answers` (1 where the next token is one of
            the answer), int64 [B, S] each; and what `gradir.train.trainer` wants: `tokens`, `qids`, `micro`.
        """
        shape = (len(examples), max(len(one.ids) for one in examples))
        ids, labels = np.full(shape, self.padding, np.int64), np.full(shape, IGNORED, np.int64)
        answers = np.zeros(shape, np.int64)
        for row, one in enumerate(examples):
            length = len(one.ids)
            ids[row, :length] = one.ids
            labels[row, : length - 1] = one.ids[1:]
            answers[row, one.answer - 1 : length - 1] = 1
        block = {"input_ids": ids, "labels": labels, "answers": answers, "micro": np.zeros(1, np.int64)}
        tensors = {name: torch.from_numpy(values) for name, values in block.items()}
        return tensors | {"tokens": sum(len(one.ids) for one in examples), "qids": [one.name for one in examples]}
