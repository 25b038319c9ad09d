"""Graded lists composed from sources: a million of them without a million texts, or any candidate, as Python objects."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradir.data.composition import Composition, FromLists, FromPairs, FromSources, parse_composition
from gradir.data.list_order import Mix
from gradir.data.list_ready import PairLists, ReadyLists
from gradir.data.list_sources import SourceLists
from gradir.data.lists import write_lists
from gradir.data.records import GradedList
from gradir.data.texts import Texts


class GradedLists:
    """The lists that a composition describes, by index.

    Reading them, which the constructor does, takes a few bytes a candidate (`list_pools`), 16 a document of the corpora (`Texts`)
    and the queries; documents are read when a list is drawn. Documents that no corpus holds, and queries that are not among an
    entry's queries, are left out and counted. So are all a query's documents of a run with a `margin` that lacks its relevant ones:
    it is passed over, as `gradir mine negatives` does. Can be pickled, and used by forked or spawned workers.

    Args:
        composition: As `parse_composition` returns it, or what it takes: a mapping `{seed, lists}`, or the list alone.
        seed: Of the draws and orders; None: the composition's.
        positive_grade: Documents graded so or higher are positives.
        require_positive: Leave out queries for which there is no positive at all. A list may still come without one where
            positives are drawn at random among others.

    Raises:
        InputError: The composition or a file of it is wrong; an entry without lists.
    """

    def __init__(
        self,
        composition: Composition | Mapping[str, Any] | Sequence[Mapping[str, Any]],
        seed: int | None = None,
        positive_grade: int = 1,
        require_positive: bool = True,
    ):
        if not isinstance(composition, Composition):
            value = composition if isinstance(composition, Mapping) else {"lists": list(composition)}
            composition = parse_composition(value)
        self.seed = composition.seed if seed is None else seed
        self._texts: dict[tuple[str, ...], Texts] = {}
        self._entries: list[SourceLists | ReadyLists | PairLists] = []
        try:
            for entry in composition.entries:
                if isinstance(entry, FromSources):
                    sources = SourceLists(entry, self._of(entry.corpus), self.seed, positive_grade, require_positive)
                    self._entries.append(sources)
                elif isinstance(entry, FromPairs):
                    self._entries.append(PairLists(entry, self._of(entry.corpus), self.seed))
                else:
                    self._entries.append(self._ready(entry, positive_grade, require_positive))
        except BaseException:
            self.close()  # temporary files
            raise
        weights = [entry.weight for entry in composition.entries]
        self._mix = Mix([len(entry) for entry in self._entries], weights, self.seed)

    def __len__(self) -> int:
        return self._mix.starts[-1]

    def __enter__(self) -> GradedLists:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Unmap all files; temporary ones are removed."""
        for texts in self._texts.values():
            texts.close()
        for entry in self._entries:
            if isinstance(entry, ReadyLists):
                entry.close()

    def draw(self, index: int, epoch: int, texts: bool = True) -> GradedList:
        """One list, as it comes in an epoch.

        It depends on the seed, the index and the epoch alone. Sources that are picked from at random go on from epoch to epoch to
        documents that were not drawn yet, and start again when all were; where two sources offer the same document it can come
        sooner again. A document comes once in a list: of the sources that draw it the first counts.

        Where there are several entries the query's id is `ENTRY:QID`, as the same id may mean two queries.

        Args:
            index: From 0.
            epoch: From 0.
            texts: Fill in `text`. False fills in only what cannot be joined by docid.

        Raises:
            IndexError: There is no such list.
            InputError: A document's line is malformed.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"list {index} of {len(self)}")
        place = bisect_right(self._mix.starts, index) - 1
        number = index - self._mix.starts[place]
        entry = self._entries[place]
        drawn = entry.draw(number, self._mix.earlier(place, number, epoch), texts)
        return drawn if len(self._entries) == 1 else drawn._replace(qid=f"{entry.entry.name}:{drawn.qid}")

    @property
    def scored(self) -> bool:
        """Whether any document of any list has a teacher's score."""
        return any(entry.scored for entry in self._entries)

    def coming(self, epoch: int) -> NDArray[np.int64]:
        """The indices of the lists of an epoch, in order: shuffled by seed and epoch, mixed by weight as `Mix` says.

        With equal weights every list comes once. Otherwise those of the entries with the highest weight do, and of another entry
        such a part as its weight is of the highest: all its lists come before one comes again.
        """
        return self._mix.coming(epoch)

    def statistics(self) -> dict[str, Any]:
        """How many lists there are, and what was left out.

        `lists` in all, and under `entries` for each: `name`, `weight`; `queries` that were read and `lists` they have; `dropped`
        for want of documents (`no_documents`) or, where positives are required, of a positive among what its sources offer
        (`no_positive`); of the lists that are kept, how many have no positive (`without_positive`), one document only
        (`one_document`: other lists can have one in an epoch where sources offer the same documents), or several documents of
        the same grade (`equal_grades`, by all that the sources offer). `take` says for each source how many `candidates` it
        offers and how many were `left_out`, by reason. `teacher` counts candidates without a score.
        """
        entries = [
            {"name": entry.entry.name, "weight": entry.entry.weight} | entry.statistics() for entry in self._entries
        ]
        return {"lists": len(self), "entries": entries}

    def write(self, path: str | Path, epoch: int = 0, texts: bool = False) -> int:
        """Write the lists of an epoch as `write_lists` does, in the order of their indices; returns their number.

        Args:
            path: The file.
            epoch: Which epoch.
            texts: Write all texts. Otherwise only those that cannot be joined by docid.
        """
        return write_lists(path, (self.draw(int(index), epoch, texts) for index in np.sort(self.coming(epoch))))

    def _of(self, corpus: tuple[str, ...]) -> Texts:
        """The texts of an entry; entries with the same corpora share them."""
        if corpus not in self._texts:
            self._texts[corpus] = Texts(corpus)
        return self._texts[corpus]

    def _ready(self, entry: FromLists, positive_grade: int, require_positive: bool) -> ReadyLists:
        texts = self._of(entry.corpus) if entry.corpus else None
        return ReadyLists(entry, texts, positive_grade, require_positive)
