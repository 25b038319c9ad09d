"""Documents in, requests to the model, its answers as queries, and the files that hold them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from gradir.data.jsonl import FORMAT, read_objects, write_objects
from gradir.data.manifest import Job
from gradir.data.qrels import write_qrels
from gradir.data.records import Document, Qrel, Query
from gradir.data.texts import Texts
from gradir.data.topics import write_topics
from gradir.errors import GradirError
from gradir.generate.asking_arguments import Asking, measured, seed_of
from gradir.generate.cleaning import Cleaner
from gradir.generate.examples import Example, read_examples
from gradir.generate.queries_tally import Tally, table
from gradir.generate.render import Fitted, Fitter, Model, Ours, as_data
from gradir.generate.sampling import Draw, strata
from gradir.generate.wanted_queries import Wanted
from gradir.generate.writing import new_output
from gradir.llm.records import Choice, Reply, Request

if TYPE_CHECKING:
    from gradir.llm.client import LLM

GRADE = 3  # of the document that a query was written for
_EXAMPLE_QUERY_TOKENS = 200  # as InPars
_DECIMALS = 6


class Shown(NamedTuple):
    """The examples that all requests show: slot -> text, and where they come from, if from anywhere."""

    values: list[dict[str, str]]
    sources: list[Example]


class Asked(NamedTuple):
    """What must be known of a request when its answer comes."""

    docid: str
    seed: int | None


def run(llm: LLM, asking: Asking, wanted: Wanted, job: Job) -> Tally:
    """Ask, write, finish the job.

    Raises:
        GradirError: The model is out of reach, no query was written, the prompt leaves no room for a document, or
            there is no room on the disk.
    """
    with Texts(wanted.corpus) as texts, new_output(asking) as folder:
        questions = Questions(llm, asking, wanted, texts)
        _write(folder, questions)
        tally = questions.tally
        if tally.failed and not tally.answers:
            raise GradirError(f"none of {tally.failed:,} requests was answered. The first: {tally.error}")
        if not tally.kept:
            raise GradirError(f"no query was written:\n{table(tally.counts(questions.draw))}")
        job.finish(tally.counts(questions.draw), measured(llm), folder)
    return tally


def _write(folder: Path, questions: Questions) -> None:
    """All files of the output; the others are made of the records, so that nothing waits in memory."""
    records = folder / "records.jsonl"
    write_objects(records, questions.records())
    write_topics(folder / "queries.jsonl", (Query(one["qid"], one["query"]) for _, one in read_objects(records)))
    judged = (Qrel(one["qid"], one["docid"], GRADE) for _, one in read_objects(records))
    write_qrels(folder / "qrels" / "train.tsv", judged)
    sources = [Qrel(one.qid, one.docid, one.grade) for one in questions.shown.sources if one.qid and one.docid]
    if sources:
        write_qrels(folder / "examples.tsv", sources)


class Questions:
    """A request for each document of a draw, and the records of what is answered.

    Args:
        llm: Whom to ask.
        asking: The prompt, and how answers are drawn.
        wanted: What is asked for.
        texts: The corpus.

    Attributes:
        shown: The examples.
        draw: The documents.
        tally: The counts.
    """

    def __init__(self, llm: LLM, asking: Asking, wanted: Wanted, texts: Texts):
        self._llm, self._asking, self._per_document = llm, asking, wanted.per_document
        self._sampling = wanted.sampling(asking)
        self._cleaner = Cleaner(asking.prompt)
        self.shown = examples(llm, asking, wanted, texts)
        self.draw = documents(llm, asking, wanted, texts, self.shown)
        self.tally = Tally(len(texts), len(self.shown.values))
        self._prompts = Prompts(llm, asking, wanted, self.shown)
        self._waiting: deque[Asked] = deque()  # between a request and its answer, in order

    def records(self) -> Iterator[dict[str, Any]]:
        """Ask all, and give a record of each query, in the order of the draw."""
        for reply in self._llm.ask(self._requests()):
            asked = self._waiting.popleft()
            if reply.error is None:
                yield from self._of(asked, reply)
            else:
                self.tally.fail(f"document {asked.docid}: {reply.error}")

    def _requests(self) -> Iterator[Request]:
        for document in self.draw:
            fitted = self._prompts.of(document)
            self.tally.truncated += fitted.cut
            seed = seed_of(self._asking.seed, document.docid) if self._sampling.temperature > 0 else None
            self._waiting.append(Asked(document.docid, seed))
            yield Request(fitted.prompt, replace(self._sampling, seed=seed))

    def _of(self, asked: Asked, reply: Reply) -> Iterator[dict[str, Any]]:
        """The records of a document's answers that are queries."""
        seen: set[str] = set()
        for number, choice in enumerate(reply.choices):
            text, reason = self._cleaner.clean(choice.text)
            key = text.casefold().rstrip("?!. ")
            if reason is None and key in seen:
                reason = "duplicate"
            self.tally.answer(reason, choice.finish == "length")
            if reason is None:
                seen.add(key)
                yield self._record(asked, number, text, choice)

    def _record(self, asked: Asked, number: int, query: str, choice: Choice) -> dict[str, Any]:
        log_probs = query_log_probs(choice)
        return {
            "format": FORMAT,
            "qid": f"{asked.docid}-q{number + 1}",
            "docid": asked.docid,
            "query": query,
            "log_probs": log_probs,
            "mean_log_prob": round(sum(log_probs) / len(log_probs), _DECIMALS) if log_probs else None,
            "finish": choice.finish,
            "prompt": self._asking.prompt.name,
            "model": self._llm.model,
            "seed": None if asked.seed is None else asked.seed + number,
            "examples": [one.qid for one in self.shown.sources if one.qid],
        }


