"""`gradir generate queries`: an LLM writes queries for documents of a corpus (InPars, and Promptagator's prompts)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from gradir.command import Outcome, command_line
from gradir.errors import GradirError
from gradir.generate.asking_arguments import Asking, account
from gradir.generate.prompts import load
from gradir.generate.sampling import Bounds, Unit
from gradir.generate.wanted_queries import Wanted


def queries(
    corpus: str,
    llm: str,
    output: Path,
    prompt: str = "inpars",
    documents: int = 100_000,
    per_document: int = 1,
    min_length: int = 1,
    max_length: int | None = None,
    length_unit: Unit = "characters",
    stratify: str | None = None,
    document_tokens: int = 256,
    examples: str | None = None,
    topics: str | None = None,
    shots: int | None = None,
    language: str | None = None,
    chat: bool = False,
    log_probs: bool = True,
    base_url: str | None = None,
    llm_option: list[str] | None = None,
    requests: Path | None = None,
    temperature: float | None = None,
    top_p: float | None = None,
    max_tokens: int | None = None,
    seed: int = 13,
    overwrite: bool = False,
) -> Outcome:
    """Queries for documents that have none: training data from a bare corpus (InPars, arXiv 2202.05144).

    Documents are drawn by the seed, each is shown to the model after a prompt and some examples, and what it writes is
    cleaned and kept as a query to which the document is relevant (grade 3). The output is a folder in BEIR's form:
    queries.jsonl, qrels/train.tsv, and records.jsonl with the log-probability of each token, from which gradir generate
    filter takes the mean. What is refused is counted by reason: empty; the prompt's own labels or special tokens;
    endless repetition; a query that the same document has already. A query that was cut off at --max-tokens is
    kept, and its record says so.

    Every finished request is stored beside the output at once: an interrupted job goes on from there, and nothing is paid
    twice.

    Args:
        corpus: BEIR folder, JSON Lines (BEIR or Pyserini), TSV, or ir_datasets:NAME.
        llm: hf:MODEL, vllm:MODEL, or openai:MODEL with --base-url.
        output: Folder to be made.
        prompt: Name (gradir generate prompt list), a YAML file, or a text file with the slot {document}.
        documents: How many are drawn; all, if the corpus has fewer. 0: all, in the order of the corpus.
        per_document: Queries asked of each document.
        min_length: Shorter documents are not drawn.
        max_length: Longer documents are not drawn.
        length_unit: What both count, of title and text together; tokens are the model's.
        stratify: Draw evenly: over quarters by length (length), over the files of a folder (file), or over the values of a key of
            the JSON lines (field:NAME).
        document_tokens: A document is cut after so many tokens, and after fewer where the context is short.
        examples: In place of the prompt's own: a JSON Lines file with query and document, qrels, or a folder that this command or
            gradir generate filter wrote. Their ids are written to examples.tsv, for evaluation to leave them out.
        topics: Queries of the qrels (default: those of their BEIR folder).
        shots: How many examples are shown (default: the prompt's number).
        language: Language of the queries, as a word: German.
        chat: Send a prompt that is text to be continued as a message, for servers that only chat.
        log_probs: Ask for the log-probabilities of the tokens.
        base_url: Of the server: http://127.0.0.1:8000/v1
        llm_option: KEY=VALUE of the engine, such as context=4096, concurrency=64, price_in=0.15.
        requests: Folder of finished requests (default: OUTPUT.requests).
        temperature: 0 takes the likeliest token each time (default: the prompt's, or 0; with several queries per document
            0.7).
        top_p: Draw from the likeliest tokens with this probability together (default: the prompt's, or 1).
        max_tokens: Most tokens of a query (default: the prompt's, or 64).
        seed: Of the documents, the examples and the answers.
        overwrite: Replace an output made from other inputs or with other flags. Finished requests are not asked again.
    """
    chosen = load(prompt, "queries")
    chosen = replace(chosen, mode="chat") if chat else chosen
    options = tuple(llm_option or ())
    asking = Asking(llm, Path(output), chosen, base_url, options, requests, temperature, top_p, max_tokens, seed)
    wanted = Wanted(
        corpus=str(corpus),
        documents=documents,
        per_document=per_document,
        bounds=Bounds(min_length, max_length, length_unit),
        stratify=stratify,
        document_tokens=document_tokens,
        examples=examples,
        topics=topics,
        shots=shots,
        language=language,
        log_probs=log_probs,
    )
    problems = [*asking.problems(), *wanted.problems(asking)]
    if problems:
        raise GradirError("cannot generate queries: " + "; ".join(problems))
    from gradir.data.manifest import Job
    from gradir.generate.queries_job import run
    from gradir.generate.queries_tally import table
    from gradir.generate.writing import apart

    config = {**asking.config(), **wanted.config(asking)}
    inputs = wanted.inputs()
    apart(asking.output, inputs)
    job = Job(output, "gradir generate queries", config, inputs, overwrite, replaced=True)
    then = _next(job.output, str(corpus), log_probs)
    if job.finished:
        return Outcome(job.output, f"{output} is finished; nothing to do", then)
    with asking.opened() as model:
        tally = run(model, asking, wanted, job)
        said = f"{output}: {tally.kept:,} queries; {account(model)}, {job.seconds():.1f} s{tally.warning()}"
    return Outcome(job.output, said, then, table(job.manifest["counts"]))


def _next(output: Path, corpus: str, log_probs: bool) -> str:
    """InPars's filter."""
    arguments: dict[str, Any] = {"input": output, "output": output.with_name(f"{output.name}.kept"), "corpus": corpus}
    arguments |= {"drop_copies": True, "drop_boilerplate": True}
    arguments |= {"min_tokens": 3, "top_k": 10_000} if log_probs else {}
    return command_line("gradir generate filter", arguments)
