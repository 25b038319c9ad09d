"""`gradir mine queries`: queries that a corpus asks by itself, a sentence or the title of each document."""

from __future__ import annotations

import random
import shlex
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from gradir.command import Outcome
from gradir.data.records import Document
from gradir.errors import GradirError, InputError

Kind = Literal["sentence", "title"]


class Question(NamedTuple):
    """A query and the document that it was taken from."""

    qid: str
    text: str
    docid: str


def queries(
    corpus: str,
    output: Path,
    kind: Kind = "sentence",
    min_words: int = 5,
    max_words: int = 60,
    seed: int = 13,
    overwrite: bool = False,
) -> Outcome:
    """Queries without anybody's judgement: a sentence of each document, or its title, with the document as the answer.

    The text stays in the document: BM25, or it and a dense encoder fused, find it and what is near, and their scores are what a
    SPLADE encoder learns the weights of terms from on a corpus of one's own (encode/beir-splade-mini.yaml). To train with the
    sentence taken out of its document, give `pairs: cloze` among the lists of a training instead.

    Writes queries.jsonl and qrels/train.tsv (grade 1).

    Args:
        corpus: BEIR folder or corpus file.
        output: The folder to write.
        kind: sentence: one of each document, drawn; title: its title.
        min_words: Fewest words of a query, as white space divides them.
        max_words: Most words.
        seed: Of the draw.
        overwrite: Replace an output made from another corpus or with other flags.
    """
    output = Path(output)
    if not 1 <= min_words <= max_words:
        raise GradirError(
            f"--min-words {min_words} and --max-words {max_words}: at least 1, and no more than the second."
        )
    from gradir.data.atomic import new_folder
    from gradir.data.corpus import corpus_files
    from gradir.data.jsonl import read_objects, write_objects
    from gradir.data.manifest import Job
    from gradir.data.qrels import write_qrels
    from gradir.data.records import Qrel

    config = {"kind": kind, "min_words": min_words, "max_words": max_words, "seed": seed}
    job = Job(output, "gradir mine queries", config, corpus_files(corpus), overwrite)
    then = shlex.join(["gradir", "search", "--index", "INDEX", "--topics", str(output), "--output", "RUN"])
    if job.finished:
        return Outcome(output, f"{output} is finished; nothing to do", then)
    counts: Counter[str] = Counter(queries=0, without=0, repeated=0)
    with new_folder(output, replace=True) as folder:
        path = folder / "queries.jsonl"
        found = _questions(corpus, kind, min_words, max_words, seed, counts)
        write_objects(path, ({"_id": one.qid, "text": one.text, "metadata": {"docid": one.docid}} for one in found))
        if not counts["queries"]:
            raise InputError(
                corpus, f"no document has a {kind} of {min_words} to {max_words} words", "Change the bounds"
            )
        judged = (Qrel(one["_id"], one["metadata"]["docid"], 1) for _, one in read_objects(path))
        write_qrels(folder / "qrels" / "train.tsv", judged)
        job.finish(dict(counts), folder=folder)
    dropped = f"{counts['without']:,} documents without one, {counts['repeated']:,} asked before"
    return Outcome(output, f"{output}: {counts['queries']:,} queries; {dropped}", then)


def _questions(
    corpus: str, kind: Kind, min_words: int, max_words: int, seed: int, counts: Counter[str]
) -> Iterator[Question]:
    """A query of each document that has one, in the order of the corpus; equal texts once."""
    from gradir.data.corpus import read_corpus
    from gradir.data.list_order import salt
    from gradir.data.same_text import same_text

    seen: set[int] = set()  # hashes: at a million queries the texts would not be small
    for document in read_corpus(corpus):
        fitting = [text for text in _candidates(document, kind) if min_words <= len(text.split()) <= max_words]
        if not fitting:
            counts["without"] += 1
            continue
        text = " ".join(random.Random(f"{seed}\0{document.docid}").choice(fitting).split())
        key = salt(0, same_text(text))
        if key in seen:
            counts["repeated"] += 1
            continue
        seen.add(key)
        counts["queries"] += 1
        yield Question(f"{document.docid}-{kind[0]}", text, document.docid)


def _candidates(document: Document, kind: Kind) -> list[str]:
    from gradir.data.pairs import sentences

    return sentences(document.text) if kind == "sentence" else [document.title.strip()]
