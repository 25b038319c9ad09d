"""`gradir generate filter`: a generated folder in, the same kind of folder with what passes the filters out."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from gradir.command import Outcome
from gradir.errors import GradirError

if TYPE_CHECKING:
    from gradir.generate.filters.chosen import Chosen


def filter_(
    input: Path,
    output: Path,
    corpus: list[str] | None = None,
    topics: str | None = None,
    drop_boilerplate: bool = False,
    language: str | None = None,
    query_chars: list[int] | None = None,
    query_words: list[int] | None = None,
    document_chars: list[int] | None = None,
    document_words: list[int] | None = None,
    drop_copies: bool = False,
    max_overlap: float | None = None,
    against: list[str] | None = None,
    against_split: str = "test",
    ngram: int = 13,
    against_similarity: float = 0.8,
    min_tokens: int | None = None,
    max_tokens: int | None = None,
    min_log_prob: float | None = None,
    judgements: Path | None = None,
    min_judged: float | None = None,
    max_difference: float | None = None,
    judged_by: Literal["grade", "expected"] = "grade",
    run: Path | None = None,
    round_trip: int | None = None,
    scores: Path | None = None,
    reranker: str | None = None,
    min_score: float | None = None,
    level_gap: int | None = None,
    duplicates: float | None = None,
    keep: Literal["first", "best"] = "first",
    top_k: int | None = None,
    top_scores: int | None = None,
    complete: bool = False,
    device: str = "auto",
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto",
    batch_tokens: int | None = None,
    dry_run: bool = False,
    overwrite: bool = False,
) -> Outcome:
    """Keep what is worth training on: generated queries, documents or judgements.

    Each flag is a filter; without flags nothing is dropped. They are applied in the order of this list, and each sees what the
    earlier ones left: --drop-boilerplate, --language, lengths, --drop-copies, --max-overlap, --against, tokens, --min-log-prob,
    --judgements, --round-trip, --min-score, --level-gap, --duplicates, --top-k, --top-scores, --complete. What was dropped stands
    in dropped.jsonl with the reason and the value that decided. The input is only read, so a filter that turns out to hurt is
    undone by training on the input. InPars: --min-tokens 3 --max-tokens 1000 --top-k 10000. InPars-v2: --reranker MODEL
    --top-scores 10000. Promptagator: --run RUN --round-trip 1. InPars-Light: --run RUN --round-trip 3. Graded documents: --run RUN
    --level-gap 3 --complete.

    Args:
        input: Folder that gradir generate queries, documents, judgements or filter made.
        output: The folder of what is kept.
        corpus: Where the documents are that queries were made from, or that were judged; generated documents are in the input.
        topics: Where judged queries are; other folders hold theirs.
        drop_boilerplate: Drop refusals, phrases around an answer, markers of the prompt, endless repetition and empty texts.
        language: Drop texts in another language than this (en, de, zh …), by script and frequent words.
        query_chars: Least and most characters of a query; one number: the least.
        query_words: The same in words.
        document_chars: Least and most characters of a document.
        document_words: The same in words.
        drop_copies: Drop where the query is a part of the document, but for case and white space.
        max_overlap: Drop where a larger share of the query's distinct words stands in the document (0 to 1).
        against: Test collections (BEIR folders). Queries are compared with their queries, generated documents with their
            documents.
        against_split: The judged queries of qrels/SPLIT.tsv and their relevant documents are meant; all: every one.
        ngram: Drop what shares so many words in a row with a test text.
        against_similarity: Drop what has this similarity (Jaccard, runs of five characters) to a test text, or more.
        min_tokens: Drop answers of fewer tokens, counted by their log-probabilities.
        max_tokens: Drop answers of more tokens.
        min_log_prob: Drop answers whose tokens' mean log-probability is lower.
        judgements: Judgements of the generated pairs (gradir generate judgements); those without one are dropped.
        min_judged: Drop pairs that are judged lower.
        max_difference: Drop pairs whose judged grade is further than this from the grade they have.
        judged_by: The judged grade, or its expectation under the probabilities of the judge.
        run: TREC run, for --round-trip of the generated queries, for --level-gap of the queries over the generated documents.
        round_trip: Drop queries whose document is not among so many first of the run.
        scores: TREC run with a reranker's scores of the generated pairs (gradir rerank, gradir mine scores).
        reranker: Cross-encoder that scores the pairs here instead: a folder or hub name.
        min_score: Drop pairs that are scored lower, or not at all.
        level_gap: Drop documents that are ranked above one of a grade so much higher: 3 compares grades 0 and 3 alone, 1 every two
            grades. By --run if it is given, else by the reranker's scores.
        duplicates: Drop near duplicates: similarity (Jaccard, runs of five characters) from this on, above 0, up to 1.
        keep: Which of near duplicates stays: the first, or the one with the best reranker score (log-probability without one).
        top_k: Keep so many of the highest mean log-probability.
        top_scores: Keep so many of the highest reranker score.
        complete: Of generated documents, drop those of queries that have no positive (grade 2 or 3) or no negative left.
        device: Of the reranker: auto, cpu, cuda:0 and so on.
        dtype: Number format of the reranker.
        batch_tokens: Padded tokens of a batch of the reranker; chosen by device if not given.
        dry_run: Print the counts and write nothing.
        overwrite: Replace an output made from another input or with other flags.
    """
    from gradir.generate.filters.chosen import Chosen

    given = dict(locals())
    chosen = Chosen(**{name: value for name, value in given.items() if name in Chosen.__dataclass_fields__})
    problems = chosen.problems() + _place_problems(Path(input), Path(output), dry_run)
    if problems:
        raise GradirError("cannot filter: " + "; ".join(problems))
    return _filter(chosen, Path(output), dry_run, overwrite)


def _place_problems(source: Path, output: Path, dry_run: bool) -> list[str]:
    inside = output.resolve() == source.resolve() or source.resolve() in output.resolve().parents
    return [f"--output {output} is inside --input"] if inside and not dry_run else []


def _filter(chosen: Chosen, output: Path, dry_run: bool, overwrite: bool) -> Outcome:
    from gradir.data.atomic import new_folder
    from gradir.data.manifest import Job
    from gradir.generate.filters.applied import apply, table
    from gradir.generate.generated import write_without
    from gradir.generate.writing import apart, room_on_disk

    with chosen.source() as source:
        then = f"gradir generate audit --input {shlex.quote(str(output))} --output AUDIT"
        inputs = [] if dry_run else chosen.inputs()
        apart(output, inputs)
        job = (
            None
            if dry_run
            else Job(output, "gradir generate filter", chosen.config(), inputs, overwrite, replaced=True)
        )
        if job and job.finished:
            return Outcome(output, f"{output} is finished; nothing to do", then)
        applied = apply(chosen, source)
        counts = applied.counts()
        if not applied.kept.any():
            raise GradirError(f"nothing is left:\n{table(counts)}")
        if not job:
            return Outcome(None, f"{source.folder}: nothing was written (--dry-run)", "", table(counts))
        with room_on_disk(output), new_folder(output, replace=True) as folder:
            written = write_without(source, applied.kept, folder)
            applied.write_dropped(folder / "dropped.jsonl")
            counts["written"] = written
            job.finish(counts, {"pairs_reranked": applied.reranked}, folder=folder)
    said = f"{output}: {counts['kept']:,} of {counts['records']:,} records kept, {job.seconds():.1f} s"
    return Outcome(output, said, then, table(counts))
