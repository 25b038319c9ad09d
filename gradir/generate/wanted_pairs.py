"""What `gradir generate pairs` is asked for: its arguments, checked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from gradir.errors import GradirError
from gradir.generate.prompts import Prompt

Kind = Literal["judged", "sentence", "words"]
GRADES = (3, 2, 1, 0)
_ENOUGH = {"queries": 64, "documents": 256}  # tokens of an answer, where neither flag nor prompt says


@dataclass(frozen=True)
class Wanted:
    """See the arguments of `gradir.generate.pairs_stage.pairs`; `words` are the bounds of a sentence or list."""

    prompt: Prompt
    qrels: str
    corpus: str
    topics: str | None
    kind: Kind
    min_grade: int
    grades: tuple[int, ...]
    run: Path | None
    below: int
    per_document: int
    words: tuple[int, int]
    document_tokens: int
    answer_tokens: int | None
    tokenizer: str | None
    seed: int

    @property
    def queries_file(self) -> str:
        """Where the queries are.

        Raises:
            GradirError: Nobody says, and the judgements stand in no BEIR folder.
        """
        if self.topics is not None:
            return self.topics
        folder = Path(self.qrels).parent.parent
        if (folder / "queries.jsonl").exists():
            return str(folder)
        raise GradirError(f"--qrels {self.qrels}: judgements need the texts of their queries: give --topics")

    @property
    def longest_answer(self) -> int:
        """Most tokens or words of an answer."""
        return self.answer_tokens or int(self.prompt.sampling.get("max_tokens", _ENOUGH[self.prompt.kind]))

    def problems(self) -> list[str]:
        """What is wrong with them, a line each."""
        prompt, found = self.prompt, []
        if prompt.kind not in _ENOUGH:
            found.append(f"prompt '{prompt.name}' is for {prompt.kind}; pairs are for queries or documents")
        if prompt.kind == "documents":
            if self.kind == "words":
                found.append(f"--kind words: prompt '{prompt.name}' is for documents, not for queries")
            found += [
                f"prompt '{prompt.name}' has no slot {{{one}}}" for one in ("query", "grade") if one not in prompt.slots
            ]
        elif self.run is not None:
            found.append(f"--run is for documents of grade 0, and prompt '{prompt.name}' asks for queries")
        wrong = [str(grade) for grade in self.grades if grade not in GRADES]
        if wrong or len(set(self.grades)) < len(self.grades):
            found.append(f"--grades {' '.join(wrong) or 'names one twice'}: the grades are 3, 2, 1, 0, each once")
        numbers = {"--per-document": self.per_document, "--document-tokens": self.document_tokens}
        numbers |= {"--answer-tokens": self.answer_tokens, "--min-words": self.words[0]}  # type: ignore[dict-item]
        found += [
            f"{flag} {number} is below 1" for flag, number in numbers.items() if number is not None and number < 1
        ]
        found += [f"--below {self.below} is below 0"] if self.below < 0 else []
        if self.words[1] < self.words[0]:
            found.append(f"--max-words {self.words[1]} is below --min-words {self.words[0]}")
        if self.run is not None and not Path(self.run).is_file():
            found.append(f"--run {self.run}: no such file")
        if self.kind == "judged":
            try:
                _ = self.queries_file
            except GradirError as error:
                found.append(str(error))
        return found

    def config(self) -> dict[str, Any]:
        """What decides the result, for the manifest."""
        queries, judged = self.prompt.kind == "queries", self.kind == "judged"
        return {
            "prompt": self.prompt.digest,  # not its name: a recipe's prompt stands in each recipe's own folder
            "kind": self.kind,
            "min_grade": self.min_grade if queries and judged else None,
            "grades": None if queries else list(self.grades),
            "below": self.below if self.run is not None else None,
            "sentences": None if judged else [self.per_document, *self.words],
            "document_tokens": self.document_tokens,
            "answer_tokens": self.longest_answer,
            "tokenizer": self._identity(),
            "seed": self.seed,
        }

    def _identity(self) -> str | None:
        from gradir.llm.identity import model_identity

        return None if self.tokenizer is None else model_identity(self.tokenizer)

    def inputs(self) -> list[str | Path]:
        """The files read, for the manifest."""
        from gradir.data.corpus import corpus_files

        found: list[str | Path] = [self.qrels, *corpus_files(self.corpus)]
        if self.kind == "judged":
            queries = Path(self.queries_file) / "queries.jsonl"
            found.append(queries if queries.exists() else self.queries_file)
        return [*found, *([self.run] if self.run is not None else [])]
