"""Reading TREC runs in columns: block by block in compiled code, and line by line where a file is not regular or not sound."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import groupby, islice, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gradir.data.text import Lines
from gradir.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

_BLOCK = 1 << 17  # bytes: what is made of it stays in a processor's cache, and its memory is used again for the next
_COLUMNS = 6  # qid Q0 docid rank score tag
_SPACES = np.frombuffer(b"     \n", np.uint8)  # what ends the words of a line
_BOM = b"\xef\xbb\xbf"


class QueryColumns(NamedTuple):
    """The hits of one query as a reader has them, by score descending then docid descending (trec_eval's order)."""

    docids: pa.StringArray
    scores: NDArray[np.float64]  # [k]


class _Odd(Exception):
    """A run that is not regular: to be read line by line, which tells what is wrong with it, if anything is."""


def iter_columns(path: str | Path, unique: bool = True) -> Iterator[tuple[str, QueryColumns]]:
    """(qid, hits) of each query in file order; holds one query and a block of the file in memory.

    A regular file (one space or tab between columns, no blank lines, not compressed) is split and parsed by NumPy and Arrow.
    Where it turns out to be otherwise it is read again line by line.

    Args:
        path: The run file.
        unique: Look for documents that come twice for a query; False leaves that to a caller that does it anyway.

    Raises:
        InputError: As `by_lines`.
    """
    given = 0
    try:
        for one in _regular(Path(path), unique):
            yield one
            given += 1
    except _Odd:
        import pyarrow as pa

        for qid, hits in islice(by_lines(path), given, None):
            docids = pa.array((docid for _, docid in hits), pa.string())
            yield qid, QueryColumns(docids, np.array([score for score, _ in hits]))


def by_lines(path: str | Path) -> Iterator[tuple[str, list[tuple[float, str]]]]:
    """(qid, [(score, docid), …] in descending order) of each query in file order.

    Raises:
        InputError: Wrong number of columns, a score that is no finite number, a document twice for one query, the lines of
            one query not together, no lines at all.
    """
    lines = Lines(path)
    done: set[str] = set()
    for qid, rows in groupby(_rows(lines), key=lambda row: row[0]):
        if qid in done:
            raise lines.fail(f"the lines of query {qid} are not together", f"Sort the run: sort -s -k1,1 {path}")
        done.add(qid)
        hits: dict[str, float] = {}
        for _, docid, score in rows:
            if docid in hits:
                raise lines.fail(f"document {docid} twice for query {qid}", "Keep the line with the higher score")
            hits[docid] = score
        yield qid, sorted(((score, docid) for docid, score in hits.items()), reverse=True)
    if not done:
        raise InputError(path, "is an empty run", "Did the search end well?")


def _rows(lines: Lines) -> Iterator[tuple[str, str, float]]:
    for text in lines:
        columns = text.split()
        if not columns:
            continue
        if "\0" in text:
            raise lines.fail("NUL in the line", "Replace it, by _ say")
        if len(columns) != _COLUMNS:
            problem = f"{len(columns)} column{'s' if len(columns) > 1 else ''}"
            raise lines.fail(problem, "Expected: qid Q0 docid rank score tag")
        try:
            score = math.nan if "_" in columns[4] else float(columns[4])  # 1_0 is Python's own
        except ValueError:
            score = math.nan
        if not math.isfinite(score):
            raise lines.fail(f"score {columns[4]!r} is not a finite number", "Search again, or remove the line")
        yield columns[0], columns[2], score


def _regular(path: Path, unique: bool) -> Iterator[tuple[str, QueryColumns]]:
    """The queries of a regular run."""
    done: set[str] = set()
    for qid, pieces in groupby(_pieces(path), key=lambda piece: piece[0]):
        if qid in done:
            raise _Odd
        done.add(qid)
        yield qid, _ordered([columns for _, columns in pieces], unique)
    if not done:
        raise _Odd


def _ordered(pieces: list[QueryColumns], unique: bool) -> QueryColumns:
    """The hits of one query, put together and sorted where they are not."""
    import pyarrow as pa
    import pyarrow.compute as pc

    docids, scores = pieces[0]
    if len(pieces) > 1:
        docids = pa.concat_arrays([piece.docids for piece in pieces])
        scores = np.concatenate([piece.scores for piece in pieces])
    if unique and len(docids.unique()) < len(docids):
        raise _Odd
    if (scores[1:] < scores[:-1]).all():
        return QueryColumns(docids, scores)
    table = pa.table({"score": scores, "docid": docids})
    order = pc.sort_indices(table, sort_keys=[("score", "descending"), ("docid", "descending")])
    return QueryColumns(docids.take(order), scores[order.to_numpy()])


def _pieces(path: Path) -> Iterator[tuple[str, QueryColumns]]:
    """Consecutive lines of one query, as far as a block of the file goes."""
    for block in _blocks(path):
        qids, docids, scores = _parsed(block)
        import pyarrow.compute as pc

        changes = pc.not_equal(qids[1:], qids[:-1]).to_numpy(zero_copy_only=False)
        bounds = [0, *(np.flatnonzero(changes) + 1).tolist(), len(scores)]
        for start, end in pairwise(bounds):
            yield qids[start].as_py(), QueryColumns(docids[start:end], scores[start:end])


def _blocks(path: Path) -> Iterator[bytes]:
    """Whole lines of the file."""
    if path.suffix in (".gz", ".zst") or not path.is_file():
        raise _Odd
    try:
        with path.open("rb") as stream:
            rest = stream.read(len(_BOM)).removeprefix(_BOM)
            while block := stream.read(_BLOCK):
                whole, end, after = block.rpartition(b"\n")
                if end:
                    yield rest + whole + end
                    rest = b""
                rest += after
            if rest:
                yield rest if rest.endswith(b"\n") else rest + b"\n"
    except OSError:
        raise _Odd from None


def _parsed(block: bytes) -> tuple[Any, Any, NDArray[np.float64]]:
    """(qids, docids, scores) of the lines of a block, [lines] each."""
    import pyarrow as pa

    ends = _word_ends(block)
    bounds = np.empty(
        ends.size + 1, np.int32
    )  # where qid, docid, score and what stands between them begin, of each line
    bounds[0], bounds[1::6], bounds[2::6], bounds[3::6] = 0, ends[:, 0], ends[:, 1] + 1, ends[:, 2]
    bounds[4::6], bounds[5::6], bounds[6::6] = ends[:, 3] + 1, ends[:, 4], ends[:, 5] + 1
    pieces = pa.StringArray.from_buffers(ends.size, pa.py_buffer(bounds), pa.py_buffer(block))
    firsts = np.arange(0, ends.size, 6)
    qids, docids, written = (pieces.take(firsts + place) for place in (0, 2, 4))
    try:
        scores: NDArray[np.float64] = written.cast(pa.float64()).to_numpy()
    except pa.ArrowInvalid:
        raise _Odd from None
    if not np.isfinite(scores).all():
        raise _Odd
    return qids, docids, scores


def _word_ends(block: bytes) -> NDArray[np.int64]:
    """Where each word ends, [lines, 6], if there is one character of white space after each and nothing else between."""
    codes = np.frombuffer(block, np.uint8)
    white = codes <= 32
    flat = np.flatnonzero(white)
    if len(flat) % _COLUMNS or white[0] or (white[1:] & white[:-1]).any():
        raise _Odd
    ends = flat.reshape(-1, _COLUMNS)
    between = codes[ends]
    if not (between == _SPACES).all() and not (np.where(between == 9, 32, between) == _SPACES).all():
        raise _Odd
    if not block.isascii():
        try:
            words = block.decode().split()  # there is white space beyond ASCII
        except UnicodeDecodeError:
            raise _Odd from None
        if len(words) != ends.size:
            raise _Odd
    return ends
