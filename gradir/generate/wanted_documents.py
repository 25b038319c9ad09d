"""What `gradir generate documents` is asked to write: its own arguments, checked."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradir.generate.asking_arguments import Asking
from gradir.generate.attributes import Attribute
from gradir.generate.documents_form import LEVELS
from gradir.generate.graded_texts import Plan
from gradir.generate.render import Model

if TYPE_CHECKING:
    from gradir.generate.graded_examples import GradedExample

_ENOUGH = 1536  # tokens of an answer, where neither flag nor prompt says


@dataclass(frozen=True)
class Wanted:
    """What shall be written, besides how the model is asked.

    Attributes:
        topics: Queries that documents are written for; None: queries are written for documents.
        qrels: Judgements that name those of the queries that are meant; None: all.
        documents: Those documents.
        one_by_one: One request for each grade.
        grades: In the order in which they are written.
        per_grade: Texts of each grade.
        limit: Most sources; None: all.
        attributes: Lists to draw from.
        examples: A JSON Lines file, or judgements; None: the prompt's own.
        corpus: The documents of the judgements.
        shots: How many examples.
        max_chars: Most characters of a text.
        structured: Hold answers to the JSON schema.
        attempts: How often a request is asked at most.
    """

    topics: str | None
    qrels: str | None
    documents: str | None
    one_by_one: bool
    grades: tuple[int, ...]
    per_grade: int
    limit: int | None
    attributes: tuple[Attribute, ...]
    examples: str | None
    corpus: str | None
    shots: int | None
    max_chars: int | None
    structured: bool
    attempts: int

    @property
    def slot(self) -> str:
        """The slot of what is written for."""
        return "query" if self.documents is None else "document"

    def problems(self, asking: Asking) -> list[str]:
        """What is wrong with the arguments, a line each."""
        from gradir.generate.graded_examples import is_file_of_examples

        found = []
        if (self.topics is None) == (self.documents is None):
            found.append("give one of --topics (documents for queries) and --from-documents (queries for documents)")
        if self.qrels is not None and self.topics is None:
            found.append("--qrels says which of the --topics are meant")
        wrong = [str(grade) for grade in self.grades if grade not in LEVELS]
        if wrong or len(set(self.grades)) < len(self.grades):
            found.append(f"--grades {' '.join(wrong) or 'names one twice'}: the grades are 3, 2, 1, 0, each once")
        numbers = {"--per-grade": self.per_grade, "--limit": self.limit, "--attempts": self.attempts}
        numbers |= {"--max-chars": self.max_chars, "--shots": self.shots}
        found += [
            f"{flag} {number} is below 1" for flag, number in numbers.items() if number is not None and number < 1
        ]
        if self.max_chars is not None and (self.one_by_one or not self.structured):
            found.append(
                "--max-chars is for all grades in one answer with a schema; elsewhere --max-tokens bounds a text"
            )
        if self.examples is None and (self.shots, self.corpus) != (None, None):
            found.append("--shots and --corpus are for --examples")
        elif self.examples and not is_file_of_examples(self.examples):
            if self.documents is not None:
                found.append("--examples for --from-documents is a JSON Lines file with document, grade_3, grade_2 …")
            elif self.corpus is None:
                found.append(f"--examples {self.examples} are judgements: give --corpus, where their documents are")
        elif self.examples and not Path(self.examples).is_file():
            found.append(f"--examples {self.examples}: no such file")
        return [*found, *self._prompt_problems(asking)]

    def _prompt_problems(self, asking: Asking) -> list[str]:
        prompt = asking.prompt
        found = []
        if self.slot not in prompt.slots:
            found.append(f"prompt '{prompt.name}' has no slot {{{self.slot}}}: it is for the other direction")
        if self.one_by_one and "grade" not in prompt.slots:
            found.append(f"prompt '{prompt.name}' has no slot {{grade}}, which --one-by-one needs")
        if not self.one_by_one and "names" not in prompt.slots:
            found.append(
                f"prompt '{prompt.name}' has no slot {{names}}, for all grades in one answer: give --one-by-one"
            )
        if self.examples and not prompt.example:
            found.append(f"prompt '{prompt.name}' does not say how an example is shown")
        return found

    def config(self) -> dict[str, Any]:
        """What of all this decides the result, for the manifest."""
        lists = json.dumps(self.attributes, ensure_ascii=False)
        return {
            "direction": "documents for queries" if self.slot == "query" else "queries for documents",
            "one_by_one": self.one_by_one,
            "grades": list(self.grades),
            "per_grade": self.per_grade,
            **({"qrels": True} if self.qrels is not None else {}),
            "limit": self.limit,
            "attributes": hashlib.sha256(lists.encode("utf-8", "surrogatepass")).hexdigest()[:16]
            if self.attributes
            else None,
            "examples": self.examples is not None,
            "shots": self.shots,
            "max_chars": self.max_chars,
            "structured": self.structured,
            "attempts": self.attempts,
        }

    def inputs(self) -> list[str | Path]:
        """The files read, for the manifest."""
        from gradir.data.corpus import corpus_files

        found: list[str | Path] = []
        if self.topics is not None:
            queries = Path(self.topics) / "queries.jsonl"
            found.append(queries if queries.exists() else self.topics)
        found += [self.qrels] if self.qrels is not None else []
        for corpus in (self.documents, self.corpus):
            found += corpus_files(corpus) if corpus is not None else []
        return [*found, *([self.examples] if self.examples else [])]

    @property
    def tests(self) -> Path | None:
        """Judgements of test queries that stand beside the queries, where nobody says which queries are meant."""
        if self.topics is None or self.qrels is not None:
            return None
        path = Path(self.topics)
        found = (path if path.is_dir() else path.parent) / "qrels" / "test.tsv"
        return found if found.is_file() else None

    def plan(self, asking: Asking, llm: Model) -> Plan:
        """What is asked for each source."""
        from gradir.generate.graded_examples import slots_of, sources_of

        examples = self._examples(asking)
        return Plan(
            asking.prompt,
            asking.sampling(temperature=1.0, max_tokens=_ENOUGH),
            self.slot,
            self.grades,
            self.per_grade,
            not self.one_by_one,
            self.attributes,
            None if examples is None else slots_of(examples, self.slot, self.grades, not self.one_by_one, llm.cut),
            asking.seed,
            self.max_chars,
            self.structured,
            self.attempts,
            sources_of(examples or []),
        )

    def _examples(self, asking: Asking) -> list[GradedExample] | None:
        from gradir.data.texts import Texts
        from gradir.generate import graded_examples as of

        if self.examples is None:
            return None
        shots, seed = self.shots or asking.prompt.shots, asking.seed
        if of.is_file_of_examples(self.examples):
            return of.given_examples(Path(self.examples), self.slot, self.grades, self.shots, seed)
        with Texts(str(self.corpus)) as texts:
            return of.judged_examples(self.examples, str(self.topics), texts, self.grades, shots, seed)
