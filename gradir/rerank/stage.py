"""`gradir rerank`: a run, its corpus and topics in; the run with its top in the order of a cross-encoder out."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path
from typing import Any, Literal

from gradir.command import Outcome
from gradir.errors import GradirError


def run(
    run: Path,
    corpus: str,
    topics: str,
    model: str,
    output: Path,
    method: Literal["auto", "mono-bert", "mono-t5", "duo-bert", "duo-t5"] = "auto",
    hits: int = 100,
    duo_hits: int = 50,
    max_length: int | None = None,
    prompt_template: str | None = None,
    labels: list[str] | None = None,
    device: str = "auto",
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto",
    batch_tokens: int | None = None,
    tag: str | None = None,
    trust_remote_code: bool = False,
    overwrite: bool = False,
) -> Outcome:
    """Rerank the best documents of a run with a cross-encoder.

    The documents below the cut are kept below the reranked ones, in their order. The query is never cut; where it is too long
    together with a document, the end of the document is left out. The corpus is read once, and the texts of the documents
    that are reranked stay in memory. An interrupted run goes on where it stopped.

    Args:
        run: TREC run whose documents are reranked.
        corpus: BEIR folder, corpus file (JSONL, TSV, .gz, .zst), folder of such files, or ir_datasets:NAME.
        topics: Queries: JSONL, TSV, TREC topics, a BEIR folder, or a name that Pyserini knows.
        model: Cross-encoder: folder (Hugging Face, sentence-transformers, gradir export) or hub name.
        output: The reranked run.
        method: What the model is. mono-bert: a sequence classifier with one or two logits. mono-t5: an encoder-decoder that
            answers true or false. duo-bert and duo-t5 compare the documents pair by pair, for a run that a mono model has
            reranked before. auto: mono-bert or mono-t5, by the model's folder.
        hits: Documents reranked per query.
        duo_hits: Documents reranked per query by a duo method, which scores duo_hits x (duo_hits - 1) pairs.
        max_length: Tokens of query and document together, special ones included; what the model takes if not given.
        prompt_template: Of T5 models: text with {query} and {document}, or {document0} and {document1}.
        labels: Of T5 models: the words for relevant and not relevant, true false if not given (unicamp-dl's mT5: yes no).
        device: auto, cpu, cuda:0 and so on.
        dtype: Number format of the model; auto is bfloat16 where that is much faster.
        batch_tokens: Padded tokens of a batch; chosen by device if not given.
        tag: Sixth column of the run (default: gradir.MODEL.HASH).
        trust_remote_code: Allow the model's own Python code to run.
        overwrite: Start afresh where the output exists.
    """
    run, output = Path(run), Path(output)
    numbers = {"--hits": hits, "--duo-hits": duo_hits, "--max-length": max_length, "--batch-tokens": batch_tokens}
    _check(run, output, numbers, labels)
    from gradir.data.corpus import corpus_files
    from gradir.data.manifest import Job
    from gradir.data.run_writing import run_tag
    from gradir.engine.cross_encoder import Reranker
    from gradir.rerank.perform import Work, mend, parts_of, perform

    options: dict[str, Any] = {"batch_tokens": batch_tokens, "max_length": max_length, "prompt": prompt_template}
    options |= {"labels": labels} if labels else {}
    opened = Reranker.open(model, method, device, dtype, trust_remote_code=trust_remote_code, **options)
    described, taken = opened.description(), duo_hits if opened.documents == 2 else hits
    queries = Path(topics) / "queries.jsonl"
    inputs = [run, *corpus_files(corpus), queries if queries.exists() else topics, opened.path]
    mend(output)
    job = Job(output, "gradir rerank", {"hits": taken, "tag": tag, **described}, inputs, overwrite)
    then = f"gradir evaluate --qrels QRELS --run {shlex.quote(str(output))}"
    said = "is finished already; nothing to do"
    if not job.finished:
        work = Work(run, corpus, topics, taken, output, tag or run_tag(model, job.manifest))
        counts, rate = perform(work, opened, job.manifest, overwrite)
        job.finish(counts, {"texts_per_second": rate})
        said = f"has {counts['queries']} queries, {counts['reranked']} documents reranked"
        said += f" ({opened.method}, {described['dtype']}, {rate:.1f} texts/s)"
    shutil.rmtree(parts_of(output), ignore_errors=True)  # a run killed at its very end may have left it
    return Outcome(output, f"{output} {said}", then)


def _check(run: Path, output: Path, numbers: dict[str, int | None], labels: list[str] | None) -> None:
    """Everything that is wrong with the flags, at once, before a model is loaded."""
    problems = [] if run.is_file() else [f"{run}: no such file"]
    if output.is_dir():
        problems.append(f"--output {output} is a folder")
    elif output.resolve() == run.resolve():
        problems.append(f"--output {output} is the run itself")
    problems += [f"{flag} {number} is below 1" for flag, number in numbers.items() if number is not None and number < 1]
    if labels is not None and len(labels) != 2:
        problems.append(f"--labels takes two words, not {len(labels)}")
    if problems:
        raise GradirError("cannot rerank: " + "; ".join(problems))
