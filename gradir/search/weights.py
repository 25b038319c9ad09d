"""What a query and a document have in common, as an index has it: the terms of a score."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gradir import jvm
from gradir.data.vectors import SparseVectors, VectorShards
from gradir.errors import InputError
from gradir.search.document_vectors import ShardVectors

_FIELD = "contents"


class Weight(NamedTuple):
    """One term of a query; `document` is 0 where the document lacks it."""

    term: str
    query: float
    document: float

    @property
    def product(self) -> float:
        """What it adds to the score."""
        return self.query * self.document


def impact_weights(index: Path, query: Sequence[tuple[str, int]], docid: str) -> list[Weight]:
    """The impacts of a document in a Lucene index.

    Args:
        index: Its folder.
        query: The terms of the query and their impacts.
        docid: The document.

    Raises:
        InputError: The document is not in the index.
    """
    jvm.ensure()
    with jvm.errors(index, "read it"), jvm.lucene_reader(index) as reader:
        for leaf in _leaves(reader):
            place = _document(leaf, docid)
            if place is not None:
                return [Weight(term, impact, _frequency(leaf, term, place)) for term, impact in query]
    raise _absent(index, docid)


def shard_weights(folder: Path, query: Sequence[tuple[str, int]], docid: str) -> list[Weight]:
    """The impacts of a document in vector shards."""
    shards = VectorShards(folder)
    for docids, vectors in shards.sparse_parts():
        if docid in docids:
            terms, impacts = vectors.row(docids.index(docid))
            names = shards.vocab()
            found = dict(zip([names[term] for term in terms], impacts.tolist(), strict=True))
            return [Weight(term, impact, found.get(term, 0)) for term, impact in query]
    raise _absent(folder, docid)


def bm25_weights(index: Path, searcher: Any, query: str, docid: str) -> list[Weight]:
    """Lucene's own explanation: how often a term stands in the query, and what one occurrence adds to the score.

    Args:
        index: Its folder.
        searcher: Pyserini's `LuceneSearcher`, whose similarity and analyzer count.
        query: The text of the query.
        docid: The document.

    Raises:
        InputError: The document is not in the index.
    """
    from jnius import autoclass, cast
    from pyserini.analysis import get_lucene_analyzer

    analyzer = get_lucene_analyzer()
    tokens = autoclass("io.anserini.analysis.AnalyzerUtils").analyze(analyzer, query)
    counts = Counter(str(token) for token in tokens.toArray())
    generator = autoclass("io.anserini.search.query.BagOfWordsQueryGenerator")()
    with jvm.errors(index, "read it"), jvm.lucene_reader(index) as reader:
        place = _global_document(reader, docid)
        if place is None:
            raise _absent(index, docid)
        # A cast, or pyjnius takes the constructor for a reader's context.
        lucene = autoclass("org.apache.lucene.search.IndexSearcher")(
            cast("org.apache.lucene.index.IndexReader", reader)
        )
        lucene.setSimilarity(searcher.get_similarity())
        explained = lucene.explain(generator.buildQuery(_FIELD, analyzer, query), place)
        added = dict(_terms(explained)) if explained.isMatch() else {}
    return [Weight(term, count, added.get(term, 0.0) / count) for term, count in counts.items()]


def query_terms(vectors: SparseVectors, vocab: Sequence[str]) -> list[tuple[str, int]]:
    """The terms of one query and their impacts."""
    terms, impacts = vectors.row(0)
    return [(vocab[term], impact) for term, impact in zip(terms.tolist(), impacts.tolist(), strict=True)]


def dense_vector(type: str, index: Path, searcher: Any, docid: str) -> NDArray[np.float32]:
    """[D] the vector of a document, as the index has it.

    Raises:
        InputError: The document is not in the index, or its vectors cannot be had.
    """
    if type == "exact":
        return np.asarray(ShardVectors(VectorShards(index))([docid]), dtype=np.float32)[0]
    if not type.startswith("lucene-"):
        found: NDArray[np.float32] = searcher.vectors([docid])[0]
        return found
    jvm.ensure()
    with jvm.errors(index, "read it"), jvm.lucene_reader(index) as reader:
        for leaf in _leaves(reader):
            place = _document(leaf, docid)
            if place is not None:
                values = leaf.getFloatVectorValues("vector")
                values.advance(place)
                return np.array(values.vectorValue(), dtype=np.float32)
    raise _absent(index, docid)


def similarities(query: NDArray[np.float32], document: NDArray[np.float32]) -> tuple[float, float, float, float]:
    """(length of the query, length of the document, cosine, inner product) of two vectors [D]."""
    first, second = query.astype(np.float64), document.astype(np.float64)
    product, lengths = float(first @ second), (float(np.linalg.norm(first)), float(np.linalg.norm(second)))
    return *lengths, product / (lengths[0] * lengths[1]) if all(lengths) else 0.0, product


def _terms(explained: Any) -> Iterator[tuple[str, float]]:
    """(term, what it adds) of an explanation, which is a sum of terms or a single one."""
    found = re.match(rf"weight\({_FIELD}:(.*) in \d+\)", explained.getDescription())
    if found:
        yield found[1], float(explained.getValue().doubleValue())
        return
    for part in explained.getDetails():
        yield from _terms(part)


def _leaves(reader: Any) -> Iterator[Any]:
    leaves = reader.leaves()
    for number in range(leaves.size()):
        yield leaves.get(number).reader()


def _global_document(reader: Any, docid: str) -> int | None:
    leaves = reader.leaves()
    for number in range(leaves.size()):
        place = _document(leaves.get(number).reader(), docid)
        if place is not None:
            return int(leaves.get(number).docBase) + place
    return None


def _document(leaf: Any, docid: str) -> int | None:
    """The number of a document in a segment, if it is there and not deleted."""
    postings = _postings(leaf, "id", docid)
    live = leaf.getLiveDocs()
    while postings is not None and (place := postings.nextDoc()) < leaf.maxDoc():
        if live is None or live.get(place):
            return int(place)
    return None


def _frequency(leaf: Any, term: str, place: int) -> int:
    postings = _postings(leaf, _FIELD, term)
    return int(postings.freq()) if postings is not None and postings.advance(place) == place else 0


def _postings(leaf: Any, field: str, term: str) -> Any:
    from jnius import autoclass

    frequencies = autoclass("org.apache.lucene.index.PostingsEnum").FREQS
    return leaf.postings(autoclass("org.apache.lucene.index.Term")(field, term), frequencies)


def _absent(index: Path, docid: str) -> InputError:
    return InputError(index, f"document {docid} is not in it", "Check the id")
