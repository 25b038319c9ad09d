"""A corpus to a Lucene index for BM25, with Anserini's English analyzer: the baseline that every other index is held against."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

from gradir import jvm
from gradir.data.corpus import read_corpus
from gradir.errors import InputError


def write(corpus: str | Path, folder: Path, progress: Callable[[int], object]) -> dict[str, Any]:
    """Write the index; returns its counts. Title and text are one field, as in Anserini's BEIR "flat" collections.

    Raises:
        InputError: The corpus cannot be read, or all its documents are empty.
        GradirError: Lucene could not write.
    """
    jvm.ensure()
    from jnius import autoclass

    from gradir.index.lucene_writer import LuceneWriter

    analyzer = autoclass("io.anserini.analysis.DefaultEnglishAnalyzer").newDefaultInstance()
    similarity = autoclass("org.apache.lucene.search.similarities.BM25Similarity")()
    empty = 0
    with LuceneWriter(folder, analyzer, similarity, term_frequencies_only=False) as writer:
        stream = read_corpus(corpus)
        while batch := list(islice(stream, 1024)):
            writer.add([document.docid for document in batch], [document.contents for document in batch])
            empty += sum(not document.contents.strip() for document in batch)
            progress(len(batch))
        if empty == writer.documents:
            raise InputError(corpus, "all documents are empty", "Are the texts in the fields `text` or `contents`?")
    return {"documents": writer.documents, "empty": empty}
