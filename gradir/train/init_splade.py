"""`gradir train init-splade`: a SPLADE encoder folder from any BERT-like encoder, ready to encode or to be trained."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from gradir.command import Outcome


def run(
    encoder: str,
    corpus: str,
    output: Path,
    percentile: float = 98.0,
    samples: int = 128,
    max_length: int = 256,
    seed: int = 13,
    overwrite: bool = False,
) -> Outcome:
    """Make a SPLADE encoder folder from a BERT-like encoder, without training.

    An encoder that brings a trained masked-language head keeps it. One that has none (MiniLM, say) gets a calibrated head:
    identity transform, decoder tied to the word embeddings, logits scaled to unit deviation, bias at minus a percentile of the
    pooled logits over sample documents.

    Args:
        encoder: Encoder folder or hub name to start from.
        corpus: Sample documents are drawn from it: a BEIR folder or corpus file.
        output: The SPLADE encoder folder to write.
        percentile: Share of the pooled logits below 0, in percent: higher makes fewer active terms.
        samples: Sample documents.
        max_length: Longest document in tokens, recorded in gradir.json; queries likewise.
        seed: Seed of the sample.
        overwrite: Start afresh where the output exists.
    """
    from gradir.data.atomic import new_folder
    from gradir.data.corpus import read_corpus
    from gradir.data.manifest import Job
    from gradir.models.config import EncoderConfig
    from gradir.models.folder import load_pretrained, locate, open_tokenizer, write_splade_folder

    path = locate(encoder)
    config = {"encoder": encoder, "percentile": percentile, "samples": samples, "max_length": max_length, "seed": seed}
    job = Job(output, "gradir train init-splade", config, [path, corpus], overwrite)
    then = f"gradir encode --encoder {output} --corpus {corpus} --output vectors"
    if job.finished:
        return Outcome(output, f"{output} is there already; nothing to do", then)
    mlm, missing = load_pretrained("AutoModelForMaskedLM", path)
    tokenizer = open_tokenizer(path)
    if missing:
        from gradir.models.calibrate import calibrate_head

        texts = reservoir((document.contents for document in read_corpus(corpus)), samples, seed)
        calibrate_head(mlm.eval(), tokenizer, texts, percentile, max_length)
    settings = EncoderConfig(kind="splade", pooling="max", max_query_length=max_length, max_passage_length=max_length)
    with new_folder(output, replace=True) as folder:
        write_splade_folder(folder, mlm, tokenizer, settings)
    job.finish({"samples": samples if missing else 0, "parameters": sum(p.numel() for p in mlm.parameters())})
    head = "a calibrated head" if missing else "its own masked-language head"
    return Outcome(output, f"{output}: SPLADE encoder with {head}, {job.seconds():.0f} s", then)


def reservoir(texts: Iterator[str], samples: int, seed: int) -> list[str]:
    """A uniform sample of a stream, empty texts left out, in one pass (Vitter's algorithm R)."""
    import random

    texts = (text for text in texts if text.strip())
    kept, draw = list(islice(texts, samples)), random.Random(seed)
    for number, text in enumerate(texts, len(kept)):
        place = draw.randint(0, number)
        if place < samples:
            kept[place] = text
    return kept
