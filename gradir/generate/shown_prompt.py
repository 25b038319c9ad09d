"""What the model sees, for people: the prompt of one request, made by the code that asks."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass

from gradir.data.texts import Texts
from gradir.data.topics import read_topics
from gradir.errors import InputError
from gradir.generate import wanted_documents, wanted_queries
from gradir.generate.asking_arguments import Asking
from gradir.generate.graded_queries import sources
from gradir.generate.graded_texts import Prompts, Source
from gradir.generate.judgements_job import Prompts as PairPrompts
from gradir.generate.prompts import SLOT
from gradir.generate.queries_job import documents, examples, language_slots
from gradir.generate.render import Fitter, Model, Ours, Rendered, as_text, render
from gradir.llm.hf_engine import HFEngine, Settings
from gradir.llm.tokenizer import Tokenizer


class _Uncut:
    """Stands in for a model where none is named: nothing is counted, and nothing cut."""

    context = 1 << 40

    def count(self, text: str) -> int:
        return 0

    def cut(self, text: str, tokens: int) -> str:
        return text


@dataclass(frozen=True)
class Shown:
    """What is to be shown; arguments of `gradir.generate.prompt_stage.render`.

    Attributes:
        asking: The prompt; the model, or an empty name.
        corpus: The documents, or None.
        docid: Of the document.
        topics: The queries, or None.
        qid: Of the query.
        document_tokens: A document is cut after so many tokens.
        context: Tokens; None: of the model.
    """

    asking: Asking
    corpus: str | None = None
    docid: str | None = None
    topics: str | None = None
    qid: str | None = None
    document_tokens: int | None = None
    context: int | None = None

    def of_queries(self, wanted: wanted_queries.Wanted) -> str:
        """The prompt of `gradir generate queries`."""
        model, prompt = self._model(), self.asking.prompt
        slots = {*prompt.slots, *SLOT.findall(prompt.example)} - set(prompt.values)
        values: dict[str, str] = {slot: Ours(f"{{{slot}}}") for slot in slots} | language_slots(wanted)
        with Texts(wanted.corpus) if wanted.corpus else nullcontext() as texts:
            few = examples(model, self.asking, wanted, texts)
            if texts is None:
                return self._text(render(prompt, values, few.values))
            drawn = (
                texts.document(self.docid)
                if self.docid
                else next(iter(documents(model, self.asking, wanted, texts, few)), None)
            )
        if drawn is None:
            raise _blank(wanted.corpus)
        most = wanted.sampling(self.asking).max_tokens
        fitter = Fitter(model, prompt, few.values, "document", most, wanted.document_tokens)
        return self._text(fitter.fit({**values, "document": drawn.contents}).prompt)

    def of_documents(self, wanted: wanted_documents.Wanted) -> str:
        """The first prompt of `gradir generate documents` for a source."""
        model = self._model()
        plan = wanted.plan(self.asking, model)
        source = self._query() if wanted.slot == "query" else self._document()
        return self._text(Prompts(plan, model).of(next(plan.asked(source))).prompt)

    def of_judgements(self) -> str:
        """The prompt of `gradir generate judgements`."""
        prompts = PairPrompts(self._model(), self.asking, self.document_tokens)
        return self._text(prompts.of(self._query().text, self._document().text).prompt)

    def _query(self) -> Source:
        """The query, or its slot."""
        if self.topics is None:
            return Source("", "{query}")
        found = next((query for query in read_topics(self.topics) if self.qid in (None, query.qid)), None)
        if found is None:
            raise InputError(
                self.topics, f"holds no query {self.qid}" if self.qid else "holds no query", "Check the id"
            )
        return Source(found.qid, found.text)

    def _document(self) -> Source:
        """The document, by default the first of the corpus that is not blank; or its slot."""
        if self.corpus is None:
            return Source("", "{document}")
        with Texts(self.corpus) as texts:
            if self.docid is not None:
                return Source(self.docid, texts.document(self.docid).contents)
            found = next(sources(texts, None, self.asking.seed), None)
        if found is None:
            raise _blank(self.corpus)
        return found

    def _model(self) -> Model:
        """What counts and cuts: the model's tokenizer, without its weights."""
        if not self.asking.llm:
            return _Uncut()
        return HFEngine(self._name, Settings(context=self.context))

    def _text(self, rendered: Rendered) -> str:
        if isinstance(rendered, str) or not self.asking.llm:
            return as_text(rendered)
        return Tokenizer(self._name).chat(rendered)

    @property
    def _name(self) -> str:
        return self.asking.llm.partition(":")[2]


def _blank(corpus: str) -> InputError:
    return InputError(corpus, "all documents are blank", "Is it the right file?")
