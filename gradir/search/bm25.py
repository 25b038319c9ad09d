"""BM25 over an index of words, searched by Pyserini with the parameters that it has for the index."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gradir import jvm
from gradir.data.records import Ranking


class Bm25Searcher:
    """A Lucene index of words.

    Args:
        index: Its folder.
        threads: Threads that search.
        name: Pyserini's name of the index: for MS MARCO it has tuned parameters, else k1 = 0.9 and b = 0.4.

    Attributes:
        documents: How many it holds.
        searcher: Pyserini's.

    Raises:
        GradirError: It is no whole Lucene index.
    """

    def __init__(self, index: Path, threads: int, name: str | None = None):
        jvm.ensure()
        from pyserini.search.lucene import LuceneSearcher

        self.index, self.threads = index, threads
        with jvm.errors(index, "open it"):
            # Absolute: Java does not follow a change of the working folder.
            self.searcher = LuceneSearcher(str(index.absolute()))
        self.documents = int(self.searcher.num_docs)
        self.searcher.set_bm25(0.9, 0.4)
        if name is not None:
            from pyserini.search.lucene.__main__ import set_bm25_parameters

            with contextlib.redirect_stdout(sys.stderr):  # it says which parameters it takes
                set_bm25_parameters(self.searcher, name)

    def search(self, queries: Sequence[str], hits: int) -> list[Ranking]:
        """The best documents of each query with a score above 0, by score descending, then docid ascending."""
        names = [str(number) for number in range(len(queries))]
        with jvm.errors(self.index, "search it"):
            found = self.searcher.batch_search(list(queries), names, k=hits, threads=self.threads)
        # A query without any hit has an empty list: one that is missing is an error.
        rows = [found[name] for name in names]
        return [Ranking([hit.docid for hit in row], np.array([hit.score for hit in row], np.float32)) for row in rows]

    def close(self) -> None:
        """Close its files."""
        self.searcher.close()
