"""Reranking in parts of some queries each, so that a run can go on after any kill."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradir.data.atomic import new_path, remove_partial
from gradir.data.manifest import PARTS, Job, manifest_path
from gradir.data.runs import run_writer
from gradir.rerank.candidates import WINDOW, Texts, windows
from gradir.rerank.ordering import Scorer, reranked


@dataclass(frozen=True)
class Work:
    """What shall be made.

    Attributes:
        run: The run to be reranked.
        corpus: Where its documents are.
        topics: Where its queries are.
        hits: Documents reranked per query.
        output: The new run.
        tag: Its last column.
    """

    run: Path
    corpus: str
    topics: str
    hits: int
    output: Path
    tag: str

    def part(self, number: int) -> Path:
        """The finished lines of one window of queries."""
        return parts_of(self.output) / f"part-{number:05d}.trec"


def parts_of(output: Path) -> Path:
    """Where finished windows wait."""
    return output.with_name(output.name + PARTS)


def mend(output: Path) -> None:
    """Remove an output that a process left without a manifest when it was killed at its very end; its parts are all there."""
    if (
        output.is_file()
        and not manifest_path(output).exists()
        and (parts_of(output) / "manifest.partial.json").is_file()
    ):
        output.unlink()


def perform(work: Work, scorer: Scorer, manifest: Mapping[str, Any], overwrite: bool) -> tuple[dict[str, int], float]:
    """Make the parts that are not there yet and put all together; (counts, texts scored a second).

    Args:
        work: What shall be made.
        scorer: The cross-encoder.
        manifest: Of the output: configuration and inputs, which must be those of parts that are there.
        overwrite: Start afresh.

    Raises:
        GradirError: There are parts of another configuration; a query or document of the run is missing.
    """
    inputs = [entry.get("sha256", entry["path"]) for entry in manifest["inputs"]]
    config = {**manifest["config"], "inputs": inputs, "tag": work.tag, "window": WINDOW}
    Job(parts_of(work.output), "gradir rerank", config, (), overwrite, resumable=True)
    remove_partial(parts_of(work.output))
    counts = {"queries": 0, "hits": 0, "reranked": 0}
    done, left = set[int](), 0
    for number, window in windows(work.run):
        sizes = [len(docids) for _, docids in window]
        counts["queries"] += len(sizes)
        counts["hits"] += sum(sizes)
        counts["reranked"] += sum(min(size, work.hits) for size in sizes)
        if work.part(number).exists():
            done.add(number)
        else:
            left += sum(_texts(min(size, work.hits), scorer.documents) for size in sizes)
    rate = _make(work, scorer, done, left)
    with new_path(work.output) as temporary, temporary.open("wb") as whole:
        for number in range(-(-counts["queries"] // WINDOW)):
            with work.part(number).open("rb") as part:
                shutil.copyfileobj(part, whole)
    return counts, rate


def _texts(documents: int, compared: int) -> int:
    """How many texts are scored for so many documents of a query."""
    return documents if compared == 1 else documents * (documents - 1)


def _make(work: Work, scorer: Scorer, done: set[int], left: int) -> float:
    """Make the parts that are not done; texts a second."""
    from tqdm import tqdm

    if not left:
        return 0.0
    texts = Texts(work.run, work.corpus, work.topics, work.hits, done)
    started = time.perf_counter()
    with tqdm(total=left, desc="rerank", unit=" texts", smoothing=0.05) as bar:
        for number, window in windows(work.run):
            if number in done:
                continue
            with run_writer(work.part(number), work.tag) as writer:
                for qid, ranking in reranked(scorer, texts.candidates(window), bar.update):
                    writer.write_ranking(qid, ranking)
    return round(left / (time.perf_counter() - started), 1)
