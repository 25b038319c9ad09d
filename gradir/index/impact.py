"""Sparse vector shards to a Lucene impact index: the impact of a term is its term frequency.

A score is the sum over terms of query impact times document impact. Lucene adds in double precision and returns single:
sums are exact up to 2**24 = 16,777,216 and within one part in 2**24 beyond.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from gradir import jvm
from gradir.data.ids import Duplicates
from gradir.data.vectors import SparseVectors, VectorShards
from gradir.errors import InputError
from gradir.index.docids import check_docids

# Between a term and its impact. Control pictures stand in no tokenizer's vocabulary; `|`, Lucene's default, stands in BERT's.
_DELIMITER = "\u241f"
_CHUNK_DOCUMENTS, _CHUNK_POSTINGS = 2048, 1 << 21  # whose strings are in memory at a time
_LONGEST_TERM = 255  # UTF-16 units: what Anserini's own whitespace analyzer takes whole
_LONGEST_TOKEN = _LONGEST_TERM + len(_DELIMITER) + len(str(2**31 - 1))
_MOST = 2**31 - 1  # sum of a document's impacts: Lucene counts them as tokens


def write(shards: VectorShards, folder: Path, progress: Callable[[int], object]) -> dict[str, Any]:
    """Write the index; returns its counts.

    Args:
        shards: Sparse vector shards.
        folder: An empty folder.
        progress: Called with the number of documents done.

    Raises:
        InputError: A document holds a term that Lucene would cut or split, or that the vocabulary lacks; the impacts of a
            document sum to 2**31 or more; an id is used twice; no document has a term.
        GradirError: Lucene could not write.
    """
    jvm.ensure()
    from jnius import autoclass

    from gradir.index.lucene_writer import LuceneWriter

    vocabulary, seen = _Vocabulary(shards), Duplicates("document id")
    similarity = autoclass("io.anserini.search.similarity.ImpactSimilarity")()
    postings = empty = 0
    with LuceneWriter(folder, _analyzer(), similarity, term_frequencies_only=True) as writer:
        for part, (docids, vectors) in zip(shards.files, shards.sparse_parts(), strict=True):
            check_docids(part, docids, seen)
            vocabulary.check(part, docids, vectors)
            _check_sums(part, docids, vectors)
            for chunk in _chunks(vectors.indptr):
                writer.add(zip(docids[chunk], contents(vocabulary.prefixes, vectors, chunk), strict=True))
                progress(chunk.stop - chunk.start)
            postings += len(vectors.terms)
            empty += int((np.diff(vectors.indptr) == 0).sum())
        seen.finish()
        if not postings:
            raise InputError(shards.folder, "no document has a term", "Nothing could be found: check the encoder")
    return {"documents": writer.documents, "postings": postings, "empty": empty}


class _Vocabulary:
    """The terms of the shards, and which of them cannot be indexed.

    Some tokenizers' vocabularies hold runs of blanks that no document ever uses; so a term is refused where it is used.
    """

    def __init__(self, shards: VectorShards):
        self.path, self.terms = shards.folder / "vocab.txt", shards.vocab()
        self.prefixes = pa.array([term + _DELIMITER for term in self.terms], pa.string())
        self._unfit = np.array([bool(_problem(term)) for term in self.terms], dtype=bool)
        numbers = {term: number for number, term in enumerate(self.terms)}
        for number, term in enumerate(self.terms if len(numbers) < len(self.terms) else ()):
            if numbers[term] != number:
                problem = f"term {term!r} stands again in line {numbers[term] + 1}"
                raise InputError(self.path, problem, "Each term must have one id", number + 1)

    def check(self, part: Path, docids: Sequence[str], vectors: SparseVectors) -> None:
        """Refuse a part whose documents use terms that cannot be indexed."""
        missing = vectors.terms >= len(self.terms)
        if missing.any():
            place = int(np.argmax(missing))
            problem = f"document {_docid(docids, vectors, place)} has term {vectors.terms[place]}, but "
            raise InputError(part, f"{problem}{self.path.name} has only {len(self.terms)} lines", "Encode again")
        unfit = self._unfit[vectors.terms]
        if unfit.any():
            place = int(np.argmax(unfit))
            number = int(vectors.terms[place])
            problem = f"{_problem(self.terms[number])}, and document {_docid(docids, vectors, place)} has it"
            raise InputError(self.path, problem, "Use another tokenizer", number + 1)


def _problem(term: str) -> str:
    """What is wrong with a term, if anything. Python's white space includes all of Lucene's."""
    if not term:
        return "an empty term"
    if term.split() != [term] or _DELIMITER in term:
        return f"term {term!r} holds white space or {_DELIMITER}, where Lucene would split it"
    length = len(term.encode("utf-16-le")) // 2
    return f"a term of {length} characters, Lucene takes {_LONGEST_TERM}" if length > _LONGEST_TERM else ""


def _check_sums(part: Path, docids: Sequence[str], vectors: SparseVectors) -> None:
    totals = np.concatenate([[0], np.cumsum(vectors.impacts, dtype=np.int64)])[vectors.indptr]
    sums = np.diff(totals)
    if (sums > _MOST).any():
        row = int(np.argmax(sums))
        problem = f"the impacts of document {docids[row]} sum to {sums[row]}"
        raise InputError(part, problem, "Lucene takes less than 2**31: use a smaller impact scale", row + 1)


def _docid(docids: Sequence[str], vectors: SparseVectors, place: int) -> str:
    """The document that holds a posting."""
    return docids[int(np.searchsorted(vectors.indptr, place, side="right")) - 1]


def _chunks(indptr: NDArray[np.int64]) -> Iterator[slice]:
    """Runs of documents with a bounded number of postings; one document may exceed it alone."""
    start, documents = 0, len(indptr) - 1
    while start < documents:
        full = int(np.searchsorted(indptr, indptr[start] + _CHUNK_POSTINGS, side="right")) - 1
        stop = max(start + 1, min(full, start + _CHUNK_DOCUMENTS, documents))
        yield slice(start, stop)
        start = stop


def contents(terms: pa.Array, vectors: SparseVectors, chunk: slice) -> list[str]:
    """What the analyzer reads, `term␟impact term␟impact …`, of the documents of a chunk.

    All strings of the chunk are built as one buffer; each document is a slice of it.

    Args:
        terms: Each term with the delimiter behind it.
        vectors: The vectors of a part.
        chunk: Which rows of them.
    """
    indptr = vectors.indptr[chunk.start : chunk.stop + 1]
    span = slice(indptr[0], indptr[-1])
    impacts = pc.cast(pa.array(vectors.impacts[span]), pa.string())
    tokens = pc.binary_join_element_wise(pc.take(terms, pa.array(vectors.terms[span])), impacts, pa.scalar(" "), "")
    if not len(tokens):
        return [""] * (len(indptr) - 1)
    ends = np.frombuffer(tokens.buffers()[1], dtype=np.int32)[: len(tokens) + 1]
    offsets = ends[indptr - indptr[0]].astype(np.int32)
    joined = pa.StringArray.from_buffers(len(offsets) - 1, pa.py_buffer(offsets.tobytes()), tokens.buffers()[2])
    texts: list[str] = joined.to_pylist()
    return texts


def _analyzer() -> Any:
    """Splits at white space and takes the number behind the delimiter as the term's frequency."""
    from jnius import autoclass

    hash_map = autoclass("java.util.HashMap")
    splitting, counting = hash_map(), hash_map()
    splitting.put("maxTokenLen", str(_LONGEST_TOKEN))  # it cuts longer tokens in two; the default counts the impact in
    counting.put("delimiter", _DELIMITER)
    builder = autoclass("org.apache.lucene.analysis.custom.CustomAnalyzer").builder()
    return builder.withTokenizer("whitespace", splitting).addTokenFilter("delimitedTermFrequency", counting).build()
