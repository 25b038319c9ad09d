"""`gradir export`: from an encoder, trained here or elsewhere, to one folder that works everywhere."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from gradir.command import Outcome
from gradir.errors import GradirError

if TYPE_CHECKING:
    from gradir.data.manifest import Job
    from gradir.export.writers import Made, Plan


def run(
    encoder: str,
    output: Path,
    onnx: bool = False,
    int8: bool = False,
    anserini: bool = False,
    pyserini_compat: bool = False,
    check: bool = False,
    corpus: str | None = None,
    samples: int = 64,
    trust_remote_code: bool = False,
    overwrite: bool = False,
) -> Outcome:
    """Make one folder of an encoder that works in gradir, Pyserini, Anserini, sentence-transformers and ONNX Runtime.

    It holds the weights as safetensors, the tokenizer with vocab.txt, gradir.json, the files of sentence-transformers, and a model
    card with the commands to use it. A cross-encoder (reranker) can be exported too.

    Args:
        encoder: Encoder folder (gradir, sentence-transformers, Hugging Face) or hub name.
        output: The folder to write.
        onnx: Add model.onnx, pooling and activation inside.
        int8: Add model_int8.onnx, its products in 8 bits, for CPUs; with --onnx implied.
        anserini: Add the form that Anserini's Java encoders load.
        pyserini_compat: Add pytorch_model.bin, which later versions of Pyserini want.
        check: Compare all forms on sample texts; fail where they differ by more than is allowed.
        corpus: Documents to check with, besides a short list of texts that comes along: a BEIR folder or corpus file.
        samples: So many of them.
        trust_remote_code: Allow the model's own Python code to run.
        overwrite: Start afresh where the output exists.
    """
    _check_arguments(check, corpus, samples)
    from gradir.data.corpus import corpus_files
    from gradir.data.manifest import Job
    from gradir.export.graphs import check_can_export
    from gradir.models.folder import locate

    path = locate(encoder, trust_remote_code)
    wanted = {
        "onnx": onnx or int8,
        "int8": int8,
        "anserini": anserini,
        "pyserini_compat": pyserini_compat,
        "check": check,
    }
    inputs = [path, *(corpus_files(corpus) if corpus else [])]
    job = Job(output, "gradir export", {"encoder": encoder, **wanted, "samples": samples}, inputs, overwrite)
    then = shlex.join(["gradir", "encode", "--encoder", str(output), "--corpus", "CORPUS", "--output", "vectors"])
    if job.finished:
        return Outcome(output, f"{output} is there already; nothing to do", then)
    if any(wanted[name] for name in ("onnx", "int8", "anserini")):
        check_can_export(path)
    from gradir.export.compare import table
    from gradir.export.writers import NotMet, Plan

    plan = Plan(encoder, path, output, wanted, _texts(corpus, samples) if check else [], trust_remote_code)
    try:
        made = _write(plan, job)
    except NotMet as error:
        return Outcome(text=error.table, message=f"error: {error}", exit_code=1)
    message = _message(plan, made.kind, job.seconds())
    return Outcome(output, message, then if made.kind != "reranker" else "", table(made.rows) if made.rows else "")


def _check_arguments(check: bool, corpus: str | None, samples: int) -> None:
    problems = ["--corpus is for --check"] if corpus and not check else []
    problems += [f"--samples {samples} is not above 0"] if samples < 1 else []
    if problems:
        raise GradirError("; ".join(problems) + ".")


def _texts(corpus: str | None, samples: int) -> list[str]:
    """What the forms are tried on: our own texts, and a sample of the corpus."""
    from gradir.export.samples import TEXTS

    if not corpus:
        return list(TEXTS)
    from gradir.data.corpus import read_corpus
    from gradir.data.sample import reservoir

    return [*TEXTS, *reservoir((document.contents for document in read_corpus(corpus)), samples, seed=13)]


def _write(plan: Plan, job: Job) -> Made:
    """Write the whole folder; nothing of it where something fails."""
    from gradir.data.atomic import new_folder
    from gradir.export.reranker import is_reranker
    from gradir.export.writers import write_cross_encoder, write_retriever

    with new_folder(plan.output, replace=True) as folder:
        made = write_cross_encoder(plan, folder) if is_reranker(plan.path) else write_retriever(plan, folder)
        job.finish({"texts": len(plan.texts)}, folder=folder)
    return made


_KINDS = {"splade": "SPLADE encoder", "dense": "dense encoder", "reranker": "cross-encoder"}
_FORMS = {"onnx": "ONNX", "int8": "int8", "anserini": "Anserini's slot", "pyserini_compat": "pytorch_model.bin"}


def _message(plan: Plan, kind: str, seconds: float) -> str:
    """What was made, and what Pyserini will make of its path."""
    from gradir.export.pyserini_names import guesses, unusable

    forms = [words for name, words in _FORMS.items() if plan.wanted[name]]
    told = f"{plan.output}: {', '.join([_KINDS[kind], *forms])}, {seconds:.0f} s"
    if kind == "reranker":
        return told
    path = str(plan.output)
    keys, stopped = guesses(path, kind), unusable(path, kind)
    if stopped:
        return f"{told}\nwarning: Pyserini cannot use this path: {stopped}. Choose another --output for it."
    if keys:
        named = " and ".join(f"'{key}'" for key in keys)
        told += f"\nwarning: Pyserini sees {named} in this path and would take another encoder class for it; "
        told += "the commands in its README.md name the class, so they are safe."
    return told
