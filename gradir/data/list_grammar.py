"""Reading the grammar of `composition`: every key with what it may hold; all problems are collected."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from gradir.data import named
from gradir.data.composition import Bounds, Entry, FromLists, FromPairs, FromSources, Pick, Take
from gradir.data.corpus import corpus_files
from gradir.data.jsonl import FORMAT
from gradir.data.text import Lines
from gradir.errors import InputError, nearest

_DEFAULT_SEED = 13
_KINDS = {  # what tells an entry's kind: its keys
    "take": ("queries", "corpus", "take", "teacher", "weight", "name"),
    "lists": ("lists", "corpus", "weight", "name"),
    "pairs": ("corpus", "pairs", "weight", "name"),
}
_TAKE = ("from", "grade", "rank", "set", "k", "pick", "margin", "judged", "source")
_OF_RUNS = ("rank", "margin", "judged")
GRADES = range(-128, 128)  # kept in one byte


def parsed(value: Any, files: bool) -> tuple[int, tuple[Entry, ...], list[str]]:
    """(seed, entries, problems) of a composition; where there are problems the rest is of no use."""
    reader = _Reader(files)
    if not isinstance(value, Mapping):
        return 0, (), ["not a mapping with `lists`"]
    reader.known("", value, ("format", "seed", "lists"))
    version = value.get("format", FORMAT)
    if version != FORMAT or isinstance(version, bool):
        reader.problems.append(f"`format` is {version!r}, this gradir reads {FORMAT}")
    seed = reader.count("", value, "seed", least=0)
    lists = value.get("lists")
    if not isinstance(lists, list) or not lists:
        reader.problems.append("`lists` is not a list of one entry or more")
        lists = []
    entries = [reader.entry(f"entry {number}: ", number, one) for number, one in enumerate(lists, 1)]
    found = tuple(entry for entry in entries if entry is not None)
    names = [entry.name for entry in found]
    reader.problems += [f"two entries are called `{name}`" for name in dict.fromkeys(names) if names.count(name) > 1]
    return _DEFAULT_SEED if seed is None else seed, found, reader.problems


class _Reader:
    """Reads values and collects what is wrong with them.

    Args:
        files: Look at the files, too.
    """

    def __init__(self, files: bool):
        self.files = files
        self.problems: list[str] = []

    def entry(self, place: str, number: int, value: Any) -> Entry | None:
        kind = next((key for key in _KINDS if isinstance(value, Mapping) and key in value), None)
        if kind is None:
            self.problems.append(f"{place}not a mapping with `take`, `lists` or `pairs`{_misspelt(value)}")
            return None
        self.known(place, value, _KINDS[kind])
        name = self.text(place, value, "name") or str(number)
        if name.split() != [name] or "\0" in name:
            self.problems.append(f"{place}`name` holds white space, and query ids begin with it")
        weight = self.number(place, value, "weight", 0, math.inf)
        head = (name, 1.0 if weight is None else weight)
        corpus = self.corpus(place, value, needed=kind != "lists")
        if kind == "lists":
            return FromLists(*head, self.file(place, value, "lists", needed=True), corpus)
        if kind == "pairs":
            return FromPairs(*head, corpus, self.pairs(place, value))
        queries = self.file(place, value, "queries", needed=True, what="topics")
        takes = self.takes(place, value["take"])
        return FromSources(*head, queries, corpus, takes, self.file(place, value, "teacher") or None)

    def takes(self, place: str, value: Any) -> tuple[Take, ...]:
        if not isinstance(value, list) or not value:
            self.problems.append(f"{place}`take` is not a list of one source or more")
            return ()
        takes = tuple(self.take(f"{place}take {number}: ", one) for number, one in enumerate(value, 1))
        if all(take.run for take in takes):
            self.problems += [
                f"{place}take {number}: `margin` needs judgements among the entry's sources, to know what is relevant"
                for number, take in enumerate(takes, 1)
                if take.margin is not None
            ]
        return takes

    def take(self, place: str, value: Any) -> Take:
        if not isinstance(value, Mapping):
            self.problems.append(f"{place}not a mapping with `from`")
            return Take("", False)
        self.known(place, value, _TAKE)
        file = self.file(place, value, "from", needed=True, what="qrels")
        run = self.is_run(place, file, value)
        wrong = [key for key in (("grade",) if run else _OF_RUNS) if value.get(key) is not None]
        kind, other = ("a run", "judgements") if run else ("judgements", "runs")
        self.problems += [f"{place}`{key}` is for {other}, and {file or '`from`'} is {kind}" for key in wrong]
        k, pick = self.count(place, value, "k", least=1), value.get("pick")
        if pick is not None and pick not in get_args(Pick):
            known = ", ".join(get_args(Pick))
            self.problems.append(f"{place}`pick` is {pick!r}, not one of {known}{nearest(str(pick), get_args(Pick))}")
        elif pick is not None and k is None:
            self.problems.append(f"{place}`pick` has no effect without `k`, the number of documents to pick")
        judged = value.get("judged")
        if not isinstance(judged, bool | None):
            self.problems.append(f"{place}`judged` is {judged!r}, not true or false")
        return Take(
            file,
            run,
            self.bounds(place, value, "grade"),
            self.bounds(place, value, "rank", least=1),
            self.grades(place, value, run),
            k,
            pick or ("random" if k else "first"),
            self.number(place, value, "margin", 0, 1),
            bool(judged),
            self.text(place, value, "source") or f"{'run' if run else 'qrels'}:{_stem(file)}",
        )

    def grades(self, place: str, value: Mapping[str, Any], run: bool) -> int | Mapping[int, int] | None:
        """`set`: a grade, or a mapping of grades; in JSON its keys are text."""
        found = value.get("set")
        if isinstance(found, Mapping) and found and not run:
            pairs = [(_whole(key), _whole(new)) for key, new in found.items()]
            if all(old in GRADES and new in GRADES for old, new in pairs):
                return {int(old): int(new) for old, new in pairs if old is not None and new is not None}
        elif found is None or (not isinstance(found, str) and _whole(found) in GRADES):
            return 0 if found is None and run else found
        what = "a whole number" if run else "a whole number or a mapping of whole numbers, as {1: 2, 2: 3}"
        self.problems.append(f"{place}`set` is {found!r}, not {what} (from {GRADES[0]} to {GRADES[-1]})")
        return None

    def bounds(self, place: str, value: Mapping[str, Any], key: str, least: int | None = None) -> Bounds:
        found = value.get(key)
        if found is None:
            return None, None
        if not isinstance(found, list) or len(found) != 2 or any(isinstance(end, str) for end in found):
            self.problems.append(f"{place}`{key}` is {found!r}, not [lowest, highest], where null is no bound")
            return None, None
        low, high = (None if end is None else _whole(end) for end in found)
        if [low, high] != found:
            self.problems.append(f"{place}`{key}` is {found!r}, not whole numbers or null")
        elif least is not None and any(end is not None and end < least for end in (low, high)):
            self.problems.append(f"{place}`{key}` is {found!r}, and the first is {least}")
        elif low is not None and high is not None and low > high:
            self.problems.append(f"{place}`{key}` is {found!r}, which is empty")
        return low, high

    def is_run(self, place: str, file: str, value: Mapping[str, Any]) -> bool:
        """Judgements or a run: by the first line where there is a file, else by the keys."""
        by_keys = any(value.get(key) is not None for key in _OF_RUNS)
        if not self.files or not Path(file).is_file():
            return by_keys
        try:
            text = next((line for line in Lines(file) if line.strip()), "")
        except InputError as error:
            self.problems.append(f"{place}{error}")
            return by_keys
        if text.count("\t") in (2, 3):
            return False
        columns = len(text.split())
        if columns not in (3, 4, 6):
            self.problems.append(
                f"{place}{file}: neither judgements (3 or 4 columns) nor a run (6), but {columns} columns"
            )
        return columns == 6

    def corpus(self, place: str, value: Mapping[str, Any], needed: bool) -> tuple[str, ...]:
        found = value.get("corpus")
        several: list[Any] = found if isinstance(found, list) else [found]
        if found is None and not needed:
            return ()
        if not several or not all(isinstance(one, str) and one for one in several):
            self.problems.append(f"{place}`corpus` is {found!r}, not a path or a list of paths")
            return ()
        for one in several:
            if not self.files or named.is_ir_datasets(one):
                continue
            try:
                missing = [file for file in corpus_files(one) if not file.is_file()]
                self.problems += [f"{place}`corpus`: {file}: no such file" for file in missing]
            except InputError as error:
                self.problems.append(f"{place}`corpus`: {error}")
        return tuple(several)

    def pairs(self, place: str, value: Mapping[str, Any]) -> str:
        from gradir.data.pairs import PAIRS

        found = self.text(place, value, "pairs", needed=True)
        if found and found not in PAIRS:
            self.problems.append(f"{place}`pairs` is {found!r}, not one of {', '.join(PAIRS)}{nearest(found, PAIRS)}")
        return found

    def file(self, place: str, value: Mapping[str, Any], key: str, needed: bool = False, what: str = "") -> str:
        """A path; where `what` can be had by name, names will do too."""
        found = self.text(place, value, key, needed)
        by_name = what and (named.is_ir_datasets(found) or named.is_pyserini_name(found))
        folder = what == "topics" and Path(found).is_dir()
        if found and self.files and not by_name and not folder and not Path(found).is_file():
            self.problems.append(f"{place}`{key}`: {found}: no such file")
        return found

    def text(self, place: str, value: Mapping[str, Any], key: str, needed: bool = False) -> str:
        found = value.get(key)
        if found is None and key not in value and needed:
            self.problems.append(f"{place}no `{key}`")
        elif (found is None and needed) or (found is not None and (not isinstance(found, str) or not found)):
            hint = ": one file, not several" if isinstance(found, list) else ""
            self.problems.append(f"{place}`{key}` is {found!r}, not text{hint}")
        return found if isinstance(found, str) else ""

    def count(self, place: str, value: Mapping[str, Any], key: str, least: int) -> int | None:
        found = value.get(key)
        if found is None or (isinstance(found, int) and not isinstance(found, bool) and found >= least):
            return found
        self.problems.append(f"{place}`{key}` is {found!r}, not a whole number from {least}")
        return None

    def number(self, place: str, value: Mapping[str, Any], key: str, above: float, upto: float) -> float | None:
        found = value.get(key)
        if found is None:
            return None
        if (
            isinstance(found, int | float)
            and not isinstance(found, bool)
            and above < found <= upto
            and found < math.inf
        ):
            return float(found)
        most = f", up to {upto:g}" if upto < math.inf else ""
        self.problems.append(f"{place}`{key}` is {found!r}, not a number above {above:g}{most}")
        return None

    def known(self, place: str, value: Mapping[str, Any], keys: tuple[str, ...]) -> None:
        self.problems += [f"{place}unknown key `{key}`{nearest(str(key), keys)}" for key in value if key not in keys]


def _misspelt(value: Any) -> str:
    """What an entry without a kind may have meant."""
    keys = value if isinstance(value, Mapping) else ()
    return next((hint for key in keys if key not in _KINDS["take"] and (hint := nearest(str(key), _KINDS))), "")


def _whole(value: Any) -> int | None:
    """A whole number, also as text; None for anything else."""
    if isinstance(value, str):
        return int(value) if re.fullmatch(r"-?\d{1,9}", value) else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _stem(file: str) -> str:
    """`train` of `data/qrels/train.tsv.gz`; names stay as they are."""
    if named.is_ir_datasets(file) or not Path(file).suffix or named.is_pyserini_name(file):
        return file
    stem = Path(file).name.removesuffix(".gz").removesuffix(".zst")
    return Path(stem).stem
