"""The built-in demonstration collection: docstrings of the installed libraries as documents, queries and graded judgements."""

from __future__ import annotations

import gc
import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from gradir.collection import grades, queries
from gradir.collection.names import Names
from gradir.collection.sources import LIBRARIES, Module, Source, files_of, folder_of, parse
from gradir.collection.text import Text, read_docstring

# what decorators fill in: a %(name)s or a ${NAME} in running text; standing alone in a line they are taken out before
_TEMPLATE = re.compile(r"%\(\w+\)[sd]|\$\{[A-Z_]+\}|\{\{ ?\w+ ?\}\}")
_LICENCE = re.compile(r"\bCopyright\b.*\b(19|20)\d\d\b|\bAll rights reserved\b|\bPermission to use\b", re.IGNORECASE)
_STUB = re.compile(
    r"^(this is the configuration class|deprecated|this (function|class|method) (is|has been) deprecated|internal (helper|use)"
    r"|for internal use|private|todo\b|copyright|licensed under|base class for (tests|testing))",
    re.IGNORECASE,
)


@dataclass
class Entry:
    """One document on its way.

    Attributes:
        docid: Its name in the collection.
        source: Where it was found.
        text: What its docstring says.
        query: Its first sentence, where that makes a query.
        places: Places of definition that this document stands for.
    """

    docid: str
    source: Source
    text: Text
    query: str = ""
    places: list[str] = field(default_factory=list)

    @property
    def title(self) -> str:
        """The public name: the docid without the number that tells namesakes apart."""
        return re.sub(r"-\d+$", "", self.docid)

    def body(self) -> str:
        """The text as it is written: without the query."""
        return (queries.without_first_sentence(self.text) if self.query else self.text).body()


@dataclass
class Collection:
    """What is written, with the numbers of what was not.

    Attributes:
        entries: The documents, libraries in order.
        graded: docid of the query's document to {docid: grade}.
        split: docid to split.
        removed: Documents left out, by reason.
        refused: Documents without a query, by reason.
        files_left_out: Source files not read, by reason.
    """

    entries: list[Entry]
    graded: dict[str, dict[str, int]]
    split: dict[str, str]
    removed: Counter[str]
    refused: Counter[str]
    files_left_out: Counter[str]


def build() -> Collection:
    """Read the installed libraries and apply every rule; nothing is written."""
    removed: Counter[str] = Counter()
    files_left_out: Counter[str] = Counter()
    names: dict[str, Names] = {}
    entries: list[Entry] = []
    with _no_garbage_collection():
        for library, modules in _libraries(files_left_out):
            names[library] = Names(modules)
            entries += _entries(modules, names[library], removed)
    entries = _distinct(entries, removed)
    entries = _quarter(entries, removed)
    _make_unique(entries)
    refused = _choose_queries(entries)
    graded, split = _judge(entries, names)
    return Collection(entries, graded, split, removed, refused, files_left_out)


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Syntax trees hold no cycles worth looking for: the search would take a third of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _libraries(left_out: Counter[str]) -> Iterator[tuple[str, list[Module]]]:
    """The parsed files of each library."""
    from tqdm import tqdm

    folders = {library: folder_of(library) for library in LIBRARIES}
    listed = {library: files_of(folder) for library, folder in folders.items()}
    with tqdm(total=sum(len(files) for files, _ in listed.values()), unit="file", desc="reading sources") as bar:
        for library, (files, counts) in listed.items():
            left_out.update(counts)
            shared: dict[str, dict[str, object]] = {}
            # the constants that other files of PyTorch put into their docstrings
            first = [path for path in files if path.name == "_torch_docs.py"]
            for path in first:
                parse(path, folders[library], shared)
            modules = []
            for path in files:
                module = parse(path, folders[library], shared)
                bar.update()
                if module is None:
                    left_out["cannot be parsed"] += 1
                else:
                    modules.append(module)
            yield library, modules


def _entries(modules: list[Module], names: Names, removed: Counter[str]) -> Iterator[Entry]:
    """The docstrings of a library that make documents, in the order of its files."""
    for source in (source for module in modules for source in module.sources):
        public = names.public(source)
        if public is None:
            removed["has no public name"] += 1
            continue
        text = read_docstring(source.text)
        reason = _unfit(text)
        if reason:
            removed[reason] += 1
        else:
            yield Entry(public, source, text, places=[source.path])


def _unfit(text: Text) -> str:
    """Why a docstring is no document; empty if it is one."""
    sentence = queries.first_sentence(text)
    body = text.body()
    if text.described < queries.MIN_DESCRIBED:
        return f"fewer than {queries.MIN_DESCRIBED} words of description"
    if _TEMPLATE.search(body):
        return "holds placeholders that are filled in when the library runs"
    if text.paragraphs and queries.is_list_entry(text.paragraphs[0][1]):
        return "begins with an argument list, without prose"
    if _STUB.search(sentence):
        return "deprecated, generated or internal by its first sentence"
    if _LICENCE.search(body):
        return "holds a licence or copyright notice"
    letters = sum(character.isalpha() or character.isspace() for character in body)
    if letters < 0.75 * len(body):
        return "mostly code, tables or formulas"
    return ""


