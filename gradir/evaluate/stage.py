"""`gradir evaluate`: runs and qrels in, a table of measures out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

from gradir.command import Outcome
from gradir.data import Hit, iter_run, read_qrels
from gradir.data.atomic import new_text
from gradir.data.manifest import Job
from gradir.data.measures import DEFAULT_MEASURES, Measure, Scores, evaluate_run, parse_measures
from gradir.errors import GradirError


def run(
    qrels: str,
    run: list[Path],
    measures: list[str] | None = None,
    min_grade: int = 1,
    without: Path | None = None,
    format: Literal["table", "tsv", "json"] = "table",
    per_query: Path | None = None,
    overwrite: bool = False,
) -> Outcome:
    """Measure runs against relevance judgements, with trec_eval's own numbers.

    Every judged query counts, as with `trec_eval -c`: one without results, or without relevant documents, as 0. Queries of
    a run that are not judged are left out. The result goes to stdout, one line per run.

    Measures: nDCG@10 nDCG MRR@10 MRR R@100 MAP MAP@100 P@5 Success@1 Rprec bpref infAP, and all of trec_eval's own names
    (ndcg_cut.10, recall.5,100, gm_map, iprec_at_recall.0.10, num_rel_ret, official). nDCG has the grade as gain.

    gradir evaluate parity A B explains why two runs differ.

    Args:
        qrels: Judgements: TREC or BEIR file, ir_datasets:NAME, or a name that Pyserini knows.
        run: TREC run files.
        measures: Names of measures (default: nDCG@10 MRR@10 R@100 MAP).
        min_grade: Lowest grade that counts as relevant, trec_eval's -l; nDCG does not heed it.
        without: Judgements, TREC or BEIR, whose queries do not count: those that were shown to a model as examples.
        format: How the result is written; json has all digits.
        per_query: Also write the measures of every query to this TSV file.
        overwrite: Replace the file of --per-query.
    """
    names = list(DEFAULT_MEASURES) if measures is None else list(measures)
    columns = parse_measures(names)
    runs = [Path(path) for path in run]
    if per_query and Path(per_query).resolve() in [path.resolve() for path in (Path(qrels), *runs)]:
        raise GradirError(f"--per-query {per_query} would replace its own input. Choose another file.")
    judged = read_qrels(qrels)
    if without:
        shown = read_qrels(without)
        judged = {qid: of for qid, of in judged.items() if qid not in shown}
        if not judged:
            raise GradirError(f"--without {without} leaves no query of {qrels} to judge by.")
    job = None
    if per_query:
        config = {"measures": [column.name for column in columns], "min_grade": min_grade}
        excluded = [without] if without else []
        job = Job(per_query, "gradir evaluate", config, [qrels, *runs, *excluded], overwrite)
    labels = _labels(runs)
    scores = [evaluate_run(judged, _with_bar(path, len(judged)), names, min_grade) for path in runs]
    notes = [note for label, found in zip(labels, scores, strict=True) for note in _notes(label, found)]
    if job and not job.finished:
        _write_queries(job, labels, scores, columns)
    if job:
        notes.append(f"{job.output}: " + ("is up to date" if job.finished else "the measures of every query"))
    text = {"table": _table, "tsv": _tsv}[format](labels, scores, columns) if format != "json" else _json(runs, scores)
    return Outcome(output=job.output if job else None, message="\n".join(notes), text=text)


def _with_bar(path: Path, queries: int) -> Iterator[tuple[str, list[Hit]]]:
    from tqdm import tqdm

    yield from tqdm(iter_run(path), desc=path.name, total=queries, unit="query", leave=False, disable=None)


def _labels(runs: Sequence[Path]) -> list[str]:
    """File names, or whole paths where two runs have the same name."""
    names = [path.name for path in runs]
    return names if len(set(names)) == len(names) else [str(path) for path in runs]


def _notes(label: str, scores: Scores) -> Iterator[str]:
    if scores.missing:
        yield f"{label}: {scores.missing} of {len(scores.per_query)} judged queries have no results and count as 0"
    if scores.unjudged:
        yield f"{label}: {scores.unjudged} queries are not judged and were left out"
    if scores.reordered:
        yield (
            f"{label}: in {scores.reordered} queries, scores that differ only beyond single precision are ties "
            "to trec_eval, which orders them by docid descending"
        )


def _number(column: Measure, value: float) -> str:
    return f"{value:.0f}" if column.is_count else f"{value:.4f}"


def _rows(labels: Sequence[str], scores: Sequence[Scores], columns: Sequence[Measure]) -> list[list[str]]:
    """The cells, headings first."""
    body = [
        [label, *(_number(column, found.means[column.name]) for column in columns)]
        for label, found in zip(labels, scores, strict=True)
    ]
    return [["run", *(column.name for column in columns)], *body]


def _table(labels: Sequence[str], scores: Sequence[Scores], columns: Sequence[Measure]) -> str:
    rows = _rows(labels, scores, columns)
    first, *widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join([row[0].ljust(first), *(cell.rjust(width) for cell, width in zip(row[1:], widths, strict=True))])
        for row in rows
    )


def _tsv(labels: Sequence[str], scores: Sequence[Scores], columns: Sequence[Measure]) -> str:
    return "\n".join("\t".join(row) for row in _rows(labels, scores, columns))


def _json(runs: Sequence[Path], scores: Sequence[Scores]) -> str:
    rows = [_summary(path, found) for path, found in zip(runs, scores, strict=True)]
    return json.dumps({"format": 1, "runs": rows}, indent=1, ensure_ascii=False)


def _summary(path: Path, scores: Scores) -> Mapping[str, object]:
    return {
        "run": str(path),
        "queries": len(scores.per_query),
        "missing": scores.missing,
        "unjudged": scores.unjudged,
        "reordered": scores.reordered,
        "measures": scores.means,
    }


def _write_queries(job: Job, labels: Sequence[str], scores: Sequence[Scores], columns: Sequence[Measure]) -> None:
    """`run qid MEASURE …`, one line per run and judged query."""
    with new_text(job.output) as stream:
        stream.write("\t".join(["run", "qid", *(column.name for column in columns)]) + "\n")
        for label, found in zip(labels, scores, strict=True):
            for qid, values in found.per_query.items():
                cells = (f"{values[column.name]:.6f}" for column in columns)
                stream.write("\t".join([label, qid, *cells]) + "\n")
    job.finish({"runs": len(labels), "queries": len(scores[0].per_query)})
