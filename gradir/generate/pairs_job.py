"""Judgements in, prompts with their answers out: the work of `gradir generate pairs`."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gradir.data.jsonl import write_objects
from gradir.data.list_order import salt
from gradir.data.qrels import read_qrels
from gradir.data.records import Document
from gradir.data.runs import iter_run
from gradir.data.texts import Texts
from gradir.data.topics import read_topics
from gradir.errors import InputError
from gradir.generate.asking_arguments import Asking
from gradir.generate.copied_pairs import drawn_sentences, sentence_answers, sentence_ends, word_answers
from gradir.generate.graded_texts import Plan, Source
from gradir.generate.queries_job import Prompts, examples
from gradir.generate.render import Fitter, Model, as_data
from gradir.generate.wanted_pairs import Wanted
from gradir.generate.wanted_queries import Wanted as WantedQueries
from gradir.generate.written_pairs import Pair
from gradir.llm.records import Sampling

if TYPE_CHECKING:
    from gradir.data.manifest import Job

_WORD = re.compile(r"\S+")

Judged = Mapping[str, Mapping[str, int]]


class Words:
    """Counts words where no tokenizer is named; the context is without end."""

    context = 1 << 40

    def count(self, text: str) -> int:
        """Words, as white space divides them."""
        return len(text.split())

    def cut(self, text: str, tokens: int) -> str:
        """The first words."""
        for number, word in enumerate(_WORD.finditer(text)):
            if number == tokens:
                return text[: word.start()].rstrip()
        return text


class _Tokens:
    """Counts the tokens of a model; the context is without end, since it is the reader who cuts a pair to it."""

    context = 1 << 40

    def __init__(self, model: str):
        from gradir.llm.tokenizer import Tokenizer

        tokenizer = Tokenizer(model)
        self.count, self.cut = tokenizer.count, tokenizer.cut


def run(wanted: Wanted, job: Job) -> Counter[str]:
    """Write the file; returns its counts.

    Raises:
        InputError: There is nothing to write: no pair has the grades asked for, or no document a text.
    """
    model: Model = Words() if wanted.tokenizer is None else _Tokens(wanted.tokenizer)
    judged, counts = read_qrels(wanted.qrels), Counter[str](pairs=0)
    with Texts(wanted.corpus) as texts:
        made = _pairs(wanted, model, judged, texts, counts)
        write_objects(job.output, (one.record() for one in _counted(made, counts)))
    if not counts["pairs"]:
        job.output.unlink()
        raise InputError(wanted.qrels, "nothing to learn from: no pair has the grades asked for, or no document a text",
                         "Look at --min-grade, --grades and --corpus")  # fmt: skip
    job.finish(dict(counts))
    return counts


def _pairs(wanted: Wanted, model: Model, judged: Judged, texts: Texts, counts: Counter[str]) -> Iterator[Pair]:
    def documents() -> Iterator[Document]:
        ids = dict.fromkeys(docid for of in judged.values() for docid in of)
        return filter(None, (_text(texts, docid, counts) for docid in ids))

    if wanted.prompt.kind == "documents":
        if wanted.kind == "sentence":
            return _documents_of_sentences(wanted, model, documents, texts, counts)
        return _documents(wanted, model, judged, texts, counts)
    prompts = _prompts(wanted, model, texts)
    if wanted.kind == "sentence":
        return sentence_answers(wanted, model, prompts, documents(), counts)
    if wanted.kind == "words":
        return word_answers(wanted, prompts, documents())
    return _queries(wanted, model, prompts, judged, texts, counts)


def _counted(pairs: Iterator[Pair], counts: Counter[str]) -> Iterator[Pair]:
    for pair in pairs:
        counts["pairs"] += 1
        counts["documents_cut"] += pair.prompt.cut
        if pair.grade is not None:
            counts[f"grade_{pair.grade}"] += 1
        yield pair


def _prompts(wanted: Wanted, model: Model, texts: Texts) -> Prompts:
    """What `gradir generate queries` renders with."""
    asking = Asking("", Path(), wanted.prompt, max_tokens=wanted.longest_answer)
    queries = WantedQueries(wanted.corpus, document_tokens=wanted.document_tokens)
    return Prompts(model, asking, queries, examples(model, asking, queries, texts))


def _queries(
    wanted: Wanted, model: Model, prompts: Prompts, judged: Judged, texts: Texts, counts: Counter[str]
) -> Iterator[Pair]:
    """Documents, and the queries that they are relevant to."""
    for query in read_topics(wanted.queries_file):
        for docid, grade in judged.get(query.qid, {}).items():
            document = _text(texts, docid, counts) if grade >= wanted.min_grade else None
            answer = model.cut(as_data(query.text), wanted.longest_answer)
            if document and answer:
                yield Pair(prompts.of(document), answer, query.qid, docid, grade)


def _documents(wanted: Wanted, model: Model, judged: Judged, texts: Texts, counts: Counter[str]) -> Iterator[Pair]:
    """Queries with a grade, and the documents that are judged so."""
    plan = Plan(wanted.prompt, Sampling(), "query", wanted.grades, 1, False, (), None, wanted.seed)
    fitter = Fitter(model, wanted.prompt, None, "query", wanted.longest_answer)  # as `gradir generate documents`
    irrelevant = Irrelevant(wanted, judged)
    for qid, query in read_topics(wanted.queries_file):
        if not as_data(query) or qid not in judged:
            continue
        of = judged[qid]
        for asked in plan.asked(Source(qid, query)):
            grade = asked.grades[0]
            docids = [docid for docid, known in of.items() if known == grade]
            prompt = fitter.fit(plan.values(asked))
            for docid in docids or ([] if grade else irrelevant.of(qid)):
                document = _text(texts, docid, counts)
                if document:
                    answer = _answer(model, as_data(document.contents), wanted.longest_answer)
                    yield Pair(prompt, answer, qid, docid, grade)


def _documents_of_sentences(
    wanted: Wanted, model: Model, documents: Callable[[], Iterator[Document]], texts: Texts, counts: Counter[str]
) -> Iterator[Pair]:
    """Sentences of documents as queries. Grade 3: their document from there on; 2: what follows in it; 0: another document.

    A text that begins with its query is what a model that copies learns soonest.
    """
    plan = Plan(wanted.prompt, Sampling(), "query", wanted.grades, 1, False, (), None, wanted.seed)
    fitter = Fitter(model, wanted.prompt, None, "query", wanted.longest_answer)
    irrelevant = Irrelevant(wanted, {document.docid: {document.docid: 3} for document in documents()})
    for document in documents():
        whole = as_data(document.contents)
        for sentence in drawn_sentences(wanted, model, document, counts):
            _, found, after = whole.partition(sentence)
            answers = {3: (document.docid, found + after), 2: (document.docid, after.strip())}
            for docid in irrelevant.of(document.docid):
                answers[0] = (docid, as_data(texts.contents(docid)))
            for asked in plan.asked(Source(document.docid, sentence)):
                docid, text = answers.get(asked.grades[0], ("", ""))
                if len(text.split()) >= wanted.words[0]:
                    prompt = fitter.fit(plan.values(asked))
                    yield Pair(prompt, _answer(model, text, wanted.longest_answer), "", docid, asked.grades[0])


def _answer(model: Model, whole: str, tokens: int) -> str:
    """A text on one line as an answer: what is too long ends with its last whole sentence, if that is past the half."""
    text = model.cut(whole, tokens).rstrip()
    if len(text) < len(whole):
        ends = sentence_ends(text)
        text = text[: ends[-1]] if ends and ends[-1] > len(text) // 2 else text
    return text


def _text(texts: Texts, docid: str, counts: Counter[str]) -> Document | None:
    """A document; None, counted, where the corpus has none or it is blank."""
    if docid in texts and as_data(texts.contents(docid)):
        return texts.document(docid)
    counts["documents_without_text"] += 1
    return None


class Irrelevant:
    """A document of grade 0 for each query: one that is judged, but not for this query.

    Args:
        wanted: The run and the rank beyond which it decides; the seed.
        judged: The judgements.
    """

    def __init__(self, wanted: Wanted, judged: Judged):
        self._seed, self._judged = wanted.seed, judged
        self._pool = sorted({docid for of in judged.values() for docid in of})
        self._low = self._from_run(wanted.run, wanted.below) if wanted.run is not None else {}

    def of(self, qid: str) -> Sequence[str]:
        """Its id; nothing if all documents are judged for the query."""
        if qid in self._low:
            return [self._low[qid]]
        first = salt(self._seed, "irrelevant", qid) % len(self._pool)
        places = (self._pool[(first + i) % len(self._pool)] for i in range(len(self._pool)))
        return [docid for docid in [next((one for one in places if one not in self._judged[qid]), None)] if docid]

    def _from_run(self, run: Path, below: int) -> dict[str, str]:
        """Query -> a document, as far as the run has one."""
        known, found = set(self._pool), {}
        for qid, hits in iter_run(run):
            if qid in self._judged:
                low = [hit.docid for hit in hits[below:] if hit.docid in known and hit.docid not in self._judged[qid]]
                if low:
                    found[qid] = min(low, key=lambda docid: salt(self._seed, "irrelevant", qid, docid))
        return found
