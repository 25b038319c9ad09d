"""`gradir generate audit`: a generated folder in, one page on it out."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from gradir.command import Outcome
from gradir.errors import GradirError, InputError, nearest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from gradir.generate.audit.numbers import Columns
    from gradir.generate.filters.contamination import HeldOut
    from gradir.generate.filters.scores import Scores
    from gradir.generate.generated import Generated


def audit(
    input: Path,
    output: Path,
    corpus: list[str] | None = None,
    topics: str | None = None,
    scores: Path | None = None,
    reranker: str | None = None,
    against: list[str] | None = None,
    against_split: str = "test",
    ngram: int = 13,
    against_similarity: float = 0.8,
    duplicates: float | None = 0.8,
    language: str | None = None,
    seed: int = 13,
    device: str = "auto",
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto",
    batch_tokens: int | None = None,
    overwrite: bool = False,
) -> Outcome:
    """One page on generated queries, documents or judgements: what they are like, and what is wrong with them.

    Numbers per grade, lengths, words shared with the query; whether length, overlap or BM25 alone tells the grade; whether a
    reranker orders the documents as their grades do; duplicates, refusals, boiler-plate, language; what is shared with test
    collections. Written are audit.md, audit.html (the plots inside), audit.json and the plots. Nothing is dropped: gradir
    generate filter does that.

    Args:
        input: Folder that gradir generate queries, documents, judgements or filter made.
        output: The folder of the page.
        corpus: Where the documents are that queries were made from, or that were judged; without it nothing is said of them.
        topics: Where judged queries are.
        scores: TREC run with a reranker's scores of the generated pairs (gradir rerank, gradir mine scores).
        reranker: Cross-encoder that scores the pairs here instead: a folder or hub name.
        against: Test collections (BEIR folders) that the data should share nothing with.
        against_split: Their judged queries of qrels/SPLIT.tsv, and the documents relevant to these, are meant; all: every one.
        ngram: Shared is what has so many words in a row in common with a test text.
        against_similarity: And what has this similarity (Jaccard, runs of five characters) to one, or more.
        duplicates: Near duplicates have this similarity or more; inf: do not look for them.
        language: What the texts should be in (en, de, zh …); if not given, what most of them are in.
        seed: Of the bootstrap.
        device: Of the reranker: auto, cpu, cuda:0 and so on.
        dtype: Number format of the reranker.
        batch_tokens: Padded tokens of a batch of the reranker; chosen by device if not given.
        overwrite: Replace an output made from another input or with other flags.
    """
    from gradir.data.atomic import new_folder, new_text
    from gradir.data.manifest import Job
    from gradir.generate.audit import page
    from gradir.generate.audit.findings import findings
    from gradir.generate.audit.measures import contaminated, measured
    from gradir.generate.filters.contamination import held_out
    from gradir.generate.writing import apart, room_on_disk

    input, output = Path(input), Path(output)
    duplicates = None if duplicates is None or duplicates > 1 else duplicates
    tests = held_out(against or (), against_split)
    source = _opened(input, corpus, topics, scores, reranker, tests, language, ngram, duplicates)
    with source:
        config = {"against_split": against_split if against else None, "ngram": ngram, "duplicates": duplicates}
        config |= {"against_similarity": against_similarity, "language": language, "seed": seed, "dtype": dtype}
        config |= {"scored_by": "reranker" if reranker else "scores" if scores else None}
        inputs = _inputs(source, scores, reranker, tests)
        apart(output, inputs)
        job = Job(output, "gradir generate audit", config, inputs, overwrite, replaced=True)
        then = _next(source)
        if job.finished:
            return Outcome(output, f"{output} is finished; nothing to do", then)
        asked = _scores(source, scores, reranker, device, dtype, batch_tokens)
        found, made, summary = measured(source, asked, language, duplicates, seed)
        if tests:
            summary["contamination"] = contaminated(source, tests, ngram, against_similarity)
        if asked is not None:
            summary["monotone"]["by"] = str(reranker or scores)
        summary = {"format": 1, "input": str(input), **summary}
        summary["findings"] = findings(summary)
        with room_on_disk(output), new_folder(output, replace=True) as folder:
            plots = _drawn(folder, found, summary, made)
            blocks = page.blocks_of(summary, plots)
            for name, text in (("audit.md", page.markdown(blocks)), ("audit.html", page.page(blocks, folder))):
                with new_text(folder / name) as stream:
                    stream.write(text)
            _write_json(folder / "audit.json", summary)
            job.finish({name: summary[name] for name in ("records", "queries", "documents")}, folder=folder)
    said = f"{output / 'audit.html'}: {summary['records']:,} records, {job.seconds():.1f} s"
    return Outcome(output, said, then, "\n".join(f"- {one}" for one in summary["findings"]))


def _opened(
    input: Path,
    corpus: list[str] | None,
    topics: str | None,
    scores: Path | None,
    reranker: str | None,
    tests: list[HeldOut],
    language: str | None,
    ngram: int,
    duplicates: float | None,
) -> Generated:
    """The folder.

    Raises:
        GradirError: All that is wrong with the flags.
    """
    from gradir.generate.filters.language import known
    from gradir.generate.generated import Generated

    problems = [problem for one in tests for problem in one.problems()]
    problems += [f"{path}: no such file" for path in (scores,) if path is not None and not Path(path).is_file()]
    problems += ["--scores and --reranker say the same: give one"] if scores and reranker else []
    problems += [f"--ngram {ngram} is below 1"] if ngram < 1 else []
    problems += (
        [f"--duplicates {duplicates} is no similarity above 0"] if duplicates is not None and duplicates <= 0 else []
    )
    if language is not None and language not in known():
        problems.append(f"--language {language} is not known{nearest(language, known())} ({' '.join(known())})")
    source = None
    try:
        source = Generated(input, corpus or (), topics)
    except InputError as error:
        problems.append(str(error))
    if source and source.kind == "judgements" and tests:
        problems.append("--against looks at what was generated, and judgements are no texts")
    if source and reranker and source.kind != "documents" and not corpus:
        problems.append("--reranker needs --corpus")
    if source and reranker and source.kind == "judgements" and not topics:
        problems.append("--reranker needs --topics")
    if problems or source is None:
        raise GradirError("cannot audit: " + "; ".join(problems))
    return source


def _inputs(source: Generated, scores: Path | None, reranker: str | None, tests: list[HeldOut]) -> list[str | Path]:
    found: list[str | Path] = [*source.files(), *([scores] if scores else [])]
    found += source.document_files() if source.kind != "documents" and source.corpora else []
    found += [source.query_file()] if source.kind == "judgements" and source.topics else []
    found += [file for one in tests for file in one.files()]
    if reranker:
        from gradir.models.loading import locate

        found.append(locate(reranker))
    return found


def _scores(
    source: Generated, scores: Path | None, reranker: str | None, device: str, dtype: str, batch_tokens: int | None
) -> Scores | None:
    """The reranker's scores, where there is one."""
    import numpy as np

    from gradir.generate.filters import scores as scored

    if not scores and not reranker:
        return None
    number = source.count()
    if scores:
        return scored.Scores(scored.in_run(Path(scores), source, number).scores)
    return scored.Scores(np.full(number, np.nan), scored.reranker(str(reranker), device, dtype, batch_tokens))


def _drawn(
    folder: Path, found: Columns, summary: dict[str, Any], made: NDArray[np.float64] | None
) -> list[tuple[str, str]] | None:
    """The plots; None where matplotlib is not installed."""
    from gradir.generate.audit.plots import draw

    try:
        return list(draw(folder, found, summary, made))
    except ImportError:
        return None


def _write_json(path: Path, value: dict[str, Any]) -> None:
    import json

    from gradir.data.atomic import new_text

    with new_text(path) as stream:
        json.dump(value, stream, indent=1, ensure_ascii=False, allow_nan=False)
        stream.write("\n")


def _next(source: Generated) -> str:
    """Dropping what an audit finds most often."""
    if source.kind == "judgements":
        return ""
    return f"gradir generate filter --input {shlex.quote(str(source.folder))} --output KEPT --drop-boilerplate --duplicates 0.8"
