"""`gradir mine split`: judged queries into train and dev."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Mapping
from pathlib import Path

from gradir.command import Outcome
from gradir.errors import GradirError, InputError

Judged = Mapping[str, Mapping[str, int]]


def split(
    qrels: str,
    output: Path,
    share: float = 0.1,
    min_grade: int | None = None,
    seed: int = 13,
    overwrite: bool = False,
) -> Outcome:
    """Split judged queries into train.tsv and dev.tsv.

    Queries that share a relevant document stay together, so that no document that training has pulled near a query is one
    that dev asks for. All judgements of a query go with it; documents of lower grades may stand in both.

    Args:
        qrels: Judgements: BEIR or TREC, ir_datasets:NAME, or a name that Pyserini knows.
        output: Folder for train.tsv and dev.tsv.
        share: Share of the queries that go to dev; the nearest that whole groups of queries allow.
        min_grade: Grade from which on a document may not stand in both (default: 2, or the highest where all are below).
        seed: Of the draw of groups.
        overwrite: Replace an output made from other judgements or with other flags.
    """
    output = Path(output)
    if not 0 < share < 1:
        raise GradirError(f"--share {share} does not lie between 0 and 1.")
    from gradir.data.atomic import new_folder
    from gradir.data.manifest import Job
    from gradir.data.qrels import read_qrels, write_qrels
    from gradir.data.records import Qrel

    config = {"share": share, "min_grade": min_grade, "seed": seed}
    job = Job(output, "gradir mine split", config, [qrels], overwrite)
    then = (
        f"gradir mine negatives --run RUN --qrels {shlex.quote(str(output / 'train.tsv'))} --topics TOPICS --output DIR"
    )
    if job.finished:
        return Outcome(output, f"{output} is finished; nothing to do", then)
    judged = read_qrels(qrels)
    grade = _grade(judged) if min_grade is None else min_grade
    groups = connected(judged, grade)
    dev = drawn(groups, share, seed)
    if not dev:
        fewest = min(map(len, groups))
        problem = f"no group of queries with common documents (grade {grade} or above) is as small as {share:g} of all"
        raise InputError(
            qrels, f"{problem}: the smallest has {fewest} of {len(judged)}", "Give a larger --share or --min-grade"
        )
    with new_folder(output, replace=True) as folder:
        parts = {"train": [qid for qid in judged if qid not in dev], "dev": [qid for qid in judged if qid in dev]}
        for name, qids in parts.items():
            write_qrels(folder / f"{name}.tsv", (Qrel(qid, *one) for qid in qids for one in judged[qid].items()))
        counts = {f"{name}_queries": len(qids) for name, qids in parts.items()}
        job.finish(
            {**counts, "groups": len(groups), "largest_group": max(map(len, groups)), "grade": grade}, folder=folder
        )
    said = f"{output}: {counts['train_queries']:,} queries for train, {counts['dev_queries']:,} for dev"
    return Outcome(output, said, then)


def _grade(judged: Judged) -> int:
    """2, or the highest grade where all are below."""
    return min(2, max(grade for of in judged.values() for grade in of.values()))


def connected(judged: Judged, min_grade: int) -> list[list[str]]:
    """Queries in groups: two that share a document graded so or higher are in one, and so are those linked by others.

    Args:
        judged: `{qid: {docid: grade}}`.
        min_grade: The grade.
    """
    parent = {qid: qid for qid in judged}

    def root(qid: str) -> str:
        while parent[qid] != qid:
            parent[qid] = parent[parent[qid]]  # the way is shorter next time
            qid = parent[qid]
        return qid

    owner: dict[str, str] = {}
    for qid, of in judged.items():
        for docid, grade in of.items():
            if grade >= min_grade:
                parent[root(qid)] = root(owner.setdefault(docid, qid))
    groups: dict[str, list[str]] = {}
    for qid in judged:
        groups.setdefault(root(qid), []).append(qid)
    return list(groups.values())


def drawn(groups: list[list[str]], share: float, seed: int) -> set[str]:
    """Queries of whole groups, as near to the share of all as can be had by passing over groups that are too large.

    The draw depends on the seed and the ids alone, not on the order of the file.
    """

    def place(group: list[str]) -> bytes:
        return hashlib.blake2b(f"{seed}\0{min(group)}".encode()).digest()

    total, dev = sum(map(len, groups)), set[str]()
    wanted = min(max(round(share * total), 1), total - 1)
    for group in sorted(groups, key=place):
        if len(dev) + len(group) <= wanted:
            dev.update(group)
    return dev
