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

_FREQUENT = 2000  # words that lists are made of
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
    """Lists of distinct words, each as likely as any other, and the same list from a random place of its first half to its end.

    Nothing but the list tells what comes next. The words are the most frequent ones, which are single tokens of a tokenizer
    learned on these texts: of rare words, which fall into pieces that occur again and again, a model learns to spell long
    before it copies. Needs all distinct words of the documents in memory.
    """
    ids, words = [], Counter[str]()
    for document in documents:
        ids.append(document.docid)
        words.update(as_data(document.contents).split())
    known = sorted(nsmallest(_FREQUENT, words, key=lambda word: (-words[word], word)))
    for docid in ids:
        for number in range(wanted.per_document):
            chance = np.random.default_rng(salt(wanted.seed, "words", docid, number))
            length = min(len(known), int(chance.integers(*wanted.words, endpoint=True)))
            drawn = [known[place] for place in chance.choice(len(known), length, replace=False)]
            first = int(chance.integers(0, length // 2, endpoint=True))
            prompt = prompts.of(Document(docid, " ".join(drawn)))
            yield Pair(prompt, " ".join(drawn[min(first, length - 1) :]), "", docid, None)
