"""Impact indexes: the score of a document is the sum over terms of query impact times document impact."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gradir import jvm
from gradir.data.records import Ranking
from gradir.data.vectors import SparseVectors
from gradir.errors import InputError


class ImpactSearcher:
    """A Lucene impact index, written by gradir or by Pyserini, searched exactly: no term is left out for being frequent.

    Args:
        index: Its folder.
        vocab: The terms of the queries by id.
        threads: Threads that search.

    Attributes:
        documents: How many it holds.

    Raises:
        InputError: It is no whole Lucene index.
    """

    def __init__(self, index: Path, vocab: Sequence[str], threads: int):
        jvm.ensure()
        from pyserini.search.lucene import LuceneImpactSearcher

        from gradir.engine.query_encoders import KnownQueries

        self.index, self.threads, self._vocab = index, threads, np.asarray(vocab, dtype=object)
        self._searcher = LuceneImpactSearcher(str(index), KnownQueries([], []), min_idf=-1)
        self.documents = int(self._searcher.num_docs)

    def search(self, queries: SparseVectors, hits: int) -> list[Ranking]:
        """The best documents of each query with a score above 0, by score descending, then docid ascending."""
        from jnius import JavaException

        from gradir.engine.query_encoders import KnownQueries, to_dicts

        names = [str(number) for number in range(len(queries))]
        self._searcher.query_encoder = KnownQueries(names, to_dicts(queries, self._vocab))
        try:
            found = self._searcher.batch_search(names, names, k=hits, threads=self.threads)
        except JavaException as error:
            cause = str(error).splitlines()[0].partition(": ")[2]
            raise InputError(self.index, f"Lucene could not search it ({cause})", "Index again") from None
        rows = [found[name] for name in names]
        return [Ranking([hit.docid for hit in row], np.array([hit.score for hit in row], np.float32)) for row in rows]
