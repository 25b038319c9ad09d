"""Texts at grades for a text: documents for a query, or queries for a document. Asked for, read, checked, in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

from gradir.generate.asking_arguments import seed_of
from gradir.generate.attributes import Attribute, Value, draw, instruction
from gradir.generate.documents_form import LEVELS, check, folded, markers_of, name_of, parse_all, parse_one, schema
from gradir.generate.graded_tally import Tally
from gradir.generate.prompts import Prompt
from gradir.generate.render import Fitter, Ours
from gradir.llm.asking import Answer, ask_valid
from gradir.llm.records import Request, Sampling

if TYPE_CHECKING:
    from gradir.llm.client import LLM

_SEED_STEP = 1000  # from attempt to attempt, by `ask_valid`
Examples = Sequence[Mapping[str, str]]


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

    def asked(self, source: Source) -> Iterator[_Asked]:
        """What is asked for a source; grades of one draw of attributes stand next to each other, so that they share a prefix."""
        for number in range(self.per_grade):
            drawn = draw(self.attributes, self.seed, source.id, number)
            for grades in [self.grades] if self.together else [(grade,) for grade in self.grades]:
                seed = seed_of(self.seed, source.id, str(number), *([] if self.together else [str(grades[0])]))
                yield _Asked(source, grades, number, drawn, seed if self.sampling.temperature > 0 else None)

    def values(self, asked: _Asked) -> dict[str, str]:
        """What the slots hold."""
        values = {self.slot: asked.source.text, "attributes": instruction(self.attributes, asked.drawn) or "none"}
        if self.together:
            return {**values, "names": ", ".join(map(name_of, self.grades))}
        grade = asked.grades[0]
        return {**values, "grade": str(grade), "level": Ours(LEVELS[grade])}


class _Asked(NamedTuple):
    source: Source
    grades: tuple[int, ...]
    number: int
    drawn: Mapping[str, Value]
    seed: int | None


def written(plan: Plan, llm: LLM, sources: Iterable[Source], tally: Tally) -> Iterator[tuple[Source, list[Written]]]:
    """(source, its texts) of each source of which there is a text, in order; streamed.

    A text that equals that of its source, or one that was written for the same source before, is dropped; so is what no attempt
    brought to its form (`ask_valid`).

    Raises:
        GradirError: The engine is out of reach, or a prompt leaves no room for the source.
    """
    waiting: deque[_Asked] = deque()
    markers = markers_of(plan.prompt.example, plan.prompt.body)

    def parse(text: str) -> dict[int, str] | str:
        found = parse_all(text, plan.grades) if plan.together else parse_one(text)
        check(found.values() if isinstance(found, dict) else [found], markers)
        return found

    answers = ask_valid(llm, _requests(plan, llm, sources, waiting, tally), parse, plan.attempts)
    pairs = ((waiting.popleft(), answer) for answer in answers)
    for source, group in groupby(pairs, key=lambda pair: pair[0].source):
        seen = {folded(source.text): f"text of the {plan.slot}"}
        texts = [one for asked, answer in group for one in _texts(plan, asked, answer, seen, tally)]
        if texts:
            yield source, texts


def _requests(
    plan: Plan, llm: LLM, sources: Iterable[Source], waiting: deque[_Asked], tally: Tally
) -> Iterator[Request]:
    form = schema(plan.grades, plan.longest) if plan.together and plan.structured else None
    sampling = replace(plan.sampling, json_schema=form)
    fitter = _fitter(plan, llm, plan.examples)
    shown = plan.prompt.examples if plan.examples is None else plan.examples
    own = {folded(example.get(plan.slot, "")) for example in shown}
    for source in sources:
        tally.counts["sources"] += 1
        if not source.text.strip():
            tally.counts["sources_without_text"] += 1
            continue
        fit = fitter.fit
        if folded(source.text) in own:  # an example would hold the answer
            fit = _fitter(plan, llm, [one for one in shown if folded(one[plan.slot]) != folded(source.text)]).fit
        cut = False
        for asked in plan.asked(source):
            fitted = fit(plan.values(asked))
            cut = cut or fitted.cut
            waiting.append(asked)
            tally.counts["requests"] += 1
            yield Request(fitted.prompt, replace(sampling, seed=asked.seed))
        tally.counts["sources_cut"] += cut


def _fitter(plan: Plan, llm: LLM, examples: Examples | None) -> Fitter:
    return Fitter(llm, plan.prompt, examples, plan.slot, plan.sampling.max_tokens)


def _texts(
    plan: Plan, asked: _Asked, answer: Answer[dict[int, str] | str], seen: dict[str, str], tally: Tally
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
    texts = answer.value if isinstance(answer.value, dict) else {asked.grades[0]: answer.value}
    for grade, text in texts.items():
        if reason := seen.get(folded(text)):
            tally.dropped[reason] += 1
            continue
        seen[folded(text)] = "text that was written before"
        tally.counts["texts"] += 1
        tally.counts[name_of(grade)] += 1
        name = f"{grade}.{asked.number}" if plan.per_grade > 1 else str(grade)
        seed = None if asked.seed is None else asked.seed + _SEED_STEP * (answer.attempts - 1)
        yield Written(grade, name, text, asked.drawn, answer.attempts, finish, seed)