class Prompts:
    """The prompts of documents, each of which fits the context.

    Args:
        llm: Counts and cuts.
        asking: The prompt.
        wanted: Tokens of a document, the language.
        shown: The examples.
    """

    def __init__(self, llm: Model, asking: Asking, wanted: Wanted, shown: Shown):
        most = wanted.sampling(asking).max_tokens
        self._fitter = Fitter(llm, asking.prompt, shown.values, "document", most, wanted.document_tokens)
        self._values = language_slots(wanted)

    def of(self, document: Document) -> Fitted:
        """The prompt of a document."""
        return self._fitter.fit({**self._values, "document": document.contents})


def query_log_probs(choice: Choice) -> list[float] | None:
    """The log-probabilities of a query's tokens.

    That of the token which ended the answer is not among them, as in InPars; unless it is the only one, and so is the query.
    """
    if choice.logprobs is None:
        return None
    tokens = len(choice.logprobs) - (choice.finish == "stop")
    return [round(one, _DECIMALS) for one in choice.logprobs[: max(tokens, 1)]]


def examples(llm: Model, asking: Asking, wanted: Wanted, texts: Texts | None) -> Shown:
    """The examples that all requests show.

    Raises:
        InputError: There are fewer than asked for.
    """
    number = wanted.number_of_examples(asking)
    if wanted.examples is None or texts is None:
        language = {"in_language": Ours(" in English" if wanted.language else "")}  # ours are
        return Shown([{**language, **one} for one in asking.prompt.examples[:number]], [])
    found = read_examples(wanted.examples, texts, wanted.topics, number, asking.seed) if number else []
    most = {"document": wanted.document_tokens, "query": _EXAMPLE_QUERY_TOKENS}
    return Shown([_shortened(llm, one.values, most) for one in found], found)


def _shortened(llm: Model, values: Mapping[str, str], most: Mapping[str, int]) -> dict[str, str]:
    return {slot: llm.cut(as_data(text), most[slot]) if slot in most else text for slot, text in values.items()}


def documents(llm: Model, asking: Asking, wanted: Wanted, texts: Texts, shown: Shown) -> Draw:
    """The documents that are asked about."""
    layers = strata(texts, wanted.corpus, wanted.stratify) if wanted.stratify else None
    docids = [one.docid for one in shown.sources]
    return Draw(texts, wanted.documents, asking.seed, partial(wanted.bounds.reason, count=llm.count), docids, layers)


def language_slots(wanted: Wanted) -> dict[str, str]:
    """The slots that say the language of the queries."""
    if wanted.language is None:
        return {"in_language": ""}
    return {"language": wanted.language, "in_language": Ours(f" in {as_data(wanted.language)}")}
