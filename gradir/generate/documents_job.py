"""The work of `gradir generate documents`: texts asked for and written to the files of the output."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from heapq import nsmallest
from typing import TYPE_CHECKING

from gradir.data.jsonl import FORMAT
from gradir.data.list_order import salt
from gradir.data.qrels import read_qrels, write_qrels
from gradir.data.topics import read_topics
from gradir.errors import GradirError
from gradir.generate.asking_arguments import Asking, measured
from gradir.generate.graded_texts import Source, Tally, Written, written
from gradir.generate.wanted_documents import Wanted
from gradir.generate.writing import Files, new_output

if TYPE_CHECKING:
    from gradir.data.manifest import Job
    from gradir.llm.client import LLM

FILES = ("corpus.jsonl", "queries.jsonl", "records.jsonl")


Write = Callable[[Files, Source, list[Written], Asking, str], None]


def run(
    llm: LLM, asking: Asking, wanted: Wanted, job: Job, sources: Iterator[Source], names: tuple[str, ...], write: Write
) -> Tally:
    """Ask, and write the folder; returns what came of it.

    Args:
        llm: The model.
        asking: How it is asked.
        wanted: What shall be written.
        job: Of the folder.
        sources: What is written for.
        names: Files of the folder besides the judgements.
        write: Writes the lines of one source; the last argument is what records call the model.

    Raises:
        GradirError: There is nothing to write; no room on the disk; the engine is out of reach.
    """
    tally, plan, model = Tally(), wanted.plan(asking, llm), asking.model()
    with new_output(asking) as folder:
        with Files(folder, names, "qrels/train.tsv") as files:
            for source, texts in written(plan, llm, sources, tally):
                write(files, source, texts, asking, model)
        if not tally.counts["texts"]:
            raise GradirError(f"nothing came of {tally.counts['requests']:,} requests: {tally.reasons()}")
        if plan.shown:
            write_qrels(folder / "examples.tsv", plan.shown)
        job.finish(tally.as_dict(plan.grades), measured(llm), folder)
    return tally


def queries_of(topics: str, qrels: str | None, limit: int | None, seed: int) -> Iterator[Source]:
    """Queries in the order of the file: all, or those that are judged, or some of them, drawn by the seed; those of a smaller
    limit are among those of a larger."""
    judged = None if qrels is None else read_qrels(qrels)

    def meant() -> Iterator[Source]:
        queries = read_topics(topics)
        yield from (Source(query.qid, query.text) for query in queries if judged is None or query.qid in judged)

    if limit is None:
        yield from meant()
        return
    qids = (query.id for query in meant())
    drawn = set(nsmallest(limit, qids, key=lambda qid: (salt(seed, "queries", qid), qid)))
    yield from (query for query in meant() if query.id in drawn)


def write(files: Files, source: Source, texts: list[Written], asking: Asking, model: str) -> None:
    """The lines of one query: itself, its documents, and their grades."""
    files.add("queries.jsonl", {"_id": source.id, "text": source.text})
    for one in texts:
        docid = f"{source.id}-g{one.name}"
        files.add("corpus.jsonl", {"_id": docid, "title": "", "text": one.text})
        files.judge(source.id, docid, one.grade)
        ids = {"format": FORMAT, "docid": docid, "qid": source.id, "grade": one.grade}
        files.add("records.jsonl", {**ids, **one.record(asking.prompt.name, model)})
