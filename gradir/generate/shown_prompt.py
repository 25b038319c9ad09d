"""What the model sees, for people."""

from __future__ import annotations

from contextlib import nullcontext

from gradir.data.texts import Texts
from gradir.data.topics import read_topics
from gradir.errors import InputError
from gradir.generate.asking_arguments import Asking
from gradir.generate.prompts import SLOT
from gradir.generate.queries_job import documents, examples, language_slots
from gradir.generate.render import Fitter, Model, Ours, Rendered, as_text, render
from gradir.generate.wanted_queries import Wanted
from gradir.llm.tokenizer import Tokenizer


class _Uncut:
    """Stands in for a model where none is named: nothing is counted, and nothing cut."""

    context = 1 << 40

    def count(self, text: str) -> int:
        return 0

    def cut(self, text: str, tokens: int) -> str:
        return text


class _Cut:
    """A model's tokenizer; `prompt render` shows what `--document-tokens` leaves, whatever the context."""

    context = 1 << 40

    def __init__(self, model: str):
        self.tokenizer = Tokenizer(model)
        self.count, self.cut = self.tokenizer.count, self.tokenizer.cut


def shown(asking: Asking, wanted: Wanted, docid: str | None, topics: str | None, qid: str | None) -> str:
    """The text of a prompt with one document, one query, or both; slots that nothing fills stay as they are.

    Args:
        asking: The prompt; the model, or an empty name.
        wanted: The corpus, the examples, the language.
        docid: The document; None: the first that is drawn.
        topics: The queries, or None.
        qid: The query; None: the first.

    Raises:
        InputError: No such document or query.
    """
    model = _Cut(asking.llm.partition(":")[2]) if asking.llm else _Uncut()
    rendered = _rendered(model, asking, wanted, docid, _query(topics, qid))
    if isinstance(rendered, str) or isinstance(model, _Uncut):
        return as_text(rendered)
    return model.tokenizer.chat(rendered)


def _query(topics: str | None, qid: str | None) -> str | None:
    if topics is None:
        return None
    found = next((query.text for query in read_topics(topics) if qid in (None, query.qid)), None)
    if found is None:
        raise InputError(topics, f"holds no query {qid}", "Check the id")
    return found


def _rendered(model: Model, asking: Asking, wanted: Wanted, docid: str | None, query: str | None) -> Rendered:
    prompt = asking.prompt
    slots = {*prompt.slots, *SLOT.findall(prompt.example)} - set(prompt.values)
    values: dict[str, str] = {slot: Ours(f"{{{slot}}}") for slot in slots} | language_slots(wanted)
    if query is not None:
        values["query"] = query
    with Texts(wanted.corpus) if wanted.corpus else nullcontext() as texts:
        few = examples(model, asking, wanted, texts)
        if texts is not None:
            drawn = texts.document(docid) if docid else next(iter(documents(model, asking, wanted, texts, few)), None)
            if drawn is None:
                raise InputError(wanted.corpus, "all documents are blank", "Is it the right file?")
            values["document"] = drawn.contents
    if "document" not in values:
        return render(prompt, values, few.values)
    return Fitter(model, prompt, few.values, "document", 0, wanted.document_tokens).fit(values).prompt
