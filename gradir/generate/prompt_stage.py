"""`gradir generate prompt list|show|render`: the prompts, and what the model sees."""

from __future__ import annotations

from pathlib import Path

from gradir.command import Outcome
from gradir.errors import GradirError
from gradir.generate.asking_arguments import Asking
from gradir.generate.prompts import Kind, Prompt, load, names, source
from gradir.generate.wanted_queries import Wanted


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
    examples: str | None = None,
    shots: int | None = None,
    language: str | None = None,
    document_tokens: int = 256,
    llm: str | None = None,
    seed: int = 13,
) -> Outcome:
    """What the model sees, to the letter: of one document, one query, or both.

    Of a chat the messages are shown below their roles; with --llm as the model's own template writes them, special
    tokens and all. Only with --llm is the document cut, which takes the model's tokenizer. A slot that nothing given here fills
    stays as it is.

    Args:
        name: Of a prompt, or a file.
        corpus: Where the document is.
        docid: Of the document (default: the first that gradir generate queries draws).
        topics: Where the query is; with --examples also the queries of the examples.
        qid: Of the query (default: the first).
        examples: As in gradir generate queries.
        shots: As in gradir generate queries.
        language: As in gradir generate queries.
        document_tokens: As in gradir generate queries.
        llm: hf:MODEL or vllm:MODEL.
        seed: Of what is drawn.
    """
    asking = Asking(llm or "", Path(), load(name), seed=seed)
    wanted = Wanted(
        corpus=corpus or "",
        documents=1,
        document_tokens=document_tokens,
        examples=examples,
        topics=topics if examples is not None else None,
        shots=shots,
        language=language,
    )
    problems = wanted.problems(asking) if asking.prompt.kind == "queries" else []
    given = {"--docid": (docid, corpus), "--examples": (examples, corpus), "--qid": (qid, topics)}
    needs = {"--docid": "--corpus", "--examples": "--corpus", "--qid": "--topics"}
    problems += [f"{flag} needs {needs[flag]}" for flag, (one, other) in given.items() if one and not other]
    if llm is not None and llm.partition(":")[0] not in ("hf", "vllm"):
        problems.append(f"--llm {llm}: only hf:MODEL and vllm:MODEL have a tokenizer here")
    if problems:
        raise GradirError("cannot render: " + "; ".join(problems))
    from gradir.generate.shown_prompt import shown

    return Outcome(text=shown(asking, wanted, docid, topics, qid))
