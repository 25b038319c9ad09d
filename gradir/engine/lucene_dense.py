"""Lucene's dense vector indexes, flat or HNSW, written by gradir or by Anserini, searched by Anserini."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradir import jvm
from gradir.data.records import Ranking
from gradir.errors import InputError

_FIELD = "vector"  # Anserini's name of it
_LEAST_EF_SEARCH = 100  # Anserini's


class LuceneDenseSearcher:
    """A Lucene index of dense vectors; a score is (1 + inner product) / 2, as Lucene has it.

    Equal scores are in the order of their ids. In a flat index ids also decide which of several documents with the last
    score are kept; in a graph Lucene decides.

    Args:
        index: The folder.
        threads: Threads that search.
        ef_search: HNSW: candidates looked at in each segment, never fewer than the hits asked for; 100 if not given.

    Attributes:
        documents: How many it holds.
        dimensions: Of a vector.
        hnsw: Whether it is a graph.

    Raises:
        InputError: It is no whole Lucene index, or has no dense vectors.
    """

    def __init__(self, index: Path, threads: int, ef_search: int | None = None):
        jvm.ensure()
        from jnius import autoclass

        self.index, self.threads, self._ef_search = index, threads, ef_search or _LEAST_EF_SEARCH
        with jvm.errors(index, "open it"):
            self.documents, self.dimensions, self.hnsw = _described(index)
            self._arguments = autoclass("io.anserini.search.HnswDenseSearcher$Args")()
            self._arguments.index, self._arguments.quiet = str(Path(index).absolute()), True
            # for flat indexes too, where it is as exact: Anserini's FlatDenseSearcher never finds more than 1,000
            self._searcher = autoclass("io.anserini.search.HnswDenseSearcher")(self._arguments)

    def search(self, queries: NDArray[np.float32], hits: int) -> list[Ranking]:
        """The nearest documents of each query [N, D], by score descending, then docid ascending.

        Raises:
            InputError: The queries' vectors are of another size than the documents', or Lucene cannot read the index.
        """
        if queries.shape[1] != self.dimensions:
            problem = f"holds vectors of {self.dimensions} numbers, those of the queries have {queries.shape[1]}"
            raise InputError(self.index, problem, "Give the --encoder that it was made with")
        k = min(hits, self.documents)
        if self.hnsw:
            return self._found(queries, k)
        asked, rankings = min(k + 1, self.documents), list[Ranking]()
        for query, ranking in zip(queries, self._found(queries, asked), strict=True):
            rankings.append(self._widened(query[np.newaxis], ranking, k))
        return rankings

    def close(self) -> None:
        """Give the files of the index back."""
        self._searcher.close()

    def _widened(self, query: NDArray[np.float32], found: Ranking, k: int) -> Ranking:
        """The first k, after looking further while the last score found is that of the k-th: Lucene knows no ids there."""
        asked = k + 1
        while len(found.scores) == asked < self.documents and found.scores[-1] == found.scores[k - 1]:
            asked = min(4 * asked, self.documents)
            found = self._found(query, asked)[0]
        return Ranking(found.docids[:k], found.scores[:k])

    def _found(self, queries: NDArray[np.float32], k: int) -> list[Ranking]:
        """The first k of each query; of a graph, of those looked at."""
        from jnius import autoclass

        self._arguments.efSearch = max(self._ef_search, k) if self.hnsw else k
        texts, names = autoclass("java.util.ArrayList")(), autoclass("java.util.ArrayList")()
        for number, query in enumerate(queries.tolist()):
            texts.add(json.dumps(query))
            names.add(str(number))
        with jvm.errors(self.index, "search it"):
            found = self._searcher.batch_search(texts, names, k, self.threads)
            rows = {entry.getKey(): entry.getValue() for entry in found.entrySet().toArray()}
            return [_ranking(rows[str(number)]) for number in range(len(queries))]


def _ranking(found: Any) -> Ranking:
    return Ranking([hit.docid for hit in found], np.array([hit.score for hit in found], dtype=np.float32))


def _described(index: Path) -> tuple[int, int, bool]:
    """(documents, size of a vector, whether it is a graph)."""
    from jnius import autoclass

    path = autoclass("java.nio.file.Paths").get(str(Path(index).absolute()))
    directory = autoclass("org.apache.lucene.store.FSDirectory").open(path)
    reader = autoclass("org.apache.lucene.index.DirectoryReader").open(directory)
    try:
        segments = reader.leaves()
        field = segments.get(0).reader().getFieldInfos().fieldInfo(_FIELD) if segments.size() else None
        if field is None or not field.getVectorDimension():
            raise InputError(index, "holds no dense vectors", "Make such an index: gradir index --type lucene-hnsw")
        form = field.getAttribute("PerFieldKnnVectorsFormat.format") or ""
        return int(reader.numDocs()), int(field.getVectorDimension()), "Hnsw" in form
    finally:
        reader.close()
        directory.close()
