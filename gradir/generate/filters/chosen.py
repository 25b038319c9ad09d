"""Which filters were asked for, whether they go together, and what they read."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradir.errors import InputError, nearest
from gradir.generate.filters import language as languages
from gradir.generate.filters.contamination import HeldOut, held_out
from gradir.generate.filters.rejudged import Opinion
from gradir.generate.generated import Generated, Kind, kind_of

_LENGTHS = ("query_chars", "query_words", "document_chars", "document_words")
_LOG_PROBS = ("min_tokens", "max_tokens", "min_log_prob", "top_k")
_MADE = ("drop_boilerplate", "language", "duplicates")  # look at the text that was made
_DETAILS = ("input", "against_split", "device", "dtype", "batch_tokens", "judged_by", "keep")


@dataclass(frozen=True)
class Chosen:
    """The flags of `gradir generate filter` that decide what is kept; see there."""

    input: Path
    corpus: list[str] | None = None
    topics: str | None = None
    drop_boilerplate: bool = False
    language: str | None = None
    query_chars: list[int] | None = None
    query_words: list[int] | None = None
    document_chars: list[int] | None = None
    document_words: list[int] | None = None
    drop_copies: bool = False
    max_overlap: float | None = None
    against: list[str] | None = None
    against_split: str = "test"
    ngram: int = 13
    against_similarity: float = 0.8
    min_tokens: int | None = None
    max_tokens: int | None = None
    min_log_prob: float | None = None
    judgements: Path | None = None
    min_judged: float | None = None
    max_difference: float | None = None
    judged_by: Opinion = "grade"
    run: Path | None = None
    round_trip: int | None = None
    scores: Path | None = None
    reranker: str | None = None
    min_score: float | None = None
    level_gap: int | None = None
    duplicates: float | None = None
    keep: str = "first"
    top_k: int | None = None
    top_scores: int | None = None
    complete: bool = False
    device: str = "auto"
    dtype: str = "auto"
    batch_tokens: int | None = None

    def source(self) -> Generated:
        """The folder that is filtered."""
        return Generated(self.input, self.corpus or (), self.topics)

    def held_out(self) -> list[HeldOut]:
        """The test collections."""
        return held_out(self.against or (), self.against_split)

    def given(self, *names: str) -> list[str]:
        """Those of some flags that were given, as the user types them."""
        return ["--" + name.replace("_", "-") for name in names if _is_given(getattr(self, name))]

    def config(self) -> dict[str, Any]:
        """What decides the result besides the files: the flags that were given."""
        files = ("input", "corpus", "topics", "judgements", "run", "scores", "reranker", "against", "device")
        found = {name: value for name, value in vars(self).items() if name not in files and _is_given(value)}
        return {**found, "scored_by": "reranker" if self.reranker else "scores" if self.scores else None}

    def inputs(self) -> list[str | Path]:
        """All that is read."""
        source = self.source()
        found: list[str | Path] = [*source.files()]
        if source.kind != "documents" and self.corpus:
            found += source.document_files()
        if source.kind == "judgements" and self.topics:
            found.append(source.query_file())
        found += [path for path in (self.run, self.scores) if path]
        if self.judgements:
            found += Generated(self.judgements).files()
        found += [file for one in self.held_out() for file in one.files()]
        if self.reranker:
            from gradir.models.loading import locate

            found.append(locate(self.reranker))
        return found

    def problems(self) -> list[str]:
        """All that is wrong with the flags and what they name."""
        found = [*self._number_problems(), *self._file_problems(), *self._scorer_problems()]
        try:
            kind = kind_of(Path(self.input))
        except InputError as error:
            return [*found, str(error)]
        return [*found, *self._kind_problems(kind)]

    def _number_problems(self) -> Iterator[str]:
        for name in _LENGTHS:
            bounds = getattr(self, name)
            flag = "--" + name.replace("_", "-")
            if bounds is not None and not 1 <= len(bounds) <= 2:
                yield f"{flag} takes one or two numbers, not {len(bounds)}"
            elif bounds is not None and not 0 <= bounds[0] <= bounds[-1]:
                yield f"{flag} {' '.join(map(str, bounds))} is no range of lengths"
        for name in ("ngram", "min_tokens", "max_tokens", "round_trip", "level_gap", "top_k", "top_scores"):
            value = getattr(self, name)
            if value is not None and value < 1:
                yield f"--{name.replace('_', '-')} {value} is below 1"
        for name, lowest in (("duplicates", 0.0), ("against_similarity", 0.0), ("max_overlap", -math.inf)):
            value = getattr(self, name)
            if value is not None and not (lowest < value <= 1 and value >= 0):
                yield f"--{name.replace('_', '-')} {value} is no share {'above 0' if not lowest else 'from 0'}, up to 1"
        for name in ("min_log_prob", "min_judged", "max_difference", "min_score"):
            value = getattr(self, name)
            if value is not None and not math.isfinite(value):
                yield f"--{name.replace('_', '-')} {value} is not finite"
        if self.min_tokens and self.max_tokens and self.min_tokens > self.max_tokens:
            yield f"--min-tokens {self.min_tokens} is above --max-tokens {self.max_tokens}"
        if self.language is not None and self.language not in languages.known():
            known = languages.known()
            yield f"--language {self.language} is not known{nearest(self.language, known)} ({' '.join(known)})"

    def _file_problems(self) -> Iterator[str]:
        for path in (self.run, self.scores):
            if path is not None and not Path(path).is_file():
                yield f"{path}: no such file"
        for corpus in self.corpus or ():
            if not corpus.startswith("ir_datasets:") and not Path(corpus).exists():
                yield f"--corpus {corpus}: no such file or folder"
        for one in self.held_out():
            yield from one.problems()
        if self.judgements is not None:
            try:
                kind_of(Path(self.judgements))
            except InputError as error:
                yield f"--judgements {error}"

    def _scorer_problems(self) -> Iterator[str]:
        scored = self.given("min_score", "top_scores")
        if self.scores and self.reranker:
            yield "--scores and --reranker say the same: give one"
        if scored and not self.scores and not self.reranker:
            yield f"{' and '.join(scored)} need{'s' * (len(scored) == 1)} --scores or --reranker"
        if self.round_trip and not self.run:
            yield "--round-trip needs --run"
        if self.level_gap and not (self.run or self.scores or self.reranker):
            yield "--level-gap needs --run, --scores or --reranker"
        if self.run and not self.round_trip and not self.level_gap:
            yield "--run does nothing without --round-trip or --level-gap"
        used = scored or (self.level_gap and not self.run) or (self.duplicates and self.keep == "best")
        if (self.scores or self.reranker) and not used:
            yield "--scores and --reranker do nothing without --min-score, --top-scores, --level-gap or --keep best"
        if self.top_k and self.top_scores:
            yield "--top-k and --top-scores are two ways to choose the best: give one"
        if self.keep == "best" and not self.duplicates:
            yield "--keep best does nothing without --duplicates"
        judged = self.given("min_judged", "max_difference")
        if bool(judged) != (self.judgements is not None):
            yield "--judgements needs --min-judged or --max-difference, and they need it"

    def _kind_problems(self, kind: Kind) -> Iterator[str]:
        """What does not fit what was generated."""
        fitting = {
            "queries": ("round_trip", "top_scores", *_LOG_PROBS),
            "documents": ("level_gap", "complete"),
            "judgements": ("min_score",),
        }
        refused = {
            "queries": ("level_gap", "complete", "topics"),
            "documents": ("round_trip", "top_scores", "min_score", "corpus", "topics", *_LOG_PROBS),
            "judgements": ("round_trip", "top_scores", "level_gap", "complete", *_MADE, *_LOG_PROBS),
        }
        wrong = self.given(*refused[kind])
        if wrong:
            may = ", ".join("--" + name.replace("_", "-") for name in fitting[kind])
            yield f"{', '.join(wrong)}: not for {kind}, which {self.input} holds (for them: {may})"
        texts = self.given("document_chars", "document_words", "drop_copies", "max_overlap", "reranker")
        if texts and kind != "documents" and not self.corpus:
            yield f"{', '.join(texts)} need{'s' * (len(texts) == 1)} --corpus"
        queries = self.given("query_chars", "query_words", "drop_copies", "max_overlap", "reranker", "against")
        if queries and kind == "judgements" and not self.topics:
            yield f"{', '.join(queries)} need{'s' * (len(queries) == 1)} --topics"


def _is_given(value: object) -> bool:
    """Whether a flag has a value; 0 is one."""
    return value is not None and value is not False
