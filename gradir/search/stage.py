"""`gradir search`: topics and an index in, a run out."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from gradir.command import Outcome
from gradir.errors import GradirError, InputError
from gradir.search.indexes import Engine, Index

if TYPE_CHECKING:
    from gradir.search.feedback import Feedback
    from gradir.search.queries import QuerySide
    from gradir.search.searchers import Searcher
    from gradir.search.two_step import TwoStep


def run(
    index: list[Path] | Path,
    topics: str | None = None,
    output: Path | None = None,
    encoder: str | None = None,
    encoder_class: str | None = None,
    pooling: Literal["cls", "mean", "max", "last", "eos"] = "cls",
    l2_norm: bool = False,
    query_prefix: str | None = None,
    encoded_topics: str | None = None,
    qrels: str | None = None,
    hits: int = 1000,
    batch_size: int = 128,
    threads: int | None = None,
    ef_search: int | None = None,
    nprobe: int | None = None,
    engine: Engine = "auto",
    max_length: int | None = None,
    device: str = "auto",
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto",
    backend: Literal["torch", "onnx", "onnx-int8"] = "torch",
    remove_query: bool = False,
    max_passage: bool = False,
    max_passage_delimiter: str = "#",
    max_passage_hits: int = 100,
    output_format: Literal["trec", "msmarco"] = "trec",
    tag: str | None = None,
    prf: Literal["rocchio", "average"] | None = None,
    prf_depth: int = 3,
    prf_alpha: float | None = None,
    prf_beta: float | None = None,
    prf_terms: int = 10,
    prf_vectors: Path | None = None,
    two_step: bool = False,
    query_terms: int = 0,
    candidates: int = 1000,
    tune: bool = False,
    max_loss: float = 0.005,
    measure: str = "nDCG@10",
    latency: bool = False,
    explain: list[str] | None = None,
    run: list[Path] | None = None,
    force: bool = False,
    overwrite: bool = False,
) -> Outcome:
    """Search topics in an index and write a run.

    Args:
        index: Folder written by gradir index, a Lucene or FAISS index written by Pyserini, or a name that Pyserini knows.
            Several are shards of one collection, searched into one run.
        topics: Queries: JSONL, TSV, TREC topics, a BEIR folder, or a name that Pyserini knows.
        output: The run file.
        encoder: Encoder folder or hub name that the index was made with; bm25 takes none.
        encoder_class: Encode queries as Pyserini's class of this name does (splade, auto, dpr, ance, tct_colbert, …), whatever
            the encoder folder says of itself.
        pooling: With --encoder-class auto: which vector of the tokens is taken.
        l2_norm: With --encoder-class auto: scale vectors to unit length.
        query_prefix: With --encoder-class: put before every query, with a space between.
        encoded_topics: Queries encoded before, in place of an encoder: vector shards, Pyserini's queries.jsonl (id, vector),
            or TSV whose texts are tokens. With --topics, those tell which queries, in which order.
        qrels: Search only the queries judged here: a file, or a name that Pyserini knows.
        hits: Documents kept for a query.
        batch_size: Queries at a time.
        threads: Threads that search; all cores if not given.
        ef_search: Candidates that a graph (hnsw, lucene-hnsw) looks at for a query; what the index says if not given.
        nprobe: Lists of a FAISS IVF index that are looked at for a query; what the index says if not given.
        engine: auto searches the index as it is; exact (brute force) and seismic (approximate, if installed) search a folder
            of vector shards in place of an index.
        max_length: Tokens of a query, special ones included; the encoder's own length if not given.
        device: auto, cpu, cuda:0 and so on: of the encoder, and of --engine exact.
        dtype: Number format of the model; auto is bfloat16 where that is much faster.
        backend: What runs the encoder: torch, or ONNX Runtime with the folder's model.onnx or model_int8.onnx.
        remove_query: Leave out a document whose id is the query's (ArguAna, Quora).
        max_passage: Hits are passages; write documents, each with the score of its best passage.
        max_passage_delimiter: What stands between a document's id and its passage's number.
        max_passage_hits: Documents written for a query with --max-passage.
        output_format: trec, or msmarco (qid, docid, rank).
        tag: Last column of the run; gradir.ENCODER.HASH if not given.
        prf: Pseudo-relevance feedback: search again with queries moved towards their first documents.
        prf_depth: Documents taken for relevant.
        prf_alpha: rocchio: weight of the query; 0.9 for dense vectors and 1 for sparse ones if not given.
        prf_beta: rocchio: weight of the documents; 0.1 for dense vectors and 0.75 for sparse ones if not given.
        prf_terms: Terms added to a sparse query at most.
        prf_vectors: Vector shards that the index was made from, where it gives no vectors itself (impact, lucene-flat,
            lucene-hnsw). They are read once for each batch of queries: give a large --batch-size.
        two_step: Impact indexes made with --forward: find candidates by shortened queries, then give these their exact scores.
        query_terms: two_step: terms of a query that find candidates, the heaviest ones; 0 is all of them.
        candidates: two_step: documents that get their exact scores, at least as many as hits.
        tune: Try parameters of two-step search on the queries judged in --qrels (dev queries, never those that results are
            reported for), in place of writing a run, and recommend the fastest.
        max_loss: tune: what they may lose of the measure against exact search.
        measure: tune: the measure, as gradir evaluate names it.
        latency: Search queries one at a time, and show percentiles of the times of encoding and searching.
        explain: Two values, a query and a document id: show the score term by term in place of writing a run.
        run: With --explain: runs whose rank and score of the document are shown beside.
        force: Search with another encoder than the index was made with.
        overwrite: Start afresh where the output exists.
    """
    if encoder_class is None and (pooling != "cls" or l2_norm or query_prefix is not None):
        fix = "Give the class too, or leave them out: an encoder folder knows its own"
        raise GradirError(f"--pooling, --l2-norm and --query-prefix belong to --encoder-class. {fix}.")
    folders = [Path(one) for one in index] if isinstance(index, list) else [Path(index)]
    numbers = {"--hits": hits, "--batch-size": batch_size, "--threads": threads, "--max-length": max_length}
    numbers |= {"--ef-search": ef_search, "--nprobe": nprobe, "--max-passage-hits": max_passage_hits}
    numbers |= {"--prf-depth": prf_depth, "--prf-terms": prf_terms}
    _check(numbers, topics or encoded_topics, output, explain, run, prf, tune, qrels)
    from gradir.data.manifest import Job
    from gradir.data.qrels import read_qrels
    from gradir.search import record
    from gradir.search.class_encoder import EncoderClass
    from gradir.search.encoded_topics import read_encoded_topics
    from gradir.search.feedback import Feedback
    from gradir.search.indexes import check_together, describe
    from gradir.search.output import Keep
    from gradir.search.perform import Plan, write_run
    from gradir.search.queries import Opening, chosen_queries, query_side
    from gradir.search.two_step import TwoStep, tuned

    known = read_encoded_topics(encoded_topics) if encoded_topics is not None else None
    indexes = [describe(folder, encoder is not None or known is not None, engine) for folder in folders]
    as_class = EncoderClass(encoder_class, pooling, l2_norm, query_prefix) if encoder_class else None
    opening = Opening(encoder, max_length, device, dtype, backend, as_class)
    feedback = Feedback(prf, prf_depth, prf_alpha, prf_beta, prf_terms, prf_vectors) if prf else None
    steps = TwoStep(query_terms, candidates) if two_step or tune else None
    open_index = _opener(indexes, threads or os.cpu_count() or 1, ef_search, nprobe, device, feedback, steps)
    if explain is not None or (output is None and not tune):
        from gradir.search.explain import explained

        return explained(indexes, open_index, opening, known, topics, explain or [], run or [], hits, force)
    check_together(indexes, latency)
    side = query_side(indexes[0], opening, known, force)
    if tune or output is None:
        judged, asked = read_qrels(qrels or ""), chosen_queries(topics, known, qrels)
        searcher: Any = open_index(side, indexes[0])
        return tuned(searcher, indexes[0], asked, side.encode(asked), judged, hits, measure, max_loss)
    keep = Keep(hits, remove_query, max_passage_delimiter if max_passage else None, max_passage_hits)
    plan = Plan(indexes, partial(open_index, side), side, keep, 1 if latency else batch_size, latency)
    config = record.config(plan, output_format, ef_search, nprobe) | (
        {"prf": feedback.record(indexes[0])} if feedback else {}
    )
    config |= {"two_step": steps.record()} if steps else {}
    tag = tag or record.default_tag(side.name, config)
    job = Job(
        output,
        "gradir search",
        config | {"tag": tag},
        record.inputs(topics, encoded_topics, qrels, prf_vectors),
        overwrite,
    )
    then = record.next_command(output, output_format, qrels)
    if job.finished:
        shown = record.latency_table(output) if latency else ""
        return Outcome(output, f"{output} is finished already; nothing to do", then, shown)
    asked = chosen_queries(topics, known, qrels)
    queries, found, times = write_run(plan, asked, output, output_format, tag)
    job.finish({"queries": queries, "hits": found} | side.counts() | times.counts(), times.measured(latency))
    done = f"{output}: {queries} queries, {found} hits, {queries / times.seconds():.1f} queries/s"
    done += f"; {times.empty} queries have no term" if times.empty else ""
    return Outcome(output, side.warning + done, then, record.latency_table(output) if latency else "")


def _check(
    numbers: Mapping[str, int | None],
    topics: str | None,
    output: Path | None,
    explain: list[str] | None,
    run: list[Path] | None,
    prf: str | None,
    tune: bool,
    qrels: str | None,
) -> None:
    """Refuse what cannot be, all of it at once."""
    small = [flag for flag, number in numbers.items() if number is not None and number < 1]
    problems = [f"{', '.join(small)} must be 1 or more."] if small else []
    if topics is None:
        problems.append("Give --topics, or --encoded-topics.")
    if explain is None and output is None and not tune:
        problems.append("Give --output, the run to be written, or --explain QID DOCID.")
    if tune and qrels is None:
        problems.append("--tune measures: give the --qrels of dev queries.")
    if tune and (explain is not None or prf is not None):
        problems.append("--tune is for plain search: leave --explain and --prf out.")
    if explain is None and run:
        problems.append("--run belongs to --explain: runs in which the document is looked up.")
    if explain is not None and len(explain) != 2:
        problems.append("--explain takes two values, a query id and a document id.")
    if explain is not None and prf is not None:
        problems.append("--explain shows queries as they are: leave --prf out.")
    if problems:
        raise GradirError("\n".join(problems))
    if output is not None and output.is_dir():
        raise InputError(output, "is a folder", "Name a run file as --output")


def _opener(
    indexes: Sequence[Index],
    threads: int,
    ef_search: int | None,
    nprobe: int | None,
    device: str,
    feedback: Feedback | None,
    steps: TwoStep | None,
) -> Callable[[QuerySide, Index], Searcher]:
    """Opens the searcher of an index for a query side."""
    from gradir.search.searchers import GRAPHS, open_searcher

    for index in indexes if nprobe else ():
        if index.type != "faiss":
            raise GradirError(f"--nprobe is for FAISS IVF indexes, {index.folder} is of type {index.type}.")
    for index in indexes if ef_search else ():
        if index.type not in GRAPHS:
            raise GradirError(
                f"--ef-search is for graphs ({', '.join(GRAPHS)}), {index.folder} is of type {index.type}."
            )

    if feedback:
        feedback.check(indexes)
    if steps:
        steps.check(indexes)

    def open_index(side: QuerySide, index: Index) -> Searcher:
        found: Searcher
        if steps:
            found = steps.open(index, side.vocab, threads)
        else:
            found = open_searcher(index.type, index.folder, side.vocab, threads, ef_search, nprobe, device, index.name)
        return feedback.around(found, index, side.vocab) if feedback else found

    return open_index
