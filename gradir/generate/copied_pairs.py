"""What teaches a writer to copy: sentences of documents as queries, and lists of words that are said again."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from heapq import nsmallest
from itertools import pairwise

import numpy as np

from gradir.data.list_order import salt
from gradir.data.records import Document
from gradir.generate.queries_job import Prompts
from gradir.generate.render import Model, as_data
from gradir.generate.wanted_pairs import Wanted
from gradir.generate.written_pairs import Pair

_SENTENCE_END = re.compile(r"""[.!?。！？]["'”’)\]]*(?=\s|$)""")


def sentence_ends(text: str) -> list[int]:
    """Where sentences end, in characters."""
    return [end.end() for end in _SENTENCE_END.finditer(text)]


def sentences(text: str, fewest: int, most: int) -> list[str]:
    """The distinct sentences of a text within bounds of words; one that has no end is none."""
    found = [text[start:end].strip() for start, end in pairwise([0, *sentence_ends(text)])]
    return list(dict.fromkeys(one for one in found if fewest <= len(one.split()) <= most))


def drawn_sentences(wanted: Wanted, model: Model, document: Document, counts: Counter[str]) -> list[str]:
    """Sentences of the part of a document that is shown, drawn by the seed."""
    found = sentences(model.cut(as_data(document.contents), wanted.document_tokens), *wanted.words)
    counts["without_a_sentence"] += not found
    return nsmallest(wanted.per_document, found, key=lambda one: salt(wanted.seed, "sentence", document.docid, one))


def sentence_answers(
    wanted: Wanted, model: Model, prompts: Prompts, documents: Iterator[Document], counts: Counter[str]
) -> Iterator[Pair]:
    """Documents, and sentences of what of them is shown."""
    for document in documents:
        drawn = drawn_sentences(wanted, model, document, counts)
        yield from (Pair(prompts.of(document), one, "", document.docid, None) for one in drawn)


def word_answers(wanted: Wanted, prompts: Prompts, documents: Iterator[Document]) -> Iterator[Pair]:
    """Lists of words, drawn as often as they occur, and the same lists turned: from a place of the first half on, then the rest.

    Nothing but the list tells what comes next. Words as frequent as in texts are learned from sooner than equally frequent ones,
    as Chan et al. 2022 (arXiv 2205.05055) found of learning in context at large. Needs all distinct words in memory.
    """
    ids, words = [], Counter[str]()
    for document in documents:
        ids.append(document.docid)
        words.update(as_data(document.contents).split())
    known, ends = sorted(words), np.cumsum([words[word] for word in sorted(words)])
    for docid in ids:
        for number in range(wanted.per_document):
            chance = np.random.default_rng(salt(wanted.seed, "words", docid, number))
            places = chance.integers(0, ends[-1], chance.integers(*wanted.words, endpoint=True))
            drawn = [known[place] for place in np.searchsorted(ends, places, side="right")]
            first = int(chance.integers(0, (len(drawn) + 1) // 2))
            prompt = prompts.of(Document(docid, " ".join(drawn)))
            yield Pair(prompt, " ".join(drawn[first:] + drawn[:first]), "", docid, None)
