"""Which documents are relevant besides the document itself, which texts are too much alike, and which split a query is in."""

from __future__ import annotations

import hashlib
import re
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping

from gradir.collection.queries import folded, words

ITSELF, SAME_OBJECT, SEE_ALSO = 3, 2, 1

# Share of a text's five-word sequences that stand in an earlier text, above which it adds nothing
NEAR_DUPLICATE = 0.8
# Names borne by more documents of a library than this (fit, forward) say nothing about sameness
MAX_NAMESAKES = 8
# Share of common words (of the words in either) from which namesakes are taken for the same object; short texts tell nothing
TWIN_WORDS, MIN_TWIN_VOCABULARY = 0.4, 12
SPLITS = {"test": 0.46, "dev": 0.07, "train": 0.47}

_ANOTHER_NAME = re.compile(
    r"(?:[Aa]lias (?:for|of|to)|(?:[Ii]n|[Oo]ut-of)-?place version of|[Ff]unctional (?:interface|version|form) (?:of|to|for)"
    r"|[Rr]efer to|[Ss]ee|[Ee]quivalent to|[Ss]ame as|[Ww]rapper (?:for|around|of)|version of)"
    r" (?:the )?([A-Za-z_]\w*(?:\.\w+)*)"
)


def masked(text: str) -> list[str]:
    """The words of a text with identifiers and numbers blanked, so that texts that differ only in names are equal."""
    tokens = re.findall(r"\w+(?:\.\w+)*", text)
    return ["_" if re.search(r"[_.\d]|[a-z][A-Z]|^[A-Z]{2}", token) else token.lower() for token in tokens]


def near_duplicates(bodies: Mapping[str, str]) -> dict[str, tuple[str, float]]:
    """Document to the earlier one that holds most of its five-word sequences, and the share it holds.

    Args:
        bodies: Text by docid; earlier ones are kept in favour of later ones.
    """
    holders: dict[int, list[str]] = defaultdict(list)
    result: dict[str, tuple[str, float]] = {}
    for docid, body in bodies.items():
        tokens = masked(body)
        runs = {zlib.crc32(" ".join(tokens[at : at + 5]).encode()) for at in range(max(1, len(tokens) - 4))}
        # Comparing a fixed eighth of the sequences finds the same pairs in less time; short texts are compared whole.
        runs = {run for run in runs if run % 8 == 0} if len(runs) > 160 else runs
        votes = Counter(holder for run in runs for holder in holders.get(run, ()))
        if votes:
            holder, count = min(votes.items(), key=lambda item: (-item[1], item[0]))
            result[docid] = (holder, count / len(runs))
        if result.get(docid, ("", 0.0))[1] < NEAR_DUPLICATE:
            for run in runs:
                if len(holders[run]) < 40:
                    holders[run].append(docid)
    return result


def same_object(
    bodies: Mapping[str, str], library: Mapping[str, str], find: Callable[[str, str], str | None]
) -> dict[str, set[str]]:
    """Documents about one object under several names, both ways.

    Two documents are if the first 60 words of one say so (`Alias for x`), or if they bear the same name in one library
    and share most of their words.

    Args:
        bodies: Text by docid.
        library: Library by docid.
        find: (name as written, docid) to docid.
    """
    pairs: set[tuple[str, str]] = set()
    groups: dict[tuple[str, str], list[str]] = defaultdict(list)
    for docid, body in bodies.items():
        groups[library[docid], own_name(docid)].append(docid)
        for name in _ANOTHER_NAME.findall(" ".join(body.split()[:60])):
            other = find(name, docid)
            if other and other != docid and own_name(other) == own_name(docid):
                pairs.add((docid, other))
    for group in groups.values():
        if 2 <= len(group) <= MAX_NAMESAKES:
            pairs.update(_twins(group, bodies))
    result: dict[str, set[str]] = defaultdict(set)
    for one, other in pairs:
        result[one].add(other)
        result[other].add(one)
    return result


def own_name(docid: str) -> str:
    """The folded last part of a docid, without the number that tells namesakes apart."""
    return folded(re.sub(r"-\d+$", "", docid).rpartition(".")[2])


def _twins(group: list[str], bodies: Mapping[str, str]) -> Iterable[tuple[str, str]]:
    vocabularies = {docid: {word for word in words(bodies[docid]) if len(word) > 3} for docid in group}
    for at, one in enumerate(group):
        for other in group[at + 1 :]:
            first, second = vocabularies[one], vocabularies[other]
            common = len(first & second)
            # methods of different classes owe words in common to the conventions of their library
            share = TWIN_WORDS + 0.1 * (one.count(".") > 1 and one.split(".")[-2][:1].isupper())
            if common >= share * len(first | second) and min(len(first), len(second)) >= MIN_TWIN_VOCABULARY:
                yield one, other


def splits(docids: Iterable[str], same: Mapping[str, set[str]], texts: Mapping[str, str]) -> dict[str, str]:
    """The split of each document; documents of one object are in one split, chosen by a hash of their texts.

    Args:
        docids: All documents.
        same: Documents of the same object.
        texts: Text by docid.
    """
    result: dict[str, str] = {}
    for docid in docids:
        if docid in result:
            continue
        component, pending = {docid}, [docid]
        while pending:
            new = same.get(pending.pop(), set()) - component
            component |= new
            pending += new
        digests = sorted(hashlib.sha256(texts[member].encode()).hexdigest() for member in component)
        digest = hashlib.sha256("".join(digests).encode()).hexdigest()
        split = _split(int(digest[:8], 16) / 2**32)
        result.update(dict.fromkeys(component, split))
    return result


def _split(point: float) -> str:
    for name, share in SPLITS.items():
        if point < share:
            return name
        point -= share
    return name
