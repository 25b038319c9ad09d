"""The documents of a source one at a time, their vectors as JSON objects: for formats that are text."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from gradir.data.ids import Duplicates
from gradir.index.docids import check_docids
from gradir.index.source import Source
from gradir.index.token_writer import contents
from gradir.index.vocabulary import Vocabulary

_ROWS = 2048  # documents whose texts are in memory at a time


def documents(
    source: Source, counts: dict[str, int], progress: Callable[[int], object], name: Callable[[str], str] = str
) -> Iterator[tuple[Path, str, str]]:
    """(file, docid, `{"term":impact, …}`) of each document in order; the object may be empty.

    Args:
        source: Sparse vectors.
        counts: Where documents, postings, different terms and empty documents are counted, complete at the end.
        progress: Called with the number of documents done.
        name: What a term is called.

    Raises:
        InputError: A document holds a term that Lucene would cut or split, an id is used twice or could not stand in a run.
    """
    vocabulary, seen = Vocabulary(source.folder / "vocab.txt", source.vocab()), Duplicates("document id")
    keys = pa.array([f",{json.dumps(name(term), ensure_ascii=False)}:" for term in vocabulary.terms], pa.string())
    used = np.zeros(len(vocabulary.terms), dtype=bool)
    counts |= dict.fromkeys(("documents", "postings", "terms", "empty"), 0)
    for part, docids, vectors in source.sparse():
        check_docids(part, docids, seen)
        vocabulary.check(part, docids, vectors)
        for start in range(0, len(docids), _ROWS):
            rows = slice(start, min(start + _ROWS, len(docids)))
            for docid, members in zip(docids[rows], contents(keys, vectors.rows(rows)), strict=True):
                yield part, docid, f"{{{members[1:-1]}}}"  # without the first comma and the last space
            progress(rows.stop - start)
        used[vectors.terms] = True
        counts["documents"] += len(docids)
        counts["postings"] += len(vectors.terms)
        counts["empty"] += int((np.diff(vectors.indptr) == 0).sum())
    seen.finish()
    counts["terms"] = int(used.sum())
