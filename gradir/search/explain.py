"""`gradir search --explain QID DOCID`: where the score of a document comes from, in one index or several, and in runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradir.command import Outcome
from gradir.data.records import Query
from gradir.data.runs import iter_run
from gradir.errors import GradirError, nearest
from gradir.search import weights
from gradir.search.encoded_topics import EncodedTopics
from gradir.search.indexes import Index
from gradir.search.queries import Opening, QuerySide, chosen_queries, query_side
from gradir.search.searchers import Searcher
from gradir.search.weights import Weight

_DENSE = ("length of the query", "length of the document", "cosine", "inner product")
_LISTED = 20  # terms that the document lacks
_SAME = 1e-5  # relative: Lucene and FAISS add in single precision


@dataclass(frozen=True)
class Explanation:
    """The score of a document in an index.

    Attributes:
        name: Of the index.
        rank: Among the hits; None if it is not among them.
        found: The score that search gives it; None if it is not among the hits.
        score: The sum of the terms, or the inner product.
        details: The table of its terms.
    """

    name: str
    rank: int | None
    found: float | None
    score: float
    details: str


def explained(
    indexes: Sequence[Index],
    open_index: Callable[[QuerySide, Index], Searcher],
    opening: Opening,
    known: EncodedTopics | None,
    topics: str | None,
    pair: Sequence[str],
    runs: Sequence[Path],
    hits: int,
    force: bool,
) -> Outcome:
    """The explanation as the text of an outcome.

    Args:
        indexes: Each is explained for itself.
        open_index: Opens its searcher.
        opening: The encoder; an index of words among others takes none.
        known: Queries encoded before.
        topics: The queries.
        pair: Query id and document id.
        runs: Where the document is looked up as well.
        hits: How deep to look for it.
        force: Another encoder is only a warning.

    Raises:
        GradirError: No such query or document; encoder and index do not belong together.
    """
    qid, docid = pair
    query = _query(chosen_queries(topics, known, None), qid, topics)
    encoded, warnings = any(index.encoder for index in indexes), ""
    found = []
    for index in indexes:
        words = encoded and index.encoder is None  # BM25 beside others
        side = query_side(index, Opening() if words else opening, None if words else known, force)
        found.append(_explanation(index, open_index(side, index), side, query, docid, hits))
        warnings += side.warning
    table = [("", "rank", "score")]
    table += [(one.name, _rank(one.rank, hits), f"{one.score:.6g}") for one in found]
    table += [_in_run(run, qid, docid) for run in runs]
    head = f"query {qid}{f': {query.text}' if query.text else ''}\ndocument {docid}"
    return Outcome(
        message=warnings.rstrip(), text="\n\n".join([head, _aligned(table), *(one.details for one in found)])
    )


def _query(queries: Sequence[Query], qid: str, topics: str | None) -> Query:
    for query in queries:
        if query.qid == qid:
            return query
    raise GradirError(
        f"{topics or 'the encoded topics'}: no query {qid}{nearest(qid, [query.qid for query in queries])}"
    )


def _explanation(index: Index, searcher: Searcher, side: QuerySide, query: Query, docid: str, hits: int) -> Explanation:
    encoded = side.encode([query])
    (ranking,) = searcher.search(encoded, hits)
    place = list(ranking.docids).index(docid) if docid in ranking.docids else None
    found = None if place is None else float(ranking.scores[place])
    score, details = _details(index, searcher, side, encoded, docid)
    if found is not None and abs(found - score) > _SAME * max(1.0, abs(score)):
        details += f"\nbut the search gives it {found:.6g}: an approximate index, or shortened documents"
    name = str(index.name or index.folder)
    return Explanation(name, None if place is None else place + 1, found, score, f"{name} ({index.type})\n{details}")


def _details(index: Index, searcher: Any, side: QuerySide, encoded: Any, docid: str) -> tuple[float, str]:
    """(score, its table) of a document."""
    if index.encoder and index.encoder["kind"] == "dense":
        query, document = encoded[0], weights.dense_vector(index.type, index.folder, searcher, docid)
        *rows, product = zip(_DENSE, weights.similarities(query, document), strict=True)
        rows.append(product)
        if index.type.startswith("lucene-"):
            rows.append(("score: (1 + inner product) / 2", (1 + product[1]) / 2))
        return rows[-1][1], _aligned([(name, f"{value:.6f}") for name, value in rows])
    if index.encoder is None:
        found = weights.bm25_weights(index.folder, searcher.searcher, encoded[0], docid)
    else:
        look_up = weights.impact_weights if index.type == "impact" else weights.shard_weights
        found = look_up(index.folder, weights.query_terms(encoded, side.vocab), docid)
    return sum(weight.product for weight in found), _terms(found)


def _terms(found: Sequence[Weight]) -> str:
    """The terms that document and query share, by what they add; then those that the document lacks."""
    shared = sorted((weight for weight in found if weight.document), key=lambda weight: (-weight.product, weight.term))
    total = sum(weight.product for weight in shared)
    rows = [("term", "query", "document", "product", "share")]
    rows += [
        (term, f"{query:g}", f"{document:.6g}", f"{query * document:.6g}", f"{query * document / total:.1%}")
        for term, query, document in shared
    ]
    text = _aligned([*rows, ("sum", "", "", f"{total:.6g}", "")])
    missing = sorted(
        (weight for weight in found if not weight.document), key=lambda weight: (-weight.query, weight.term)
    )
    if missing:
        listed = ", ".join(f"{term} {query:g}" for term, query, _ in missing[:_LISTED])
        listed += f" and {len(missing) - _LISTED} more" if len(missing) > _LISTED else ""
        text += f"\nthe document lacks {len(missing)} of the query's {len(found)} terms: {listed}"
    return text


def _rank(rank: int | None, hits: int) -> str:
    return f"{rank}" if rank is not None else f"below {hits}"


def _in_run(run: Path, qid: str, docid: str) -> tuple[str, str, str]:
    """The row of a run in the table of ranks."""
    for found, hits in iter_run(run):
        for rank, hit in enumerate(hits if found == qid else (), 1):
            if hit.docid == docid:
                return str(run), f"{rank}", f"{hit.score:.6f}"
    return str(run), "not in it", "-"


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    """Columns of text; all but the first to the right."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            cell.ljust(width) if not number else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    return "\n".join(line.rstrip() for line in lines)
