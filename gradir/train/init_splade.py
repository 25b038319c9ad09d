"""`gradir train init-splade`: a SPLADE encoder folder from any BERT-like encoder, ready to encode or to be trained."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any, Literal

from gradir.command import Outcome
from gradir.errors import GradirError, InputError


def run(
    encoder: str,
    corpus: str,
    output: Path,
    percentile: float = 98.0,
    samples: int = 128,
    max_length: int = 256,
    query_side: Literal["encoder", "binary"] = "encoder",
    seed: int = 13,
    overwrite: bool = False,
) -> Outcome:
    """Make a SPLADE encoder folder from a BERT-like encoder, without training.

    An encoder that brings a trained masked-language head keeps it. One that has none (MiniLM, say) gets a calibrated head:
    identity transform, decoder tied to the word embeddings, logits scaled to unit deviation, bias at minus each
    term's mean pooled logit over sample documents and a percentile of what is left.

    Args:
        encoder: Encoder folder or hub name to start from.
        corpus: Sample documents are drawn from it: a BEIR folder or corpus file.
        output: The SPLADE encoder folder to write.
        percentile: Share of the pooled logits, each term's mean taken off, below 0, in percent: higher makes fewer active terms.
        samples: Sample documents.
        max_length: Longest document in tokens, recorded in gradir.json; queries likewise.
        query_side: encoder: queries go through the model too; binary: each term of a query weighs 1 (SPLADE-doc).
        seed: Seed of the sample.
        overwrite: Start afresh where the output exists.
    """
    _check_arguments(percentile, samples, max_length)
    from gradir.data.atomic import new_folder
    from gradir.data.corpus import corpus_files
    from gradir.data.manifest import Job
    from gradir.models.config import EncoderConfig, check_config, position_limit, read_model_settings
    from gradir.models.folder import load_pretrained, locate, open_tokenizer, write_splade_folder
    from gradir.train.card import Trained, write_card

    path = locate(encoder)
    settings = EncoderConfig(
        kind="splade", pooling="max", query_side=query_side, max_query_length=max_length, max_passage_length=max_length
    )
    check_config(settings, position_limit(read_model_settings(path)))
    config = {"encoder": encoder, "percentile": percentile, "samples": samples, "max_length": max_length, "seed": seed}
    config |= {"query_side": query_side} if query_side != "encoder" else {}
    job = Job(output, "gradir train init-splade", config, [path, *corpus_files(corpus)], overwrite)
    words = ["--encoder", str(output), "--corpus", corpus, "--output", "vectors"]
    then = shlex.join(["gradir", "encode", *words])
    if job.finished:
        return Outcome(output, f"{output} is there already; nothing to do", then)
    mlm, missing = load_pretrained("AutoModelForMaskedLM", path)
    tokenizer = open_tokenizer(path)
    texts = _calibrate(path, mlm, missing, tokenizer, corpus, config) if missing else 0
    head = "a calibrated head" if missing else "its own masked-language head"
    how = {"corpus": corpus, "samples": texts, "percentile": percentile, "seed": seed} if missing else {}
    rows = int(mlm.get_output_embeddings().out_features)
    with new_folder(output, replace=True) as folder:
        write_splade_folder(folder, mlm, tokenizer, settings)
        write_card(folder, Trained(str(output), encoder, "gradir train init-splade", rows, {"head": head, **how}))
        job.finish({"samples": texts, "parameters": sum(p.numel() for p in mlm.parameters())}, folder=folder)
    return Outcome(output, f"{output}: SPLADE encoder with {head}, {job.seconds():.0f} s", then)


def _check_arguments(percentile: float, samples: int, max_length: int) -> None:
    problems = [] if 0 < percentile < 100 else [f"--percentile {percentile} does not lie between 0 and 100"]
    problems += [] if samples >= 1 else [f"--samples {samples} is not above 0"]
    problems += [] if max_length >= 3 else [f"--max-length {max_length} leaves no room beside two special tokens"]
    if problems:
        raise GradirError("; ".join(problems) + ".")


def _calibrate(path: Path, mlm: Any, missing: list[str], tokenizer: Any, corpus: str, config: dict[str, Any]) -> int:
    """Give the model a calibrated head; returns the number of sample texts.

    Raises:
        InputError: The folder lacks more weights than those of the head, or the corpus is blank.
    """
    from gradir.data.corpus import read_corpus
    from gradir.data.sample import reservoir
    from gradir.models.calibrate import calibrate_head

    backbone = {id(parameter) for parameter in mlm.base_model.parameters()}
    lost = [name for name in missing if id(mlm.get_parameter(name)) in backbone]
    if lost:
        raise InputError(path, f"has no weights for {lost[0]}, which is no part of the head", "Copy it again")
    documents = (document.contents for document in read_corpus(corpus))
    texts = reservoir(documents, config["samples"], config["seed"])
    if not texts:
        raise InputError(corpus, "all documents are blank", "The head is calibrated on their texts")
    calibrate_head(mlm.eval(), tokenizer, texts, config["percentile"], config["max_length"])
    return len(texts)
