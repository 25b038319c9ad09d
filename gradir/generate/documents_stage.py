"""`gradir generate documents`: an LLM writes documents at several grades of relevance for real queries (SyCL), or queries at
several grades for real documents."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from gradir.command import Outcome
from gradir.errors import GradirError
from gradir.generate.asking_arguments import Asking, account
from gradir.generate.attributes import attributes_of
from gradir.generate.prompts import load

if TYPE_CHECKING:
    from gradir.data.manifest import Job
    from gradir.generate.graded_texts import Tally
    from gradir.generate.wanted_documents import Wanted
    from gradir.llm.client import LLM

GRADES = (3, 2, 1, 0)
_PROMPTS = {  # (--from-documents, --one-by-one)
    (False, False): "sycl",
    (False, True): "sycl-each",
    (True, False): "graded-queries",
    (True, True): "graded-queries-each",
}


def documents(
    llm: str,
    output: Path,
    topics: str | None = None,
    qrels: str | None = None,
    from_documents: str | None = None,
    prompt: str | None = None,
    one_by_one: bool = False,
    grades: list[int] | None = None,
    per_grade: int = 1,
    limit: int | None = None,
    attributes: str | None = None,
    examples: str | None = None,
    corpus: str | None = None,
    shots: int | None = None,
    max_chars: int | None = None,
    structured: bool = True,
    attempts: int = 3,
    base_url: str | None = None,
    llm_option: list[str] | None = None,
    requests: Path | None = None,
    temperature: float | None = None,
    top_p: float | None = None,
    max_tokens: int | None = None,
    seed: int = 13,
    overwrite: bool = False,
) -> Outcome:
    """Documents at grades of relevance for queries that have none: graded training data without a corpus (SyCL, arXiv 2503.23239).

    For each query the model writes a document at each grade: 3, it is devoted to the query and answers it; 2, it holds
    some answer, unclear or among other matter; 1, it has the subject and no answer; 0, it has nothing to do with it. All
    come in one answer, JSON held to a schema, or each has a request of its own (--one-by-one). How long, difficult, and of
    which style and author they shall be is drawn for each query. The output is a folder in BEIR's form: corpus.jsonl,
    queries.jsonl, qrels/train.tsv with the grades, and records.jsonl with what was drawn.

    Answers that have not the form are mended where there is one way to read them, and else asked for again, as are
    refusals, empty texts, texts that equal each other, that hold the prompt's own labels, or repeat themselves without
    end. What is still unusable is counted by reason. Every finished request is stored beside the output at once: an
    interrupted job goes on from there, and nothing is paid twice.

    Args:
        llm: hf:MODEL, vllm:MODEL, or openai:MODEL with --base-url.
        output: Folder to be made.
        topics: Queries: BEIR folder or queries.jsonl, TSV, TREC topics, ir_datasets:NAME, a name that Pyserini knows.
        qrels: Write for those of the topics that these judgements name: a BEIR folder's queries.jsonl holds the test queries too.
        from_documents: In place of --topics a corpus; queries are written for which a document has each grade.
        prompt: Name (gradir generate prompt list --kind documents) or a YAML file (default: sycl, sycl-each with
            --one-by-one, graded-queries or graded-queries-each with --from-documents).
        one_by_one: One request for each grade; those of a query share all but their end.
        grades: Which grades, in the order in which they are written (default: 3 2 1 0).
        per_grade: Texts of each grade.
        limit: Draw so many queries (documents) by the seed (default: all).
        attributes: YAML file of lists to draw from, or none (default: gradir's own, with sentences, difficulty, style and
            persona; for queries form, words, difficulty and persona).
        examples: In place of the prompt's own: a JSON Lines file with query, grade_3, grade_2 … (document for
            --from-documents), or qrels, whose queries are those of --topics. The ids shown are written to examples.tsv, for
            evaluation to leave these queries out.
        corpus: Documents of the qrels that --examples names.
        shots: How many examples are shown (default: all of a file, the prompt's number of judgements).
        max_chars: Most characters of a text, held to by the schema.
        structured: Have the engine hold all grades in one answer to a JSON schema; without it the prompt alone asks for JSON.
        attempts: How often a request is asked at most.
        base_url: Of the server: http://127.0.0.1:8000/v1
        llm_option: KEY=VALUE of the engine, such as context=8192, concurrency=64, price_in=0.15.
        requests: Folder of finished requests (default: OUTPUT.requests).
        temperature: 0 takes the likeliest token each time (default: the prompt's, or 1).
        top_p: Draw from the likeliest tokens with this probability together (default: the prompt's, or 1).
        max_tokens: Most tokens of an answer (default: the prompt's, or 1536).
        seed: Of the queries drawn, the attributes, the examples and the answers.
        overwrite: Replace an output made from other inputs or with other flags. Finished requests are not asked again.
    """
    chosen = load(prompt or _PROMPTS[from_documents is not None, one_by_one], "documents")
    asking = Asking(
        llm, Path(output), chosen, base_url, tuple(llm_option or ()), requests, temperature, top_p, max_tokens, seed
    )
    from gradir.generate.wanted_documents import Wanted

    wanted = Wanted(
        topics,
        qrels,
        from_documents,
        one_by_one,
        tuple(grades or GRADES),
        per_grade,
        limit,
        attributes_of(attributes, "documents" if from_documents is None else "queries"),
        examples,
        corpus,
        shots,
        max_chars,
        structured,
        attempts,
    )
    problems = [*asking.problems(), *wanted.problems(asking)]
    if problems:
        raise GradirError("cannot generate documents: " + "; ".join(problems))
    from gradir.data.manifest import Job
    from gradir.generate.writing import apart

    inputs = wanted.inputs()
    apart(asking.output, inputs)
    job = Job(
        output, "gradir generate documents", {**asking.config(), **wanted.config()}, inputs, overwrite, replaced=True
    )
    then = _next(job.output, from_documents)
    if job.finished:
        return Outcome(job.output, f"{output} is finished; nothing to do", then)
    with asking.opened() as model:
        tally = _run(model, asking, wanted, job)
        paid = account(model)
    made = "documents" if from_documents is None else "queries"
    said = f"{output}: {tally.counts['texts']:,} {made}; {paid}, {job.seconds():.1f} s{tally.warning()}{_leaked(wanted, output)}"
    return Outcome(job.output, said, then, tally.table(wanted.grades))


def _run(model: LLM, asking: Asking, wanted: Wanted, job: Job) -> Tally:
    from gradir.generate import documents_job, graded_queries

    if wanted.topics is not None:
        sources = documents_job.queries_of(wanted.topics, wanted.qrels, wanted.limit, asking.seed)
        return documents_job.run(model, asking, wanted, job, sources, documents_job.FILES, documents_job.write)
    from gradir.data.texts import Texts

    with Texts(str(wanted.documents)) as texts:
        sources = graded_queries.sources(texts, wanted.limit, asking.seed)
        return documents_job.run(model, asking, wanted, job, sources, graded_queries.FILES, graded_queries.write)


def _leaked(wanted: Wanted, output: Path) -> str:
    """How many of the queries will be tested with; empty if none."""
    if wanted.tests is None:
        return ""
    from gradir.data.qrels import read_qrels
    from gradir.data.topics import read_topics

    judged = read_qrels(wanted.tests)
    number = sum(query.qid in judged for query in read_topics(output))
    fix = f"leave them out of training, or name those that are meant: --qrels {wanted.tests.with_name('train.tsv')}"
    return f"\n{number:,} of the queries are judged in {wanted.tests}: {fix}" if number else ""


def _next(output: Path, corpus: str | None) -> str:
    """Training on the graded lists."""
    take = {"from": str(output / "qrels" / "train.tsv")}
    loss = "wasserstein" if corpus is None else "infonce"  # a generated query has one document
    lists = [{"queries": str(output), "corpus": corpus or str(output), "take": [take]}]
    words = ["gradir", "train", "dense", "--encoder", "ENCODER", "--loss", loss, "--output", "DIR"]
    return shlex.join([*words, "--set", f"lists={json.dumps(lists, ensure_ascii=False)}"])
