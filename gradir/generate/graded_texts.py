"""Texts at grades for a text: documents for a query, or queries for a document. Asked for, read, checked, in order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

from gradir.generate.asking_arguments import seed_of
from gradir.generate.attributes import Attribute, Value, draw, instruction
from gradir.generate.cleaning import Cleaner
from gradir.generate.documents_form import LEVELS, check, folded, markers_of, name_of, parse_all, parse_one, schema
from gradir.generate.graded_tally import Tally
from gradir.generate.prompts import Prompt
from gradir.generate.render import Fitted, Fitter, Model, Ours
from gradir.llm.asking import NOTE_TOKENS, Answer, Unusable, ask_valid, attempt_seed
from gradir.llm.records import Choice, Request, Sampling

if TYPE_CHECKING:
    from gradir.data.records import Qrel
    from gradir.llm.client import LLM

Examples = Sequence[Mapping[str, str]]
_SAID = {  # what is wrong with a query, in the words of `documents_form.check`
    "broken": "broken characters",
    "marker": "marker of the prompt",
    "repetition": "endless repetition",
}


class Source(NamedTuple):
    """What is written for: a query or a document."""

    id: str
    text: str


class Written(NamedTuple):
    """A text that was written.

    Attributes:
        grade: Its grade.
        name: The grade, where there are several texts of it with a number from 0: `3.1`.
        text: The text.
        attributes: What was drawn for it.
        attempts: How often the model was asked.
        finish: How the answer ended: `stop` or `length`.
        seed: Of the answer; None at temperature 0.
    """

    grade: int
    name: str
    text: str
    attributes: Mapping[str, Value]
    attempts: int
    finish: str
    seed: int | None

    def record(self, prompt: str, model: str) -> dict[str, Any]:
        """What records.jsonl says of it, besides ids and grade."""
        how = {"attributes": dict(self.attributes), "attempts": self.attempts, "finish": self.finish}
        return {**how, "prompt": prompt, "model": model, "seed": self.seed}


@dataclass(frozen=True)
class Plan:
    """What is asked for each source.

    Attributes:
        prompt: The prompt.
        sampling: How answers are drawn, without what differs from request to request.
        slot: The slot of the source's text: `query` or `document`.
        grades: In the order in which they are asked for.
        per_grade: Texts of each grade.
        together: All grades in one answer; else one request for each.
        attributes: Lists to draw from.
        examples: Shown in the prompt; None: its own.
        seed: Of all draws.
        longest: Most characters of a text; only where answers are `together`.
        structured: Have the engine hold answers to the JSON schema.
        attempts: How often a request is asked at most.
        shown: The judged pairs among the examples.
    """

    prompt: Prompt
    sampling: Sampling
    slot: str
    grades: tuple[int, ...]
    per_grade: int
    together: bool
    attributes: tuple[Attribute, ...]
    examples: Examples | None
    seed: int
    longest: int | None = None
    structured: bool = True
    attempts: int = 3
    shown: tuple[Qrel, ...] = ()

    def asked(self, source: Source) -> Iterator[Asked]:
        """What is asked for a source; grades of one draw of attributes stand next to each other, so that they share a prefix."""
        for number in range(self.per_grade):
            drawn = draw(self.attributes, self.seed, source.id, number)
            for grades in [self.grades] if self.together else [(grade,) for grade in self.grades]:
                seed = seed_of(self.seed, source.id, str(number), *([] if self.together else [str(grades[0])]))
                yield Asked(source, grades, number, drawn, seed if self.sampling.temperature > 0 else None)

    def values(self, asked: Asked) -> dict[str, str]:
        """What the slots hold."""
        values = {self.slot: asked.source.text, "attributes": instruction(self.attributes, asked.drawn) or "none"}
        if self.together:
            return {**values, "names": ", ".join(map(name_of, self.grades))}
        grade = asked.grades[0]
        return {**values, "grade": str(grade), "level": Ours(LEVELS[grade])}


class Asked(NamedTuple):
    """What one request asks for: texts at `grades`; `number` counts the texts of each grade, `drawn` are attributes."""

    source: Source
    grades: tuple[int, ...]
    number: int
    drawn: Mapping[str, Value]
    seed: int | None


class Prompts:
    """The prompts of a plan, each of which fits the context. No source is shown itself as an example, which would hold the answer.

    Args:
        plan: What is asked.
        llm: Counts and cuts.
    """

    def __init__(self, plan: Plan, llm: Model):
        self._plan, self._llm = plan, llm
        self._shown = plan.prompt.examples if plan.examples is None else plan.examples
        self._own = {folded(example.get(plan.slot, "")) for example in self._shown}
        self._fitter = self._with(plan.examples)

    def of(self, asked: Asked) -> Fitted:
        """The prompt of what is asked."""
        fitter, own = self._fitter, folded(asked.source.text)
        if own in self._own:
            fitter = self._with([one for one in self._shown if folded(one[self._plan.slot]) != own])
        return fitter.fit(self._plan.values(asked))

    def _with(self, examples: Examples | None) -> Fitter:
        sampling = self._plan.sampling
        spare = NOTE_TOKENS if sampling.temperature == 0 else 0
        return Fitter(self._llm, self._plan.prompt, examples, self._plan.slot, sampling.max_tokens + spare)


def written(plan: Plan, llm: LLM, sources: Iterable[Source], tally: Tally) -> Iterator[tuple[Source, list[Written]]]:
    """(source, its texts) of each source of which there is a text, in order; streamed.

    What is unusable is asked for again (`ask_valid`), and dropped where it stays so; in an answer with all grades a text that
    equals its source is dropped alone. Dropped is also what was written for the same source before.

    Raises:
        GradirError: The engine is out of reach, or a prompt leaves no room for the source.
    """
    read = Reader(plan)
    answers = ask_valid(llm, _requests(plan, llm, sources, tally), read, plan.attempts)
    for source, group in groupby(answers, key=lambda pair: pair[0].source):
        seen = {folded(source.text): _of_the_source(plan)}
        texts = [one for asked, answer in group for one in _texts(plan, asked, answer, seen, tally)]
        if texts:
            yield source, texts


class Reader:
    """Reads answers: {grade: text}. What is written for a document is a query, one line.

    Args:
        plan: What was asked.
    """

    def __init__(self, plan: Plan):
        self._plan = plan
        self._markers = markers_of(plan.prompt.example, plan.prompt.body)
        self._cleaner = Cleaner(plan.prompt) if plan.slot == "document" else None

    def __call__(self, asked: Asked, choice: Choice) -> dict[int, str]:
        """The texts of an answer.

        Raises:
            Unusable: They have not the form, or are no texts; with the texts if all that is wrong is that one is the source's.
        """
        if self._plan.together:
            found = parse_all(choice.text, asked.grades)
        else:
            found = {asked.grades[0]: choice.text if self._cleaner else parse_one(choice.text)}
        if self._cleaner:
            found = {grade: self._query(self._cleaner, text) for grade, text in found.items()}
        check(found.values(), self._markers)
        if folded(asked.source.text) in map(folded, found.values()):
            raise Unusable(_of_the_source(self._plan), found)
        return found

    @staticmethod
    def _query(cleaner: Cleaner, text: str) -> str:
        cleaned = cleaner.clean(text)
        if cleaned.reason is not None:
            raise Unusable(_SAID.get(cleaned.reason, cleaned.reason))
        return cleaned.text


def _of_the_source(plan: Plan) -> str:
    return f"text of the {plan.slot}"


def _requests(plan: Plan, llm: LLM, sources: Iterable[Source], tally: Tally) -> Iterator[tuple[Asked, Request]]:
    form = schema(plan.grades, plan.longest) if plan.together and plan.structured else None
    sampling, prompts = replace(plan.sampling, json_schema=form), Prompts(plan, llm)
    for source in sources:
        tally.counts["sources"] += 1
        if not source.text.strip():
            tally.counts["sources_without_text"] += 1
            continue
        cut = False
        for asked in plan.asked(source):
            fitted = prompts.of(asked)
            cut = cut or fitted.cut
            tally.counts["requests"] += 1
            yield asked, Request(fitted.prompt, replace(sampling, seed=asked.seed))
        tally.counts["sources_cut"] += cut


def _texts(
    plan: Plan, asked: Asked, answer: Answer[dict[int, str]], seen: dict[str, str], tally: Tally
) -> Iterator[Written]:
    """The texts of an answer that are new."""
    tally.counts["asked_again"] += answer.attempts > 1
    finish = answer.reply.choices[0].finish if answer.reply.choices else ""
    tally.counts["cut_off"] += finish == "length"
    if answer.value is None:
        if answer.reply.error is not None:
            tally.error = tally.error or answer.reply.error
            tally.counts["not_answered"] += 1
        tally.dropped["not answered" if answer.reply.error is not None else str(answer.reason)] += len(asked.grades)
        return
    for grade, text in answer.value.items():
        if reason := seen.get(folded(text)):
            tally.dropped[reason] += 1
            continue
        seen[folded(text)] = "text that was written before"
        tally.counts["texts"] += 1
        tally.counts[name_of(grade)] += 1
        name = f"{grade}.{asked.number}" if plan.per_grade > 1 else str(grade)
        seed = None if asked.seed is None else attempt_seed(asked.seed, answer.attempts - 1)
        yield Written(grade, name, text, asked.drawn, answer.attempts, finish, seed)
