"""Queries searched again under each known setting, to see which setting gives the scores of a run.

Only for impact indexes, whose scores are sums: the query side is what is tried, with the index as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gradir import jvm
from gradir.data import Hit
from gradir.errors import InputError
from gradir.evaluate.causes import Verdict

_SCALES = (51.2, 100.0)
_LENGTHS = (256, 512)
_TOP = 20  # documents of a run whose scores are compared
_ENOUGH = 0.01  # mean relative error of the scores of a run that a setting gives


class Setting(NamedTuple):
    """How queries are made.

    Attributes:
        special_tokens: `keep` or `drop`.
        length: Tokens of a query.
        scale: An impact is `round(weight * scale)`.
        min_idf: 0 leaves out terms that stand in every document, -1 leaves out none.
    """

    special_tokens: str
    length: int
    scale: float
    min_idf: int


_CAUSES = {"special_tokens": "special tokens", "length": "lengths of queries", "scale": "scale", "min_idf": "min_idf"}


@dataclass(frozen=True)
class Replay:
    """What was found by searching again.

    Attributes:
        verdicts: A verdict on each of the causes that were tried.
        line: Which settings give which run.
    """

    verdicts: list[Verdict]
    line: str


def replay(
    queries: Mapping[str, str],
    runs: Mapping[str, tuple[Sequence[Hit], Sequence[Hit]]],
    index: Path,
    encoder: str,
) -> Replay:
    """Find the settings that give run A and those that give run B.

    Args:
        queries: The text of each query.
        runs: `{qid: (hits in A, hits in B)}` of the queries to try.
        index: A Lucene impact index.
        encoder: The query encoder.

    Raises:
        InputError: The index is no impact index.
    """
    searched = _search_all(queries, runs, index, encoder)
    errors = {setting: _errors(runs, found) for setting, found in searched.items()}
    best = [min(error[side] for error in errors.values()) for side in (0, 1)]
    if max(best) > _ENOUGH:
        which = " and ".join(name for name, error in zip("AB", best, strict=True) if error > _ENOUGH)
        return Replay(
            [], f"no setting of the query side gives the scores of {which}: were the documents encoded in another way?"
        )
    near = [[s for s, error in errors.items() if error[side] <= best[side] + _ENOUGH / 5] for side in (0, 1)]
    a, b = min(product(*near), key=lambda pair: sum(x != y for x, y in zip(*pair, strict=True)))
    different = [name for name in Setting._fields if getattr(a, name) != getattr(b, name)]
    verdicts = [
        Verdict(_CAUSES[name], list(runs) if name in different else [], _sides(name, a, b)) for name in Setting._fields
    ]
    line = "; ".join(_sides(name, a, b) for name in different) or "one setting of the query side gives both runs"
    return Replay(verdicts, f"searched again: {line}")


def _sides(name: str, a: Setting, b: Setting) -> str:
    return f"{name} {getattr(a, name)} gives A, {getattr(b, name)} gives B"


def _errors(
    runs: Mapping[str, tuple[Sequence[Hit], Sequence[Hit]]], found: Mapping[str, Mapping[str, float]]
) -> tuple[float, float]:
    """Mean relative error of the scores in A and in B."""
    sides = []
    for side in (0, 1):
        wrong = [
            min(1.0, abs(found[qid].get(hit.docid, 0.0) - hit.score) / max(abs(hit.score), 1e-9))
            for qid, lists in runs.items()
            for hit in lists[side][:_TOP]
        ]
        sides.append(float(np.mean(wrong)) if wrong else 1.0)
    return sides[0], sides[1]


def _search_all(
    queries: Mapping[str, str],
    runs: Mapping[str, tuple[Sequence[Hit], Sequence[Hit]]],
    index: Path,
    encoder: str,
) -> dict[Setting, dict[str, dict[str, float]]]:
    """`{setting: {qid: {docid: score}}}`."""
    searcher = _open(index)
    texts = [queries[qid] for qid in runs]
    depth = max(len(hits) for lists in runs.values() for hits in lists) + 1
    results: dict[Setting, dict[str, dict[str, float]]] = {}
    for length, scale in product(_lengths(encoder), _scales(encoder)):
        encoded, special = _encode(encoder, texts, length, scale)
        for keep, idf in product(("keep", "drop"), (0, -1)):
            kept = [_kept(row, special if keep == "drop" else set(), searcher.idf, idf) for row in encoded]
            setting = Setting(keep, length, scale, idf)
            results[setting] = dict(zip(runs, [_search(searcher, row, depth) for row in kept], strict=True))
    return results


def _open(index: Path) -> Any:
    jvm.ensure()
    from jnius import JavaException
    from pyserini.search.lucene import LuceneImpactSearcher

    from gradir.engine.query_encoders import KnownQueries

    try:
        return LuceneImpactSearcher(str(index), KnownQueries([], []), min_idf=-1)
    except JavaException as error:
        cause = str(error).splitlines()[0].partition(": ")[2]
        raise InputError(
            index, f"Lucene could not open it ({cause})", "Give an impact index, or leave --index out"
        ) from None


def _search(searcher: Any, query: dict[str, int], depth: int) -> dict[str, float]:
    from gradir.engine.query_encoders import KnownQueries

    searcher.query_encoder = KnownQueries(["q"], [query])
    return {hit.docid: float(hit.score) for hit in searcher.search("q", depth)}


def _kept(query: dict[str, int], dropped: set[str], idf: Mapping[str, float], least: int) -> dict[str, int]:
    """A query as Pyserini passes it on: terms of the index whose idf is above the least."""
    return {term: weight for term, weight in query.items() if term not in dropped and term in idf and idf[term] > least}


def _encode(encoder: str, texts: Sequence[str], length: int, scale: float) -> tuple[list[dict[str, int]], set[str]]:
    """(the queries with special tokens kept, the special tokens)."""
    from gradir.engine import SparseQueryEncoder

    opening: dict[str, Any] = {"max_query_length": length, "impact_scale": scale, "special_tokens": "keep"}
    opened = SparseQueryEncoder(encoder, dtype="float32", **opening)
    return opened.encode_batch(texts), set(opened.encoder.tokenizer.all_special_tokens)


def _scales(encoder: str) -> list[float]:
    return sorted({_config(encoder).impact_scale, *_SCALES})


def _lengths(encoder: str) -> list[int]:
    """The encoder's own length and the usual ones, as far as the model takes them."""
    from gradir.models.config import position_limit, read_model_settings
    from gradir.models.folder import locate

    limit = position_limit(read_model_settings(locate(encoder)))
    own = _config(encoder).max_query_length
    return sorted({own, *(length for length in _LENGTHS if limit is None or length <= limit)})


def _config(encoder: str) -> Any:
    from gradir.models.config import read_config
    from gradir.models.folder import locate

    return read_config(locate(encoder))
