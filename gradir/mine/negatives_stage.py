"""`gradir mine negatives`: runs and judgements in, graded lists with hard negatives out."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from gradir.command import Outcome
from gradir.errors import GradirError
from gradir.mine.limits import Against, Missing

if TYPE_CHECKING:
    from gradir.data.records import GradedList

Form = Literal["lists", "triples"]
_RANKS = [1, 200]
_NAMES: dict[Form, str] = {"lists": "lists.jsonl", "triples": "triples.tsv"}


def negatives(
    run: list[Path],
    qrels: str,
    topics: str,
    output: Path,
    k: int = 8,
    rank: list[int] | None = None,
    pick: Literal["top", "random"] = "top",
    margin: float | None = 0.95,
    absolute_margin: float | None = None,
    max_score: float | None = None,
    min_score: float | None = None,
    against: Against = "highest",
    missing_positive: Missing = "skip",
    teacher: Path | None = None,
    min_grade: int = 1,
    drop_judged: bool = False,
    drop_copies: bool = False,
    corpus: str | None = None,
    output_format: Form = "lists",
    seed: int = 13,
    overwrite: bool = False,
) -> Outcome:
    """Hard negatives from runs, for queries with judgements.

    Candidates are the documents of all runs, each with the best of its ranks. Dropped are those judged relevant, and by
    default those that a run scores at 95 percent of the query's positive or above: they are often relevant and not judged
    (TopK-PercPos of NV-Retriever, arXiv 2407.15831). Each run's scores are compared with its own score of the positive, and
    what any run drops is dropped. The graded lists hold the positives, with their grades, and the negatives, graded 0, by id;
    scores stand in them where they are of one kind (one run, or a teacher). Queries without a negative are left out. What was
    kept, dropped and why is printed and stands in the manifest.

    Args:
        run: One or more TREC runs: BM25, dense, SPLADE, reranked.
        qrels: Judgements: BEIR or TREC, ir_datasets:NAME, or a name that Pyserini knows.
        topics: The queries' texts.
        output: A file (.jsonl, or .tsv for triples), or a folder for lists.jsonl.
        k: Negatives per query.
        rank: Lowest and highest rank of a candidate, counted from 1 (default: 1 200).
        pick: Of what is left, the best ranked (top) or a draw (random).
        margin: Drop what scores this share of the positive's score or more. Below zero, what is not as far below the positive
            as it would have to be above zero: at 0.95, from -10.5 for -10. inf: no such rule.
        absolute_margin: Drop what scores more than the positive's score less this.
        max_score: Drop what scores more.
        min_score: Drop what scores less.
        against: Which positive's score is meant where there are several; sentence-transformers takes the lowest.
        missing_positive: What to do where a run (or the teacher) holds no positive of a query. skip: leave the run out for
            this query: each of its documents outdoes the positive. keep: take its documents without margins. lowest: positives
            that it lacks count with its lowest score.
        teacher: TREC run with scores that stand in for the runs' own in all rules over scores (gradir mine scores, gradir
            rerank); documents without one are dropped. Ranks remain those of the runs.
        min_grade: Grade from which on a document is relevant.
        drop_judged: Drop every judged document, also those judged not relevant.
        drop_copies: Drop what has the text of a positive, but for case and white space; needs the corpus.
        corpus: Where the documents are, for --drop-copies.
        output_format: Graded lists, or triples: qid, positive, negative, as ids between tabs.
        seed: Of the random draw.
        overwrite: Replace an output made from other inputs or with other flags.
    """
    run, output = [Path(path) for path in run], Path(output)
    first, last = (rank or _RANKS)[0], (rank or _RANKS)[-1]
    margin = None if margin == math.inf else margin
    problems = _file_problems([*run, *([teacher] if teacher else [])], output, output_format)
    problems += _number_problems(
        k, rank, {"--margin": margin, "--absolute-margin": absolute_margin}, max_score, min_score
    )
    if drop_copies != (corpus is not None):
        problems.append("--drop-copies and --corpus need each other")
    if problems:
        raise GradirError("cannot mine: " + "; ".join(problems))
    from gradir.data.atomic import new_folder
    from gradir.data.corpus import corpus_files
    from gradir.data.manifest import Job
    from gradir.mine.choose import Rules
    from gradir.mine.limits import Limits
    from gradir.mine.mining import Sources, graded_lists
    from gradir.mine.tally import Tally, table

    limits = Limits(margin, absolute_margin, max_score, min_score, against, missing_positive)
    rules = Rules(k, first, last, pick, seed, min_grade, drop_judged, limits)
    sources = Sources(run, qrels, topics, Path(teacher) if teacher else None, corpus)
    queries = Path(topics) / "queries.jsonl"
    inputs = [*run, qrels, queries if queries.exists() else topics, *([teacher] if teacher else [])]
    inputs += corpus_files(corpus) if corpus else []
    config: dict[str, Any] = {"rank": [first, last], "k": k, "pick": pick, "min_grade": min_grade, **vars(limits)}
    config |= {"drop_judged": drop_judged, "drop_copies": drop_copies, "teacher": teacher is not None}
    config |= {"output_format": output_format, "seed": seed if pick == "random" else None}
    job = Job(output, "gradir mine negatives", config, inputs, overwrite)
    then = _next(output, output_format)
    if job.finished:
        return Outcome(output, f"{output} is finished; nothing to do", then)
    tally = Tally(sources.names(), k, teacher is not None)
    lists = graded_lists(sources, rules, tally)
    if _is_file(output, output_format):
        _write(output, lists, output_format)
        job.finish(tally.counts())
    else:
        with new_folder(output, replace=True) as folder:
            _write(folder / _NAMES[output_format], lists, output_format)
            job.finish(tally.counts(), folder=folder)
    counts = tally.counts()
    said = f"{output}: {counts['kept']:,} negatives for {counts['queries_written']:,} queries, {job.seconds():.1f} s"
    return Outcome(output, said, then, table(counts))


def _is_file(output: Path, form: Form) -> bool:
    return output.suffix == Path(_NAMES[form]).suffix and not output.is_dir()


def _write(path: Path, lists: Iterable[GradedList], form: Form) -> None:
    from gradir.data.atomic import new_text
    from gradir.data.lists import write_lists

    if form == "lists":
        write_lists(path, lists)
        return
    with new_text(path) as stream:
        for one in lists:
            positives = [doc.docid for doc in one.docs if doc.source == "qrels"]
            others = [doc.docid for doc in one.docs[len(positives) :]]
            stream.writelines(f"{one.qid}\t{good}\t{bad}\n" for good in positives for bad in others)


def _next(output: Path, form: Form) -> str:
    if form == "triples":
        return ""
    lists = output if output.suffix == ".jsonl" else output / "lists.jsonl"
    return f"gradir mine scores --lists {shlex.quote(str(lists))} --corpus CORPUS --model CROSS_ENCODER --output SCORES.trec"


def _file_problems(runs: Sequence[Path], output: Path, form: Form) -> list[str]:
    problems = [f"{path}: no such file" for path in runs if not Path(path).is_file()]
    if len(set(map(str, runs))) < len(runs):
        problems.append("a run is named twice")
    if output.resolve() in [Path(path).resolve() for path in runs]:
        problems.append(f"--output {output} is one of the runs")
    if output.suffix in (".jsonl", ".tsv", ".trec") and not output.is_dir() and not _is_file(output, form):
        ending = Path(_NAMES[form]).suffix
        problems.append(f"--output {output}: {form} are written to a folder, or a file that ends in {ending}")
    return problems


def _number_problems(
    k: int,
    rank: list[int] | None,
    margins: Mapping[str, float | None],
    max_score: float | None,
    min_score: float | None,
) -> list[str]:
    problems = [f"--k {k} is below 1"] if k < 1 else []
    if rank is not None and len(rank) != 2:
        problems.append(f"--rank takes two numbers, not {len(rank)}")
    elif rank is not None and not 1 <= rank[0] <= rank[1]:
        problems.append(f"--rank {rank[0]} {rank[1]} is no range of ranks, which begin at 1")
    numbers = {**margins, "--max-score": max_score, "--min-score": min_score}
    problems += [
        f"{flag} {number} is not finite" for flag, number in numbers.items() if number and not math.isfinite(number)
    ]
    if margins["--margin"] is not None and margins["--margin"] <= 0:
        problems.append(f"--margin {margins['--margin']} is a share of the positive's score: give one above 0")
    if max_score is not None and min_score is not None and min_score > max_score:
        problems.append(f"--min-score {min_score} is above --max-score {max_score}")
    return problems
