"""What queries are asked for, of which documents: the arguments of `gradir generate queries` besides the common ones, checked."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradir.generate.asking_arguments import Asking
from gradir.generate.sampling import Bounds
from gradir.llm.records import Sampling

_SEVERAL = 0.7  # temperature where a document is asked for more than one query, as in Promptagator
_ANY_LENGTH = Bounds()
_LANGUAGE = {"language", "in_language"}


@dataclass(frozen=True)
class Wanted:
    """See the arguments of `gradir.generate.queries`; `shots` is None for the prompt's own number."""

    corpus: str
    documents: int = 100_000
    per_document: int = 1
    bounds: Bounds = _ANY_LENGTH
    stratify: str | None = None
    document_tokens: int = 256
    examples: str | None = None
    topics: str | None = None
    shots: int | None = None
    language: str | None = None
    log_probs: bool = True

    def sampling(self, asking: Asking) -> Sampling:
        """How answers are drawn; the seed is each document's own."""
        temperature = _SEVERAL if self.per_document > 1 else 0.0
        return asking.sampling(temperature, n=self.per_document, logprobs=0 if self.log_probs else None)

    def problems(self, asking: Asking) -> list[str]:
        """What is wrong with them, a line each."""
        return [*self.bounds.problems(), *self._number_problems(asking), *self._example_problems(asking)]

    def _number_problems(self, asking: Asking) -> Iterator[str]:
        if self.documents < 0:
            yield f"--documents {self.documents} is below 0"
        if self.document_tokens < 1:
            yield f"--document-tokens {self.document_tokens} is below 1"
        if self.per_document < 1:
            yield f"--per-document {self.per_document} is below 1"
        elif self.per_document > 1 and self.sampling(asking).temperature == 0:
            yield f"--per-document {self.per_document} at temperature 0 would be one query {self.per_document} times"
        if self.stratify is not None and not re.fullmatch("length|file|field:.+", self.stratify):
            yield f"--stratify {self.stratify} is not one of length, file, field:NAME"
        if self.stratify is not None and not self.documents:
            yield "--stratify is for a draw: give --documents a number above 0"

    def _example_problems(self, asking: Asking) -> Iterator[str]:
        prompt = asking.prompt
        if self.shots is not None and self.shots < 0:
            yield f"--shots {self.shots} is below 0"
        if (self.examples is not None or self.shots) and not prompt.example:
            yield f"prompt '{prompt.name}' shows no examples: leave out --examples and --shots"
        elif self.examples is None and (self.shots or 0) > len(prompt.examples):
            yield f"--shots {self.shots}: prompt '{prompt.name}' has {len(prompt.examples)} examples of its own; give --examples"
        if self.topics is not None and self.examples is None:
            yield "--topics are the queries of --examples"
        if self.language is not None and not prompt.slots & _LANGUAGE:
            yield f"prompt '{prompt.name}' has neither {{language}} nor {{in_language}}, where --language could stand"
        if self.language is None and "language" in prompt.slots - set(prompt.values):
            yield f"prompt '{prompt.name}' has a slot {{language}}: give --language"
        known = {"document", "number", *_LANGUAGE, *prompt.values}
        yield from (f"prompt '{prompt.name}': nothing fills {{{slot}}}" for slot in sorted(prompt.slots - known))

    def config(self, asking: Asking) -> dict[str, Any]:
        """What of it decides the result, for the manifest."""
        sampling = self.sampling(asking)
        return {
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "max_tokens": sampling.max_tokens,
            "documents": self.documents,
            "per_document": self.per_document,
            "length": [self.bounds.shortest, self.bounds.longest, self.bounds.unit],
            "stratify": self.stratify,
            "document_tokens": self.document_tokens,
            "examples": self.examples is not None,
            "shots": self.number_of_examples(asking),
            "language": self.language,
            "chat": asking.prompt.mode == "chat",
            "log_probs": self.log_probs,
        }

    def number_of_examples(self, asking: Asking) -> int:
        """How many examples are shown."""
        if self.shots is not None:
            return self.shots
        return len(asking.prompt.examples) if self.examples is None else asking.prompt.shots

    def inputs(self) -> list[str | Path]:
        """Files for the manifest."""
        from gradir.data.corpus import corpus_files
        from gradir.generate.examples import example_files

        files: list[str | Path] = list(corpus_files(self.corpus))
        return files + (example_files(self.examples, self.topics) if self.examples is not None else [])
