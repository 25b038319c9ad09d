"""Several Lucene impact indexes to one: shards of a collection, or an index and what is appended to it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from gradir import jvm
from gradir.data.ids import Duplicates
from gradir.errors import GradirError


def write(indexes: Sequence[Path], folder: Path, optimize: bool = True) -> dict[str, Any]:
    """Write the merged index; documents keep their order, index after index. Returns its counts.

    Args:
        indexes: Folders of impact indexes whose fields are alike, as gradir writes them.
        folder: An empty folder.
        optimize: Merge to one segment; otherwise the segments are copied as they are.

    Raises:
        InputError: An id is used twice.
        GradirError: Lucene could not read or write; the fields are not alike.
    """
    java = jvm.helper("IndexMerge")
    if java is None:
        raise GradirError("merging needs gradir's Java classes and Lucene 9.9.1. Index all shards at once instead.")
    seen = Duplicates("document id")
    for index in indexes:
        for docid in _docids(index):
            seen.add(index, None, docid)
    seen.finish()
    with jvm.errors(folder, "write the index"):
        java.merge("\n".join(str(index.absolute()) for index in indexes), str(folder.absolute()), optimize)
    with jvm.errors(folder, "read the index"), jvm.lucene_reader(folder) as reader:
        documents = reader.numDocs()
        leaves = [leaf.reader().terms("contents") for leaf in reader.leaves().toArray()]
        terms = [one for one in leaves if one is not None]
        counts = {"documents": documents, "postings": sum(one.getSumDocFreq() for one in terms)}
        if len(leaves) == 1:  # the terms of several segments overlap
            counts["terms"] = sum(one.size() for one in terms)
        return counts | {"empty": documents - sum(one.getDocCount() for one in terms)}


def _docids(index: Path) -> list[str]:
    """All ids of an index."""
    with jvm.errors(index, "read the index"):
        search: Any = jvm.helper("ImpactSearch")
        opened = search(str(index.absolute()))
        offsets, utf8 = opened.idOffsets().tostring(), opened.ids().tostring()
        documents = opened.documents()
        opened.close()
    docids: list[str] = pa.StringArray.from_buffers(documents, pa.py_buffer(offsets), pa.py_buffer(utf8)).to_pylist()
    return docids
