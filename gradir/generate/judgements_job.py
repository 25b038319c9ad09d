"""The work of `gradir generate judgements`: pairs in, requests to the model, its grades in files."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradir.data.atomic import new_text
from gradir.data.jsonl import FORMAT
from gradir.data.manifest import Job
from gradir.data.qrels import read_qrels
from gradir.data.records import Hit
from gradir.data.runs import run_tag, run_writer
from gradir.errors import GradirError
from gradir.generate.agreement import agreement
from gradir.generate.asking_arguments import Asking, measured, seed_of
from gradir.generate.judged_pairs import Pair, Wanted
from gradir.generate.judging import NAMES, Judgement, judgement
from gradir.generate.render import Fitted, Fitter, Model
from gradir.generate.writing import Files, columns, new_output, unanswered
from gradir.llm.asking import NOTE_TOKENS, Unusable, ask_valid
from gradir.llm.records import Choice, Request, Sampling

if TYPE_CHECKING:
    from gradir.llm.client import LLM

_DEFAULTS: dict[str, Any] = {"temperature": 0.0, "max_tokens": 1}  # where neither flag nor prompt says
_TOP = 20  # likeliest tokens: some engines rank them before they rule out those that are not allowed


@dataclass
class Tally:
    """What came of it.

    Attributes:
        pairs: Asked about.
        cut: Documents that lost their end, or whose query did.
        kept: Judged.
        soft: Of them those with probabilities.
        failed: Requests without an answer.
        dropped: Answers that are no judgement, by reason.
        grades: How often each was given.
        error: What was wrong with the first request that failed.
    """

    pairs: int = 0
    cut: int = 0
    kept: int = 0
    soft: int = 0
    failed: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    grades: Counter[int] = field(default_factory=Counter)
    error: str = ""

    def counts(self) -> dict[str, Any]:
        """For the manifest."""
        found = {"pairs": self.pairs, "cut": self.cut, "kept": self.kept, "with_probabilities": self.soft}
        grades = {name: self.grades[int(name)] for name in NAMES}
        return {**found, "grades": grades, "failed": self.failed, "dropped": dict(sorted(self.dropped.items()))}

    def warning(self) -> str:
        """What people must know besides the table; empty if nothing."""
        return unanswered(self.failed, self.error)

    def table(self) -> str:
        """The counts for people."""
        rows = [("pairs", self.pairs), ("documents cut to fit", self.cut), ("judged", self.kept)]
        rows += [(f"  grade {name}", self.grades[int(name)]) for name in reversed(NAMES)]
        rows += [("  with probabilities", self.soft), ("not answered", self.failed)]
        rows += [(f"dropped: {reason}", count) for reason, count in sorted(self.dropped.items())]
        return columns(rows)


def do(llm: LLM, asking: Asking, wanted: Wanted, job: Job) -> Tally:
    """Ask, write, compare, finish the job.

    Raises:
        InputError: A text is nowhere.
        GradirError: The model is out of reach, no pair was judged, or there is no room on the disk.
    """
    found = Tally()
    human_file = wanted.human()
    human = read_qrels(human_file) if human_file else None
    with new_output(asking) as folder, wanted.opened() as pairs:
        ours = _write(folder, job, judged(llm, asking, wanted, pairs, found), asking, keep=human is not None)
        if not found.kept:
            reasons = ", ".join(f"{reason} ({count:,})" for reason, count in found.dropped.most_common())
            raise GradirError(f"no pair was judged: {found.error or reasons}")
        if human is not None:
            _write_agreement(folder, human, ours, wanted)
        job.finish(found.counts(), measured(llm), folder)
    return found


def judged(
    llm: LLM, asking: Asking, wanted: Wanted, pairs: Iterable[Pair], found: Tally
) -> Iterator[tuple[Pair, Judgement]]:
    """(pair, what the model thinks of it), in order; streamed."""
    for pair, answer in ask_valid(llm, _requests(llm, asking, wanted, pairs, found), _judged, wanted.attempts):
        if answer.reply.error is not None:
            found.failed, found.error = found.failed + 1, found.error or answer.reply.error
            continue
        one = answer.value
        if one is None:
            found.dropped[str(answer.reason)] += 1
            continue
        found.kept += 1
        found.soft += one.probabilities is not None
        found.grades[one.grade] += 1
        yield pair, one


def _sampling(asking: Asking, wanted: Wanted) -> Sampling:
    """How a grade is asked for: where the answer is one token, as one of four, with their log-probabilities."""
    sampling = asking.sampling(**_DEFAULTS)
    if sampling.max_tokens > 1:
        return sampling
    choice, top = NAMES if wanted.structured else None, _TOP if wanted.log_probs else None
    return replace(sampling, choice=choice, logprobs=top)


class Prompts:
    """The prompts of pairs, each of which fits the context: documents are cut, and queries that fill a quarter of it.

    Args:
        llm: Counts and cuts.
        asking: The prompt.
        document_tokens: Most tokens of a document; None: as many as fit.
    """

    def __init__(self, llm: Model, asking: Asking, document_tokens: int | None):
        sampling = asking.sampling(**_DEFAULTS)
        spare = NOTE_TOKENS if sampling.temperature == 0 else 0
        self._llm, self._longest = llm, llm.context // 4
        self._fitter = Fitter(llm, asking.prompt, None, "document", sampling.max_tokens + spare, document_tokens)

    def of(self, query: str, document: str) -> Fitted:
        """The prompt of a pair."""
        asked = query
        if len(query.encode("utf-8", "surrogatepass")) > self._longest:  # there are hardly more tokens than bytes
            asked = self._llm.cut(query, self._longest)
        fitted = self._fitter.fit({"query": asked, "document": document})
        return Fitted(fitted.prompt, fitted.cut or len(asked) < len(query))


def _requests(
    llm: LLM, asking: Asking, wanted: Wanted, pairs: Iterable[Pair], found: Tally
) -> Iterator[tuple[Pair, Request]]:
    sampling, prompts = _sampling(asking, wanted), Prompts(llm, asking, wanted.document_tokens)
    for pair in pairs:
        fitted = prompts.of(pair.query, pair.document)
        found.pairs += 1
        found.cut += fitted.cut
        seed = seed_of(asking.seed, pair.qid, pair.docid) if sampling.temperature > 0 else None
        yield pair, Request(fitted.prompt, replace(sampling, seed=seed))


def _judged(pair: Pair, choice: Choice) -> Judgement:
    found = judgement(choice)
    if found is None:
        raise Unusable("no grade in the answer")
    return found


def _write(
    folder: Path, job: Job, pairs: Iterator[tuple[Pair, Judgement]], asking: Asking, keep: bool
) -> dict[str, dict[str, int]]:
    """Write the files; the grades, if they are to be kept."""
    common = {"prompt": asking.prompt.name, "model": asking.model()}
    grades: dict[str, dict[str, int]] = {}
    with (
        Files(folder, ["records.jsonl"], "qrels/judgements.tsv") as files,
        run_writer(folder / "scores.trec", run_tag("judgements", job.manifest)) as scores,
    ):
        for qid, of in groupby(pairs, key=lambda one: one[0].qid):
            hits = []
            for pair, one in of:
                files.judge(qid, pair.docid, one.grade)
                record = {"format": FORMAT, "qid": qid, "docid": pair.docid, **one._asdict(), **common}
                files.add("records.jsonl", record)
                hits.append(Hit(pair.docid, one.expected))
                if keep:
                    grades.setdefault(qid, {})[pair.docid] = one.grade
            scores.write(qid, hits)
    return grades


def _write_agreement(
    folder: Path, human: dict[str, dict[str, int]], ours: dict[str, dict[str, int]], wanted: Wanted
) -> None:
    found = agreement(human, ours, wanted.systems, "judged by people" if wanted.qrels else "asked for")
    with new_text(folder / "agreement.json") as stream:
        json.dump(found, stream, indent=1)
        stream.write("\n")
