"""Indexes that Pyserini has under a name: it downloads them once, to its own cache."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from pathlib import Path

from gradir.data.named import is_pyserini_name
from gradir.errors import InputError, nearest

# Pyserini's tables of names, and what the indexes in each are.
_TABLES = {
    "TF_INDEX_INFO": "bm25",
    "IMPACT_INDEX_INFO": "impact",
    "LUCENE_HNSW_INDEX_INFO": "lucene-hnsw",
    "LUCENE_FLAT_INDEX_INFO": "lucene-flat",
    "FAISS_INDEX_INFO": "faiss",
}


def prebuilt(index: Path) -> tuple[Path, str] | None:
    """(folder, type) of an index that Pyserini has under this name, downloaded if need be; None where this is no name.

    A path that exists is preferred.

    Raises:
        InputError: Pyserini knows no such index, or cannot fetch it.
    """
    if not is_pyserini_name(index):
        return None
    name = str(index)
    if importlib.util.find_spec("pyserini") is None:
        raise InputError(name, "no such folder", "Check the path; names that Pyserini knows need gradir[lucene]")
    from gradir import jvm

    jvm.ensure()
    from pyserini import util

    types = {known: type for table, type in _TABLES.items() for known in getattr(util, table)}
    if name not in types:
        near = nearest(name, types)
        problem = f"no such folder, and Pyserini knows no index of this name{near}"
        raise InputError(name, problem, "" if near else "Make an index: gradir index")
    # The standard output is for results; a failed download is told there and raised as ValueError.
    with contextlib.redirect_stdout(sys.stderr):
        try:
            return Path(util.download_prebuilt_index(name, verbose=False)), types[name]
        except (ValueError, OSError) as error:
            fix = "Is the network there? Else unpack it elsewhere and name its folder"
            raise InputError(name, f"Pyserini could not fetch this index ({error})", fix) from None
