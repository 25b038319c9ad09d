"""`gradir generate judgements`: an LLM grades pairs of query and document from 0 to 3 (UMBRELA)."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

from gradir.command import Outcome
from gradir.errors import GradirError
from gradir.generate.asking_arguments import Asking, account
from gradir.generate.prompts import load


def judgements(
    llm: str,
    output: Path,
    run: list[Path] | None = None,
    lists: Path | None = None,
    input: Path | None = None,
    qrels: str | None = None,
    topics: str | None = None,
    corpus: list[str] | None = None,
    depth: int = 100,
    systems: list[Path] | None = None,
    prompt: str = "umbrela",
    document_tokens: int | None = None,
    structured: bool = True,
    log_probs: bool = True,
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
    """Grades from 0 to 3, TREC Deep Learning's, for pairs of query and document (as UMBRELA does, arXiv 2406.06519).

    The pairs are those of runs, of graded lists, of a generated folder, or, with --qrels alone, all judged ones. The model
    writes one digit; with the log-probabilities of all four the expected grade is known too, a soft label. The output is
    a folder: qrels/judgements.tsv with the grades, scores.trec with the expected ones, as a run (a teacher for training,
    scores for gradir generate filter), and records.jsonl with the probabilities.

    Where people's judgements are given, or the folder has grades of its own, agreement with them is printed and written to
    agreement.json: confusion matrix, Cohen's kappa, plain and with quadratic weights; with --systems Kendall's tau between
    the orders in which both put the systems by nDCG@10.

    Every finished request is stored beside the output at once: an interrupted job goes on from there, and nothing is paid
    twice.

    Args:
        llm: hf:MODEL, vllm:MODEL, or openai:MODEL with --base-url.
        output: Folder to be made.
        run: TREC runs whose best documents are judged.
        lists: Graded lists whose documents are judged.
        input: Folder that gradir generate queries, documents or filter made.
        qrels: People's judgements, to compare with; alone, their pairs are judged.
        topics: The queries; lists and generated folders bring their own.
        corpus: Where the documents are, one or several; generated documents are in the input.
        depth: Documents taken from each run per query.
        systems: TREC runs of systems to be put in order under both judgements.
        prompt: Name (gradir generate prompt list --kind judgements) or a YAML file.
        document_tokens: A document is cut after so many tokens (default: where the context ends).
        structured: Have the engine allow the four digits alone, where one token is asked for; not all servers can.
        log_probs: Ask for log-probabilities, where one token is asked for.
        attempts: How often is asked at most for an answer with a grade.
        base_url: Of the server: http://127.0.0.1:8000/v1
        llm_option: KEY=VALUE of the engine, such as context=4096, concurrency=64, price_in=0.15.
        requests: Folder of finished requests (default: OUTPUT.requests).
        temperature: 0 takes the likeliest token each time (default: the prompt's, or 0).
        top_p: Draw from the likeliest tokens with this probability together (default: the prompt's, or 1).
        max_tokens: Most tokens of an answer (default: the prompt's, or 1).
        seed: Of the answers, where they are drawn.
        overwrite: Replace an output made from other inputs or with other flags. Finished requests are not asked again.
    """
    chosen = load(prompt, "judgements")
    asking = Asking(
        llm, Path(output), chosen, base_url, tuple(llm_option or ()), requests, temperature, top_p, max_tokens, seed
    )
    from gradir.generate.judged_pairs import Wanted

    wanted = Wanted(
        tuple(Path(path) for path in run or ()),
        Path(lists) if lists else None,
        Path(input) if input else None,
        qrels,
        topics,
        tuple(corpus or ()),
        depth,
        tuple(Path(path) for path in systems or ()),
        document_tokens,
        structured,
        log_probs,
        attempts,
    )
    problems = [*asking.problems(), *wanted.problems()]
    if problems:
        raise GradirError("cannot judge: " + "; ".join(problems))
    from gradir.data.manifest import Job
    from gradir.generate.writing import apart

    inputs = wanted.inputs()
    apart(asking.output, inputs)
    job = Job(
        output, "gradir generate judgements", {**asking.config(), **wanted.config()}, inputs, overwrite, replaced=True
    )
    then = _next(job.output, wanted.folder, wanted.runs)
    if job.finished:
        return Outcome(job.output, f"{output} is finished; nothing to do", then, _agreement(job.output))
    from gradir.generate.judgements_job import do

    with asking.opened() as model:
        judged = do(model, asking, wanted, job)
        paid = account(model)
    said = f"{output}: {judged.kept:,} pairs judged; {paid}, {job.seconds():.1f} s{judged.warning()}"
    text = "\n\n".join(part for part in (judged.table(), _agreement(job.output)) if part)
    return Outcome(job.output, said, then, text)


def _agreement(output: Path) -> str:
    """The agreement that was found, for people; empty if there is none."""
    path = output / "agreement.json"
    if not path.exists():
        return ""
    from gradir.generate.agreement import report

    return report(json.loads(path.read_text(encoding="utf-8")))


def _next(output: Path, folder: Path | None, runs: tuple[Path, ...]) -> str:
    if folder is not None:
        words = [
            "--input",
            str(folder),
            "--judgements",
            str(output),
            "--max-difference",
            "1",
            "--output",
            f"{folder}.kept",
        ]
        return shlex.join(["gradir", "generate", "filter", *words])
    named = map(str, runs) if runs else ["RUN"]
    return shlex.join(["gradir", "evaluate", "--qrels", str(output / "qrels" / "judgements.tsv"), "--run", *named])
