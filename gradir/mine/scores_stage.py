"""`gradir mine scores`: pairs in, a run with the scores of one or several teachers out."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from gradir.command import Outcome
from gradir.errors import GradirError
from gradir.mine.ensemble import Combination, Normalization

if TYPE_CHECKING:
    from gradir.data.run_writing import RunWriter
    from gradir.mine.scoring import Opening, Work

_WINDOWS = {"model": 32, "encoder": 512}  # queries of a part; an encoder meets a document again and again


def scores(
    output: Path,
    model: list[str] | None = None,
    encoder: list[str] | None = None,
    scores: list[Path] | None = None,
    lists: Path | None = None,
    run: list[Path] | None = None,
    qrels: str | None = None,
    topics: str | None = None,
    corpus: list[str] | None = None,
    hits: int = 100,
    combine: Combination = "mean",
    normalize: Normalization | None = None,
    rescale: bool = False,
    missing: Literal["error", "drop"] = "error",
    device: str = "auto",
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto",
    batch_tokens: int | None = None,
    max_length: int | None = None,
    tag: str | None = None,
    trust_remote_code: bool = False,
    overwrite: bool = False,
) -> Outcome:
    """Score (query, document) pairs by cross-encoders, encoders and ready runs, alone or together, and write them as a run.

    The pairs are those of graded lists, of runs, and all judged ones: whatever is given, each pair once. With ready scores
    alone, they are those of any of the files. Several members' scores of a query are brought to one scale and combined, as the
    ensemble that taught SPLADE-v3 (Lassance et al., arXiv 2403.06789: min-max, mean, then the spread of one member). An
    interrupted run goes on where it stopped. The pairs' texts are looked up as they are needed.

    Args:
        output: The run that is written: queries in the order of the pairs, documents by score.
        model: Cross-encoders: folders or hub names.
        encoder: Encoders, dense or sparse: the score is the dot product of the query's and the document's vector.
        scores: TREC runs with scores that were made before.
        lists: Graded lists whose pairs are scored.
        run: TREC runs whose best documents are scored.
        qrels: Judgements; every judged document is scored.
        topics: The queries' texts; lists bring their own.
        corpus: Where the documents are, one or several; lists may bring their own texts.
        hits: Documents taken from each run per query.
        combine: How several members' scores become one.
        normalize: Each member's scores of a query, first: moved to [0, 1] (min-max; 0 if all are equal), divided by their
            standard deviation around their mean (z; 0 if all are equal), or left (default: min-max for several members, none
            for one).
        rescale: Stretch all combined scores to the mean and standard deviation that the first member's scores have: a loss
            that takes differences or a softmax of scores in [0, 1] would hardly learn. Members count in the order models,
            encoders, scores.
        missing: A pair that a ready run lacks is an error, or left out.
        device: auto, cpu, cuda:0 and so on.
        dtype: Number format of the models; auto is bfloat16 where that is much faster.
        batch_tokens: Padded tokens of a batch; chosen by device if not given.
        max_length: Tokens of query and document together, of cross-encoders; what each takes if not given.
        tag: Sixth column of the run (default: gradir.scores.HASH).
        trust_remote_code: Allow the models' own Python code to run.
        overwrite: Start afresh where the output exists.
    """
    output, models, encoders, files = Path(output), _several(model), _several(encoder), _paths(scores)
    runs, corpora, lists = _paths(run), _several(corpus), Path(lists) if lists else None
    given = [*([lists] if lists else []), *runs]
    numbers = {"--hits": hits, "--batch-tokens": batch_tokens, "--max-length": max_length}
    problems = _file_problems([*given, *files], output)
    problems += [f"{flag} {number} is below 1" for flag, number in numbers.items() if number is not None and number < 1]
    problems += _problems(models, encoders, files, bool(given or qrels), bool(lists), topics, corpora)
    if problems:
        raise GradirError("cannot score: " + "; ".join(problems))
    from gradir.data.asked_pairs import Pairs
    from gradir.data.manifest import Job
    from gradir.mine.scoring import Work, mend, parts_of

    members, folders, config = _openings(models, encoders, device, dtype, batch_tokens, max_length, trust_remote_code)
    several = len(members) + len(files) > 1
    normalize = normalize or ("min-max" if several else "none")
    config |= {"combine": combine if several else None, "normalize": normalize, "rescale": rescale, "missing": missing}
    config |= {"hits": hits if runs else None, "models": len(models), "encoders": len(encoders), "tag": tag}
    pairs = Pairs(lists, runs, qrels, hits) if given or qrels else Pairs(runs=files)
    work = Work(pairs, members, files, combine, normalize, missing == "drop", output)
    mend(output)
    inputs = [*given, *([qrels] if qrels else []), *files, *_text_files(topics, corpora), *folders]
    job = Job(output, "gradir mine scores", config, inputs, overwrite)
    then = f"gradir mine negatives --run RUN --teacher {shlex.quote(str(output))} --qrels QRELS --topics TOPICS --output DIR"
    if job.finished:
        shutil.rmtree(parts_of(output), ignore_errors=True)  # a run killed at its very end may have left it
        return Outcome(output, f"{output} is finished; nothing to do", then)
    rate = _make(work, job, topics, corpora, overwrite) if members else 0.0
    counts = _write(work, job, tag, rescale)
    job.finish(counts, {"pairs_per_second": rate} if members else None)
    shutil.rmtree(parts_of(output), ignore_errors=True)
    said = f"{output}: {counts['pairs']:,} pairs of {counts['queries']:,} queries, {counts['members']} members"
    return Outcome(output, said + (f", {rate:,.1f} pairs/s" if rate else ""), then)


def _several(value: Any) -> list[str]:
    """Names from a list, one name, or None."""
    return [str(one) for one in ([value] if isinstance(value, str | Path) else value or [])]


def _paths(value: Any) -> list[Path]:
    return [Path(one) for one in _several(value)]


def _file_problems(files: Sequence[Path], output: Path) -> list[str]:
    problems = [f"{path}: no such file" for path in files if not path.is_file()]
    if output.is_dir():
        problems.append(f"--output {output} is a folder")
    if output.resolve() in [path.resolve() for path in files]:
        problems.append(f"--output {output} is one of the inputs")
    return problems


def _problems(
    models: Sequence[str],
    encoders: Sequence[str],
    files: Sequence[Path],
    pairs: bool,
    lists: bool,
    topics: str | None,
    corpora: Sequence[str],
) -> list[str]:
    """What is wrong with the flags together."""
    problems = []
    if not models and not encoders and not files:
        problems.append("nobody scores: give --model, --encoder or --scores")
    if not models and not encoders and len(files) == 1 and not pairs:
        problems.append("one file of --scores alone gives nothing new")
    if (models or encoders) and not pairs:
        problems.append("no pairs: give --lists, --run or --qrels")
    if (models or encoders) and pairs and not lists:
        problems += ["--topics is needed"] if topics is None else []
        problems += ["--corpus is needed"] if not corpora else []
    for kind, names in (("--model", models), ("--encoder", encoders), ("--scores", files)):
        problems += [f"{kind} {name} is given twice" for name in sorted({str(n) for n in names if names.count(n) > 1})]
    return problems


def _text_files(topics: str | None, corpora: Sequence[str]) -> list[str | Path]:
    from gradir.data.corpus import corpus_files

    queries = Path(topics or "") / "queries.jsonl"
    found: list[str | Path] = [] if topics is None else [queries if queries.exists() else topics]
    return found + [file for corpus in corpora for file in corpus_files(corpus)]


def _openings(
    models: Sequence[str],
    encoders: Sequence[str],
    device: str,
    dtype: str,
    batch_tokens: int | None,
    max_length: int | None,
    trusted: bool,
) -> tuple[list[Opening], list[Path], dict[str, Any]]:
    """(members, their folders, what decides their scores besides)."""
    if not models and not encoders:
        return [], [], {}
    from gradir.engine.devices import choose_device, choose_dtype
    from gradir.mine.members import CrossEncoder, DotProducts
    from gradir.mine.scoring import Opening
    from gradir.models.loading import locate

    folders = [locate(name, trusted) for name in [*models, *encoders]]
    chosen = choose_device(device)
    number_format = choose_dtype(dtype, chosen)
    options = {"device": device, "dtype": dtype, "batch_tokens": batch_tokens, "trust_remote_code": trusted}
    cross = {**options, "max_length": max_length}
    found = [Opening(name, _WINDOWS["model"], partial(CrossEncoder, name, **cross)) for name in models]
    found += [Opening(name, _WINDOWS["encoder"], partial(DotProducts, name, **options)) for name in encoders]
    config = {"dtype": str(number_format).removeprefix("torch."), "device": chosen.type, "batch_tokens": batch_tokens}
    return found, folders, {**config, "max_length": max_length}


def _make(work: Work, job: Any, topics: str | None, corpora: list[str], overwrite: bool) -> float:
    """Make the parts; pairs a second."""
    from contextlib import closing, nullcontext

    from gradir.data.asked_pairs import TextsOfPairs
    from gradir.data.atomic import remove_partial
    from gradir.data.manifest import Job
    from gradir.data.texts import Texts
    from gradir.mine.scoring import make_parts, parts_of

    inputs = [entry.get("sha256", entry["path"]) for entry in job.manifest["inputs"]]
    config = {**job.manifest["config"], "inputs": inputs, "windows": _WINDOWS}
    Job(parts_of(work.output), "gradir mine scores", config, (), overwrite, resumable=True)
    remove_partial(parts_of(work.output))
    with closing(Texts(corpora)) if corpora else nullcontext() as documents:
        texts = TextsOfPairs(topics, documents)
        _, number = texts.check(work.pairs)
        return make_parts(work, texts, number)


def _write(work: Work, job: Any, tag: str | None, rescale: bool) -> dict[str, int]:
    """Put all scores together; what was written."""
    from gradir.data.runs import run_tag, run_writer

    with run_writer(work.output, tag or run_tag("scores", job.manifest)) as writer:
        left_out = _write_queries(work, writer, rescale)
    members = len(work.members) + len(work.files)
    return {"members": members, "queries": writer.queries, "pairs": writer.lines, "pairs_left_out": left_out}


def _write_queries(work: Work, writer: RunWriter, rescale: bool) -> int:
    """Write all queries that have a scored pair; how many pairs were left out."""
    from gradir.data.records import Ranking
    from gradir.mine.ensemble import Spread, like
    from gradir.mine.scoring import combined

    own, first, left_out = Spread(), Spread(), 0
    if rescale:
        for one in combined(work):
            own.add(one.scores)
            first.add(one.first)
    for one in combined(work):
        left_out += one.left_out
        if one.docids:
            scores = like(one.scores, own, first) if rescale else one.scores
            writer.write_ranking(one.qid, Ranking(one.docids, scores))
    if not writer.lines:
        raise GradirError("no pair has a score of every member. Do the files belong together?")
    return left_out
