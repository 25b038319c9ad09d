"""The grammar that graded lists are composed with: what a user writes under `lists:`, checked and as records.

```yaml
seed: 13
lists:
  - queries: data/queries.jsonl                 # documents of queries, from judgements and runs
    corpus: [data/corpus.jsonl, synth/corpus.jsonl]
    take:                                       # each adds documents to a query's list; none comes twice
      - {from: synth/qrels/train.tsv, grade: [0, 3], k: 4, pick: random}
      - {from: data/qrels/train.tsv, grade: [1, null], set: 3, k: 1}
      - {from: runs/bm25.trec, rank: [10, 200], set: 0, k: 8, margin: 0.95}
    teacher: scores/cross-encoder.trec
    weight: 2
  - {lists: mined/lists.jsonl, corpus: data/corpus.jsonl}      # lists as `write_lists` makes them
  - {corpus: data/corpus.jsonl, pairs: crop}                   # pairs made of each document (`gradir.data.pairs`)
```
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from gradir.errors import InputError

Pick = Literal["random", "top", "bottom", "first"]
Bounds = tuple[int | None, int | None]  # both inclusive; None: no bound


@dataclass(frozen=True)
class Take:
    """Documents that are added to a query's list.

    Attributes:
        file: Judgements (`from` in YAML): BEIR's or TREC's, `ir_datasets:NAME`, a name that Pyserini knows; or a TREC run.
        run: Whether it is a run: its lines have six columns.
        grade: Judgements: only these grades, both ends inclusive.
        rank: Runs: only these ranks, from 1, both ends inclusive, in trec_eval's order of the whole run.
        set: The grade that all get, or a mapping of the grades they have. None: as judged; 0 for a run's documents.
        k: How many are drawn for a list; None: all.
        pick: Which: at `random`; `top` or `bottom`, by grade or by score; `first`, in file order (for a run the same as `top`). Of
            equal grades the earlier in the file goes first.
        margin: Runs: keep documents that score below this share of the best score of a relevant document in the same run. For a
            relevant score p the limit is p - (1 - margin)|p|, which lies below p where p is negative too. Where the run holds no
            relevant document of a query none is taken, as in `gradir mine negatives`: all of them outdo the relevant ones, and
            may be relevant and not judged. Such queries are counted. Without `margin` they are taken.
        judged: Runs: take documents as well that a judgement file of the entry has as relevant (grade 1 or higher).
        source: What `GradedDoc.source` says: `qrels:NAME` or `run:NAME` of the file, unless it is given.
    """

    file: str
    run: bool
    grade: Bounds = (None, None)
    rank: Bounds = (None, None)
    set: int | Mapping[int, int] | None = None
    k: int | None = None
    pick: Pick = "random"
    margin: float | None = None
    judged: bool = False
    source: str = ""

    def new_grade(self, grade: int) -> int | None:
        """The grade that a document judged `grade` gets; None where the mapping has none."""
        if isinstance(self.set, Mapping):
            return self.set.get(grade)
        return grade if self.set is None else self.set


@dataclass(frozen=True)
class FromSources:
    """Lists of the documents that judgements and runs name for queries.

    Attributes:
        name: What the entry is called; query ids begin with it where there are several entries.
        weight: How often its lists come, compared with those of other entries.
        queries: Topics.
        corpus: Where texts are, by id.
        take: In the order in which documents join a list.
        teacher: A run whose scores the documents get.
    """

    name: str
    weight: float
    queries: str
    corpus: tuple[str, ...]
    take: tuple[Take, ...]
    teacher: str | None = None


@dataclass(frozen=True)
class FromLists:
    """Lists from a file, as `write_lists` makes it.

    Attributes:
        name: As in `FromSources`.
        weight: As in `FromSources`.
        lists: The file.
        corpus: Where the texts are that the file itself does not hold; may be empty.
    """

    name: str
    weight: float
    lists: str
    corpus: tuple[str, ...] = ()


@dataclass(frozen=True)
class FromPairs:
    """A list of one document for each document of a corpus, without anybody's judgement: a part of it is the query.

    Attributes:
        name: As in `FromSources`.
        weight: As in `FromSources`.
        corpus: The documents.
        pairs: How a pair is made: a key of `gradir.data.pairs.PAIRS`.
    """

    name: str
    weight: float
    corpus: tuple[str, ...]
    pairs: str


Entry = FromSources | FromLists | FromPairs


@dataclass(frozen=True)
class Composition:
    """Where lists come from, and the seed of all that is drawn."""

    seed: int
    entries: tuple[Entry, ...]

    def files(self) -> list[str]:
        """All files and names that it reads, each once, in order: the inputs of a manifest."""
        found: dict[str, None] = {}
        for entry in self.entries:
            found.update(dict.fromkeys(_files(entry)))
        return list(found)


def _files(entry: Entry) -> Iterator[str]:
    if isinstance(entry, FromSources):
        yield from (entry.queries, *(take.file for take in entry.take))
        if entry.teacher:
            yield entry.teacher
    if isinstance(entry, FromLists):
        yield entry.lists
    yield from entry.corpus


def parse_composition(value: Any, where: str | Path = "the composition", files: bool = True) -> Composition:
    """The composition that a mapping `{seed, lists: […]}` describes.

    Args:
        value: As YAML or JSON give it. `format` may stand in it; `seed` is 13 unless it does.
        where: The file it is from, for errors.
        files: Look at the files: whether they are there, and whether they are judgements or runs. False checks the grammar alone
            (a source with `rank`, `margin` or `judged` is then taken for a run).

    Raises:
        InputError: Unknown keys, wrong types, empty ranges, missing files, keys that do not go together; all are listed.
    """
    from gradir.data.list_grammar import parsed

    seed, entries, problems = parsed(value, files)
    if problems:
        raise InputError(where, "; ".join(problems), "Mend these; the grammar stands in gradir.data.composition")
    return Composition(seed, entries)


def read_composition(path: str | Path) -> Composition:
    """A composition from a YAML (or JSON) file. Paths in it are relative to the working directory.

    Raises:
        InputError: As `parse_composition`; not YAML, no such file, a newer format.
    """
    import yaml

    try:
        value = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(path, str(error.strerror or error), "Check the path") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        raise InputError(path, "not YAML", str(error).splitlines()[0], mark.line + 1 if mark else None) from None
    return parse_composition(value, path)
