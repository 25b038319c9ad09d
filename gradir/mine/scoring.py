"""Scores made in parts, a window of queries and a member each, so that work can go on after any kill; then put together."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gradir.data.asked_pairs import Asked, Pairs, TextsOfPairs
from gradir.data.atomic import new_path
from gradir.data.manifest import PARTS, manifest_path
from gradir.data.runs import aligned, iter_columns
from gradir.errors import InputError
from gradir.mine.ensemble import COMBINATIONS, NORMALIZATIONS, Combination, Normalization

if TYPE_CHECKING:
    import pyarrow as pa

    from gradir.data.run_reading import QueryColumns
    from gradir.mine.members import Member


class Opening(NamedTuple):
    """A member that is opened when its turn comes.

    Attributes:
        name: For people.
        window: Queries that are scored together: what a kill can cost.
        open: Opens it.
    """

    name: str
    window: int
    open: Callable[[], Member]


@dataclass(frozen=True)
class Work:
    """What is scored by whom.

    Attributes:
        pairs: The pairs.
        members: Models that score them.
        files: Runs with ready scores.
        combination: What is made of several scores of a pair.
        normalization: What is done with each member's scores of a query before.
        drop_missing: A pair that a file lacks is left out; otherwise it is an error.
        output: Where the scores go.
    """

    pairs: Pairs
    members: Sequence[Opening]
    files: Sequence[Path]
    combination: Combination
    normalization: Normalization
    drop_missing: bool
    output: Path

    def part(self, member: int, window: int) -> Path:
        """One member's scores of one window, .npy, float64 [pairs]."""
        return parts_of(self.output) / f"member-{member:02d}-{window:05d}.npy"


class Combined(NamedTuple):
    """One query's documents, their scores together, [n], those of the first member alone, [n], and the pairs left out."""

    qid: str
    docids: list[str]
    scores: NDArray[np.float64]
    first: NDArray[np.float64]
    left_out: int


def parts_of(output: Path) -> Path:
    """Where finished parts wait."""
    return output.with_name(output.name + PARTS)


def mend(output: Path) -> None:
    """Remove an output that a process left without a manifest when it was killed at its very end; its parts are all there."""
    partial = parts_of(output) / "manifest.partial.json"
    if output.is_file() and not manifest_path(output).exists() and partial.is_file():
        output.unlink()


def make_parts(work: Work, texts: TextsOfPairs, number: int) -> float:
    """Make the parts that are not there yet, one member after another; pairs a second.

    Args:
        work: What is scored.
        texts: Of all pairs.
        number: How many pairs there are.
    """
    from tqdm import tqdm

    done, started = 0, time.perf_counter()
    for place, opening in enumerate(work.members):
        member = None
        with tqdm(total=number, desc=opening.name, unit=" pairs", smoothing=0.05, leave=False, disable=None) as bar:
            for window, asked in work.pairs.windows(opening.window):
                path, size = work.part(place, window), sum(len(one.docids) for one in asked)
                if path.exists():
                    bar.update(size)
                    continue
                member = member or opening.open()
                scores = member.score(asked, texts, bar.update)
                with new_path(path) as temporary, temporary.open("wb") as stream:
                    np.save(stream, scores)
                done += size
    return round(done / (time.perf_counter() - started), 1)


def combined(work: Work) -> Iterator[Combined]:
    """The scores of each query, those of all members together.

    Raises:
        InputError: A file lacks a pair.
    """
    import pyarrow as pa

    columns = [_Column(work, place) for place in range(len(work.members))]
    files = [_File(path, work.drop_missing) for path in work.files]
    for asked, scored in _beside(work.pairs, work.files):
        rows = [column.take(len(asked.docids)) for column in columns]
        docids = pa.array(asked.docids, pa.string())
        rows += [file.scores(asked.qid, docids, found) for file, found in zip(files, scored, strict=True)]
        table = np.stack(rows)  # [members, n]
        known = np.asarray(~np.isnan(table).any(0))
        kept = table[:, known]
        scores = COMBINATIONS[work.combination](NORMALIZATIONS[work.normalization](kept)) if known.any() else kept[0]
        named = [docid for docid, sound in zip(asked.docids, known.tolist(), strict=True) if sound]
        yield Combined(asked.qid, named, scores, kept[0], len(asked.docids) - len(named))


def _beside(pairs: Pairs, files: Sequence[Path]) -> Iterator[tuple[Asked, list[QueryColumns | None]]]:
    """Each query that is asked for, and what the files have for it."""
    streams: list[Iterator[tuple[str, Any]]] = [((one.qid, one) for one in pairs)]
    streams += [iter_columns(path) for path in files]
    for _, (asked, *found) in aligned(streams):
        if asked is None:
            return  # what comes now, only files have
        yield asked, found


class _File(NamedTuple):
    """A run with ready scores."""

    path: Path
    may_lack: bool

    def scores(self, qid: str, docids: pa.StringArray, found: QueryColumns | None) -> NDArray[np.float64]:
        """The scores of a query's documents, [n]; NaN where there is none and that is allowed."""
        scores = _looked_up(docids, found)
        lost = np.flatnonzero(np.isnan(scores))
        if len(lost) and not self.may_lack:
            more = f" (nor have {len(lost) - 1} more of this query)" if len(lost) > 1 else ""
            problem = f"query {qid}, document {docids[lost[0]]} has no score in it{more}"
            raise InputError(self.path, problem, "Score it there too, or give --missing drop")
        return scores


def _looked_up(docids: pa.StringArray, found: QueryColumns | None) -> NDArray[np.float64]:
    """The score of each document, NaN where it has none, [n]."""
    import pyarrow.compute as pc

    if found is None:
        return np.full(len(docids), np.nan)
    places = pc.index_in(docids, found.docids).fill_null(-1).to_numpy()
    return np.where(places >= 0, found.scores[places], np.nan)


class _Column:
    """A member's scores from its parts, in the order of the pairs."""

    def __init__(self, work: Work, member: int):
        self._work, self._member, self._window = work, member, 0
        self._rest = np.zeros(0)

    def take(self, number: int) -> NDArray[np.float64]:
        """The next scores, [number]."""
        while len(self._rest) < number:
            path = self._work.part(self._member, self._window)
            self._rest = np.concatenate([self._rest, np.load(path, allow_pickle=False)])
            self._window += 1
        taken, self._rest = self._rest[:number], self._rest[number:]
        return taken
