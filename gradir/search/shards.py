"""The shards of a collection searched one after another, and their hits merged into one ranking of each query."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pyarrow as pa

from gradir.data.records import Ranking
from gradir.errors import GradirError

_SPOOLED = pa.schema({"docids": pa.list_(pa.string()), "scores": pa.list_(pa.float64())})


def search_shards(
    folders: Sequence[Path], search: Callable[[int], Iterable[Sequence[Ranking]]], hits: int
) -> Iterator[list[Ranking]]:
    """The ranking of each query over all shards, in the same batches. What is found in each waits in the folder for temporary
    files (TMPDIR).

    Args:
        folders: Of the shards, for errors.
        search: Gives what the shard of this number finds, batch by batch, in the same batches for each shard.
        hits: Documents of a query, at most.

    Raises:
        GradirError: A document stands in two shards.
    """
    with tempfile.TemporaryDirectory(prefix="gradir-") as temporary, ExitStack() as stack:
        spools = [str(Path(temporary, str(number))) for number in range(len(folders))]
        for number, spool in enumerate(spools):
            with pa.OSFile(spool, "wb") as file, pa.ipc.new_stream(file, _SPOOLED) as stream:
                for found in search(number):
                    stream.write_batch(_spooled(found))
        streams = [pa.ipc.open_stream(stack.enter_context(pa.memory_map(spool))) for spool in spools]
        for batches in zip(*streams, strict=True):
            rows = range(batches[0].num_rows)
            yield [merge([_ranking(batch, row) for batch in batches], hits, folders) for row in rows]


def _spooled(found: Sequence[Ranking]) -> pa.RecordBatch:
    columns = [[list(ranking.docids) for ranking in found], [ranking.scores for ranking in found]]
    return pa.record_batch(
        [pa.array(column, type) for column, type in zip(columns, _SPOOLED.types, strict=True)], schema=_SPOOLED
    )


def _ranking(batch: pa.RecordBatch, row: int) -> Ranking:
    return Ranking(batch["docids"][row].as_py(), batch["scores"][row].values.to_numpy())


def merge(found: Sequence[Ranking], hits: int, folders: Sequence[Path]) -> Ranking:
    """One ranking of the disjoint parts of a collection.

    Args:
        found: The ranking of each part.
        hits: Documents kept.
        folders: The part that each stands in, for errors.

    Raises:
        GradirError: A document stands in two of them.
    """
    docids = [docid for ranking in found for docid in ranking.docids]
    if len(set(docids)) < len(docids):
        raise GradirError(_twice(found, folders))
    scores = np.concatenate([ranking.scores for ranking in found])
    places = np.arange(len(scores))
    if len(scores) > hits:
        places = np.flatnonzero(scores >= np.partition(scores, -hits)[-hits])
    values = scores.tolist()
    order = sorted(places.tolist(), key=lambda place: (-values[place], docids[place]))[:hits]
    return Ranking([docids[place] for place in order], scores[order])


def _twice(found: Sequence[Ranking], folders: Sequence[Path]) -> str:
    seen: dict[str, Path] = {}
    for ranking, folder in zip(found, folders, strict=True):
        for docid in ranking.docids:
            if docid in seen:
                both = f"{seen[docid]} and in {folder}"
                return f"document {docid} stands in {both}: they are no shards of one collection. Index again."
            seen[docid] = folder
    return ""