def _distinct(entries: list[Entry], removed: Counter[str]) -> list[Entry]:
    """One document per distinct text; texts that differ only in names count as one, and so do near-duplicates."""
    kept: dict[str, Entry] = {}
    by_text: dict[str, Entry] = {}
    by_mask: dict[str, Entry] = {}
    order = {library: rank for rank, library in enumerate(LIBRARIES)}
    unique = []
    for entry in sorted(
        entries, key=lambda entry: (order[entry.source.library], entry.docid.count("."), entry.docid, entry.source.path)
    ):
        body = entry.text.body()
        text, mask = " ".join(queries.words(body)), " ".join(grades.masked(body))
        known = by_text.get(text) or by_mask.get(mask)
        if known:
            removed[
                "same text as another document" if text in by_text else "differs only in names from another document"
            ] += 1
            known.places += entry.places
            continue
        by_text[text] = by_mask[mask] = entry
        unique.append(entry)
    keyed = {f"{rank:06d}": entry for rank, entry in enumerate(unique)}
    alike = grades.near_duplicates({key: entry.text.body() for key, entry in keyed.items()})
    for key, entry in keyed.items():
        holder, share = alike.get(key, ("", 0.0))
        if share >= grades.NEAR_DUPLICATE and holder in kept:
            removed["near-duplicate of another document"] += 1
            kept[holder].places += entry.places
        else:
            kept[key] = entry
    return list(kept.values())


def _quarter(entries: list[Entry], removed: Counter[str]) -> list[Entry]:
    """At most a quarter of the documents from one library: objects with short names first, then by a hash."""
    counts = Counter(entry.source.library for entry in entries)
    cap = max(counts.values(), default=0)
    while cap > sum(min(count, cap) for count in counts.values()) / 4 and cap > 1:
        cap -= 1
    chosen: set[int] = set()
    for library in counts:
        own = [entry for entry in entries if entry.source.library == library]
        own.sort(key=lambda entry: (entry.docid.count("."), hashlib.sha256(entry.docid.encode()).hexdigest()))
        chosen.update(id(entry) for entry in own[:cap])
    removed["more than a quarter from one library"] += len(entries) - len(chosen)
    return [entry for entry in entries if id(entry) in chosen]


def _make_unique(entries: list[Entry]) -> None:
    """Docids that two objects share get numbers, in the order of the documents."""
    seen: Counter[str] = Counter()
    for entry in entries:
        seen[entry.docid] += 1
        if seen[entry.docid] > 1:
            entry.docid = f"{entry.docid}-{seen[entry.docid]}"


def _choose_queries(entries: list[Entry]) -> Counter[str]:
    """Set the query of every entry whose first sentence makes one; the reasons of the others, counted."""
    refused: Counter[str] = Counter()
    sentences = {entry.docid: queries.first_sentence(entry.text) for entry in entries}
    twice = queries.repeated(sentences.values())
    candidates: dict[str, str] = {}
    for entry in entries:
        sentence = sentences[entry.docid]
        left = queries.without_first_sentence(entry.text).described if sentence else 0
        names = (entry.source.name, entry.title.rpartition(".")[2])
        reason = queries.refusal(sentence, names, left)
        if not reason and " ".join(queries.words(sentence)) in twice:
            reason = "repeats in another document"
        if reason:
            refused[reason] += 1
        else:
            candidates[entry.docid] = sentence
    bodies = (
        queries.without_first_sentence(entry.text).body() if entry.docid in candidates else entry.text.body()
        for entry in entries
    )
    quoted = queries.found_in(candidates, bodies)
    refused["stands in the text of a document"] += len(quoted)
    for entry in entries:
        if entry.docid in candidates and entry.docid not in quoted:
            entry.query = candidates[entry.docid]
    refused["leaves the same text as another document"] += _withdraw_ambiguous(entries)
    return refused


def _withdraw_ambiguous(entries: list[Entry]) -> int:
    """Take back the queries without which documents are distinct; returns their number."""
    withdrawn = 0
    while True:
        groups: dict[str, list[Entry]] = defaultdict(list)
        for entry in entries:
            groups[" ".join(queries.words(entry.body()))].append(entry)
        ambiguous = [entry for group in groups.values() if len(group) > 1 for entry in group if entry.query]
        if not ambiguous:
            return withdrawn
        for entry in ambiguous:
            entry.query = ""
        withdrawn += len(ambiguous)


def _judge(entries: list[Entry], names: dict[str, Names]) -> tuple[dict[str, dict[str, int]], dict[str, str]]:
    """The judgements of every query, and the split of every document."""
    document_at = {place: entry.docid for entry in entries for place in entry.places}
    library = {entry.docid: entry.source.library for entry in entries}

    def find(name: str, near: str) -> str | None:
        head = name.partition(".")[0]
        scope = head if head in names else library[near]
        place = names[scope].find(name, near if scope == library[near] else scope)
        return document_at.get(place) if place else None

    bodies = {entry.docid: entry.body() for entry in entries}
    same = grades.same_object({entry.docid: entry.text.body() for entry in entries}, library, find)
    graded: dict[str, dict[str, int]] = {}
    for entry in entries:
        if not entry.query:
            continue
        related = (find(name, entry.docid) for name in entry.text.see_also)
        judged = {docid: grades.SEE_ALSO for docid in related if docid}
        judged |= dict.fromkeys(same.get(entry.docid, ()), grades.SAME_OBJECT)
        graded[entry.docid] = judged | {entry.docid: grades.ITSELF}
    return graded, grades.splits(bodies, same, bodies)
