"""`gradir evaluate parity A B`: why two runs differ, from the known causes."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gradir.command import Outcome
from gradir.data import Hit, read_corpus, read_qrels, read_topics, side_by_side
from gradir.errors import GradirError
from gradir.evaluate.causes import CAUSES, Verdict, documents
from gradir.evaluate.differences import Difference, difference

if TYPE_CHECKING:
    from gradir.evaluate.replay import Replay

_REPLAYED = 20  # queries that are searched again


def run(
    a: Path,
    b: Path,
    topics: str | None = None,
    corpus: str | None = None,
    index: Path | None = None,
    encoder: str | None = None,
    qrels: str | None = None,
) -> Outcome:
    """Explain why two runs of the same topics differ.

    Every known cause gets a verdict: yes (it explains all queries that differ), part (some of them), no, or ? (it may be; the
    runs alone do not tell). With --topics, --index and --encoder of a SPLADE index, queries are searched again under each
    setting. The last line names the most likely cause.

    Args:
        a: A TREC run.
        b: The other run.
        topics: The topics: are the queries that differ the long ones?
        corpus: The corpus: are the documents that differ the long ones?
        index: The Lucene impact index that was searched.
        encoder: The SPLADE encoder of the queries.
        qrels: Judgements: also show how both runs score.
    """
    if (index is None) != (encoder is None) or (index is not None and topics is None):
        raise GradirError("--index, --encoder and --topics go together: queries are encoded and searched again.")
    differences, kept = _compare(a, b)
    differing = [d for d in differences if not d.same]
    lines = _summary(differences, differing)
    if qrels is not None:
        lines += _measures(a, b, qrels)
    if not differing:
        return Outcome(text="\n".join([*lines, "the runs are equal"]))
    queries = {query.qid: query.text for query in read_topics(topics)} if topics is not None else {}
    verdicts = {verdict.cause: verdict for verdict in (cause(differences) for cause in CAUSES)}
    if topics is not None:
        verdicts["lengths of queries"] = _query_lengths(differences, queries)
    if corpus is not None:
        verdicts["lengths of documents"] = _document_lengths(differences, corpus, verdicts["lengths of documents"])
    if index is not None and encoder is not None:
        found = _replayed(kept, queries, index, encoder)
        lines.append(found.line)
        for verdict in found.verdicts:
            verdicts[verdict.cause] = _settled(verdict, verdicts.get(verdict.cause), differing)
    lines += _table(list(verdicts.values()), len(differing))
    lines.append(_most_likely(list(verdicts.values()), differing))
    then = "" if qrels is None else shlex.join(["gradir", "evaluate", "--qrels", qrels, "--run", str(a), str(b)])
    return Outcome(text="\n".join(lines), next_command=then)


Lists = tuple[list[Hit], list[Hit]]


def _compare(a: Path, b: Path) -> tuple[list[Difference], dict[str, Lists]]:
    """(the differences of all queries, the hits of the first few that differ and are in both)."""
    from tqdm import tqdm

    differences: list[Difference] = []
    kept: dict[str, Lists] = {}
    for qid, (in_a, in_b) in tqdm(side_by_side([a, b]), desc="compare", unit=" queries", leave=False, disable=None):
        found = difference(qid, in_a, in_b)
        if not found.same and all(found.sizes) and len(kept) < _REPLAYED:
            kept[qid] = in_a, in_b
        differences.append(found)
    return differences, kept


def _summary(differences: Sequence[Difference], differing: Sequence[Difference]) -> list[str]:
    only = [sum(not d.sizes[run] for d in differences) for run in (1, 0)]
    both = [d for d in differences if all(d.sizes)]
    lines = [
        f"{len(differences)} queries, {len(both)} in both runs, {only[0]} only in A, {only[1]} only in B; "
        f"{len(differing)} differ"
    ]
    if both:
        largest = max(both, key=lambda d: d.largest)
        where = f" (query {largest.qid})" if largest.largest else ""
        lines.append(
            f"overlap@10 {np.mean([d.overlap for d in both]):.4f}, Kendall's tau {np.mean([d.tau for d in both]):.4f}, "
            f"largest difference of a score {largest.largest:.6g}{where}"
        )
    return lines


def _measures(a: Path, b: Path, qrels: str) -> Iterator[str]:
    from gradir.data.measures import evaluate_run

    judged = read_qrels(qrels)
    for name, path in (("A", a), ("B", b)):
        means = evaluate_run(judged, path).means
        yield f"{name}: " + ", ".join(f"{measure} {value:.4f}" for measure, value in means.items())


def _query_lengths(differences: Sequence[Difference], queries: Mapping[str, str]) -> Verdict:
    """Whether only the long queries differ: 256 or 512 tokens of them were read."""
    words = {d.qid: len(queries[d.qid].split()) for d in differences if d.qid in queries and all(d.sizes)}
    changed = [d.qid for d in differences if d.qid in words and d.changed]
    equal = [words[d.qid] for d in differences if d.qid in words and d.scores_equal]
    if not changed or not equal or min(words[qid] for qid in changed) <= max(equal):
        return Verdict("lengths of queries")
    shortest = min(changed, key=lambda qid: words[qid])
    evidence = (
        f"queries that differ have {words[shortest]} words or more (query {shortest}), the others at most {max(equal)}"
    )
    return Verdict("lengths of queries", changed, evidence)


def _document_lengths(differences: Sequence[Difference], corpus: str, verdict: Verdict) -> Verdict:
    """Whether the documents that differ are the long ones."""
    changed, unchanged = documents(differences)
    never = unchanged - changed
    words = {d.docid: len(d.contents.split()) for d in read_corpus(corpus) if d.docid in changed or d.docid in never}
    long, short = ([words[docid] for docid in docids if docid in words] for docids in (changed, never))
    if not verdict.qids or not long or not short:
        return Verdict(verdict.cause)
    # the chance that a document that differs is longer than one that does not
    longer = float(np.mean(np.searchsorted(np.sort(short), long))) / len(short)
    evidence = f"documents that differ have {min(long)} to {max(long)} words, the others {min(short)} to {max(short)}"
    if longer < 0.95:
        return Verdict(verdict.cause, evidence=evidence)
    return Verdict(verdict.cause, verdict.qids, f"{evidence}; {verdict.evidence}")


def _replayed(kept: Mapping[str, Lists], queries: Mapping[str, str], index: Path, encoder: str) -> Replay:
    from gradir.evaluate.replay import Replay, replay

    known = {qid: lists for qid, lists in kept.items() if qid in queries}
    if not known:
        return Replay([], "searched again: nothing, no query that differs is in both runs and in the topics")
    return replay(queries, known, index, encoder)


def _settled(found: Verdict, before: Verdict | None, differing: Sequence[Difference]) -> Verdict:
    """A verdict by searching again: it holds for all queries that differ, though only some were searched."""
    if not found.qids:
        return Verdict(found.cause)
    qids = before.qids if before and before.qids else [d.qid for d in differing if d.changed]
    return Verdict(found.cause, qids, found.evidence)


def _table(verdicts: Sequence[Verdict], differing: int) -> list[str]:
    rows = [["cause", "verdict", "queries", "evidence"]]
    for verdict in verdicts:
        told = verdict.evidence + (f" ({verdict.advice})" if verdict.advice and not verdict.certain else "")
        rows.append([verdict.cause, verdict.word(differing), str(len(verdict.qids)), told if verdict.qids else ""])
    widths = [max(map(len, column)) for column in islice(zip(*rows, strict=True), 3)]
    return [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]]).rstrip()
        for row in rows
    ]


def _most_likely(verdicts: Sequence[Verdict], differing: Sequence[Difference]) -> str:
    """The cause that explains most queries: what is certain before what may be, then in the order of the causes."""
    sure = max((v for v in verdicts if v.certain and v.qids), key=lambda v: len(v.qids), default=None)
    maybe = max((v for v in verdicts if not v.certain and v.qids), key=lambda v: len(v.qids), default=None)
    chosen = sure or maybe
    if sure and maybe and len(sure.qids) < len(maybe.qids) / 2:
        chosen = maybe
    if chosen is None:
        return "most likely cause: none that is known; other documents, another model or another version"
    certainty = "" if chosen.certain else "possibly "
    return f"most likely cause: {certainty}{chosen.cause} ({len(chosen.qids)} of {len(differing)} queries: {chosen.evidence})"
