"""`gradir generate prompt list|show|render`: the prompts, and what the model sees."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from gradir.command import Outcome
from gradir.errors import GradirError
from gradir.generate.asking_arguments import Asking
from gradir.generate.documents_stage import GRADES
from gradir.generate.prompts import Kind, Prompt, load, names, source
from gradir.generate.wanted_documents import Wanted as WantedDocuments
from gradir.generate.wanted_queries import Wanted as WantedQueries


def list_(kind: Kind | None = None) -> Outcome:
    """All prompts: name, kind, how the model is asked, what it is asked for.

    Args:
        kind: Only prompts of this kind.
    """
    found = [load(name) for name in names(kind)]
    width = max(len(prompt.name) for prompt in found) + 2
    return Outcome(text="\n".join(f"{one.name:<{width}}{one.kind:<12}{one.mode:<12}{_about(one)}" for one in found))


def _about(prompt: Prompt) -> str:
    return prompt.about + (f" [arXiv {prompt.paper}]" if prompt.paper else "")


def show(name: str) -> Outcome:
    """A prompt's file. Written to a file of one's own and changed, it is another prompt: --prompt FILE.yaml

    Args:
        name: Of a prompt, or a file.
    """
    return Outcome(text=source(name)[1].rstrip())


def render(
    name: str,
    corpus: str | None = None,
    docid: str | None = None,
    topics: str | None = None,
    qid: str | None = None,
    grades: list[int] | None = None,
    attributes: str | None = None,
    examples: str | None = None,
    shots: int | None = None,
    language: str | None = None,
    chat: bool = False,
    document_tokens: int | None = None,
    max_tokens: int | None = None,
    llm: str | None = None,
    context: int | None = None,
    seed: int = 13,
) -> Outcome:
    """What the model sees, to the letter: the prompt that gradir generate makes of the same document, query, flags and seed.

    Of a chat the messages are shown below their roles; with --llm as the model's own template writes them, special
    tokens and all. Only with --llm are documents cut, which takes the model's tokenizer. Where neither --corpus nor --topics
    say what stands in a slot, the slot is shown.

    Args:
        name: Of a prompt, or a file.
        corpus: Where the document is; with --examples also the documents of the examples.
        docid: Of the document (default: the first that gradir generate queries draws; of other prompts the first).
        topics: Where the query is; with --examples also the queries of the examples.
        qid: Of the query (default: the first).
        grades: As in gradir generate documents; of prompts for one grade the first of them is asked for (default: 3 2 1 0).
        attributes: As in gradir generate documents.
        examples: As in gradir generate queries and documents.
        shots: As in gradir generate queries and documents.
        language: As in gradir generate queries.
        chat: As in gradir generate queries.
        document_tokens: As in gradir generate queries (default: 256) and judgements (default: where the context ends).
        max_tokens: Of the answer, for which room is left.
        llm: hf:MODEL or vllm:MODEL.
        context: Tokens of prompt and answer (default: the model's).
        seed: Of what is drawn.
    """
    prompt = load(name)
    asking = Asking(
        llm or "", Path(), replace(prompt, mode="chat") if chat else prompt, max_tokens=max_tokens, seed=seed
    )
    given = {"--docid": (docid, corpus), "--qid": (qid, topics)}
    needs = {"--docid": "--corpus", "--qid": "--topics"}
    problems = [f"{flag} needs {needs[flag]}" for flag, (one, other) in given.items() if one and not other]
    if llm is not None and llm.partition(":")[0] not in ("hf", "vllm"):
        problems.append(f"--llm {llm}: only hf:MODEL and vllm:MODEL have a tokenizer here")
    others: dict[str, object] = {"language": language, "chat": chat or None, "grades": grades, "attributes": attributes}
    others |= {"examples": examples, "shots": shots, "document_tokens": document_tokens}
    problems += [
        f"--{flag.replace('_', '-')} is not for {prompt.kind}"
        for flag, value in others.items()
        if value is not None and flag not in _FLAGS[prompt.kind]
    ]
    if prompt.kind == "queries":
        queries = WantedQueries(
            corpus=corpus or "",
            documents=1,
            document_tokens=256 if document_tokens is None else document_tokens,
            examples=examples,
            topics=topics if examples is not None else None,
            shots=shots,
            language=language,
        )
        problems += queries.problems(asking)
        problems += ["--examples needs --corpus"] if examples and not corpus else []
    elif prompt.kind == "documents":
        graded = _graded(prompt, topics, corpus, grades, attributes, examples, shots)
        problems += graded.problems(asking)
        problems += ["--examples needs --topics"] if examples and graded.slot == "query" and not topics else []
    if problems:
        raise GradirError("cannot render: " + "; ".join(problems))
    from gradir.generate.shown_prompt import Shown

    shown = Shown(asking, corpus, docid, topics, qid, document_tokens, context)
    if prompt.kind == "queries":
        return Outcome(text=shown.of_queries(queries))
    return Outcome(text=shown.of_judgements() if prompt.kind == "judgements" else shown.of_documents(graded))


_FLAGS = {
    "queries": ("language", "chat", "examples", "shots", "document_tokens"),
    "documents": ("grades", "attributes", "examples", "shots"),
    "judgements": ("document_tokens",),
}


def _graded(
    prompt: Prompt,
    topics: str | None,
    corpus: str | None,
    grades: list[int] | None,
    attributes: str | None,
    examples: str | None,
    shots: int | None,
) -> WantedDocuments:
    """What `gradir generate documents` would be asked for."""
    from gradir.generate.attributes import attributes_of

    for_query = "query" in prompt.slots
    return WantedDocuments(
        topics=(topics or "") if for_query else None,
        qrels=None,
        documents=None if for_query else (corpus or ""),
        one_by_one="names" not in prompt.slots,
        grades=tuple(grades or GRADES),
        per_grade=1,
        limit=None,
        attributes=attributes_of(attributes, "documents" if for_query else "queries"),
        examples=examples,
        corpus=corpus if for_query else None,
        shots=shots,
        max_chars=None,
        structured=True,
        attempts=1,
    )
