"""One run from start to end: what an earlier one left, the parts, the format's files, the manifest."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from gradir.command import Outcome
from gradir.data.atomic import remove_partial
from gradir.data.manifest import PARTS, Job
from gradir.data.vectors import write_vocab
from gradir.encode.formats import Format, finish
from gradir.encode.parts import Counts, LineParts, Parts, VectorParts, found_parts
from gradir.encode.pipeline import TextEncoder, Work, encode_parts, writing
from gradir.encode.rows import Source, windows


@dataclass(frozen=True)
class Plan:
    """What shall be made.

    Attributes:
        source: What is read.
        open: Opens the encoder on a device.
        devices: Where it runs.
        format: What is written.
        output: Its folder.
        part_size: Rows of a part.
        vector_dtype: Number format of dense vectors in parts.
        finer: Sparse vectors come with impacts so many times as large (see `LineParts`).
    """

    source: Source
    open: Callable[[str], Any]
    devices: tuple[str, ...]
    format: Format
    output: Path
    part_size: int
    vector_dtype: Literal["float32", "float16"] = "float32"
    finer: int = 1


def perform(
    plan: Plan,
    encoder: TextEncoder,
    command: str,
    config: dict[str, Any],
    inputs: list[str | Path],
    overwrite: bool,
    then: str,
) -> Outcome:
    """Do what is left of a plan.

    Files for Pyserini are alone in their folder, as it would take any other for one of its own: their parts wait in a hidden
    folder, and their manifest stands beside the folder.

    Args:
        plan: What shall be made.
        encoder: Open on the first device.
        command: For the manifest.
        config: What decides the result.
        inputs: Files that decide the result.
        overwrite: Start afresh.
        then: The next command.

    Raises:
        GradirError: The output holds other work, the disk is full, a worker failed.
    """
    foreign = plan.format != "shards"
    job = Job(plan.output, command, config, inputs, overwrite, resumable=True, beside=foreign)
    if job.finished:
        _tidy(plan.output, foreign)
        return Outcome(plan.output, f"{plan.output} is finished already; nothing to do", then)
    parts = parts_of(plan, encoder, plan.output / PARTS if foreign else plan.output)
    known, counts = found_parts(parts, windows(plan.source.rows(), plan.part_size))
    work = Work(plan.source, plan.open, parts, plan.part_size, plan.devices, known)
    meter = _Meter(counts, str(encoder.description().get("dtype", "")))
    encode_all(work, encoder, meter)
    with writing(plan.output):
        texts = (row.contents for row in plan.source.rows())
        finish(plan.format, plan.output, parts, plan.source.side, texts, counts.texts)
        job.finish(counts.as_dict(), meter.measured())
        _tidy(plan.output, foreign)
    return Outcome(plan.output, f"{plan.output}: {counts.texts} vectors, {meter.said()}", then)


def parts_of(plan: Plan, encoder: TextEncoder, folder: Path) -> Parts:
    """An empty or interrupted folder of parts, with the vocabulary where shards need it."""
    described = encoder.description()
    vocab = encoder.vocab() if described["kind"] == "splade" else []
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        remove_partial(folder)
        if plan.format == "pyserini":
            return LineParts(folder, vocab, plan.finer)
        if vocab:
            write_vocab(folder, vocab)
    return VectorParts(folder, described, plan.vector_dtype)


def _tidy(output: Path, foreign: bool) -> None:
    """Remove what a whole folder for Pyserini must not hold; a run killed at its very end may have left it."""
    if foreign:
        shutil.rmtree(output / PARTS, ignore_errors=True)
        (output / "manifest.partial.json").unlink(missing_ok=True)


def encode_all(work: Work, encoder: TextEncoder, meter: _Meter) -> None:
    """Write all parts that are left, here or in a process for each of several devices."""
    from tqdm import tqdm

    total, found = work.source.total(), meter.counts.texts
    bar = tqdm(desc=meter.name, unit=" texts", smoothing=0.05, total=total, initial=found)
    with bar:  # begins at what was found, so that its rate is that of this process
        if len(work.devices) == 1:
            before = encoder.tokens

            def advance(texts: int) -> None:
                meter.tokens = encoder.tokens - before
                bar.update(texts)

            encode_parts(encoder, work, advance, lambda counts: bar.set_postfix_str(meter.add(counts)))
            meter.tokens = encoder.tokens - before
            return
        from gradir.encode.workers import encode_on_devices

        def advance_by(texts: int, tokens: int) -> None:
            meter.tokens += tokens
            bar.update(texts)

        description = encoder.description()
        encode_on_devices(work, description, advance_by, lambda counts: bar.set_postfix_str(meter.add(counts)))


class _Meter:
    """Counts and rates of a run.

    Args:
        counts: What was there at the start; grows.
        dtype: Number format of the model, if known.
    """

    def __init__(self, counts: Counts, dtype: str):
        self.counts, self.dtype = counts, dtype
        self.found, self.tokens = replace(counts), 0
        self._started = time.perf_counter()

    @property
    def name(self) -> str:
        """Of the bar."""
        return f"encode ({self.dtype})" if self.dtype else "encode"

    def add(self, counts: Counts) -> str:
        """Count a part; returns the rates."""
        self.counts.add(counts)
        return self._rates()

    def measured(self) -> dict[str, Any]:
        """For the manifest."""
        seconds = time.perf_counter() - self._started
        rate = round((self.counts.texts - self.found.texts) / seconds, 1)
        return {"texts_per_second": rate} | ({"tokens_per_second": round(self.tokens / seconds)} if self.tokens else {})

    def said(self) -> str:
        """A line on what was done."""
        fresh = self.counts.texts - self.found.texts
        speed = f"{self.measured()['texts_per_second']:.0f} texts/s"
        words = [self.dtype, *([speed, self._rates()] if fresh else ["all parts were there"])]
        return ", ".join(word for word in words if word)

    def _rates(self) -> str:
        tokens = f"{self.tokens / (time.perf_counter() - self._started):.0f} tokens/s" if self.tokens else ""
        terms = f"{self.counts.postings / max(1, self.counts.texts):.0f} active terms" if self.counts.sparse else ""
        return ", ".join(word for word in (tokens, terms) if word)
