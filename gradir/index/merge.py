"""Several Lucene impact indexes to one: shards of a collection, or an index and what is appended to it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

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
        with jvm.errors(index, "read the index"), jvm.lucene_reader(index) as reader:
            for docid in _docids(reader):
                seen.add(index, None, docid)
    seen.finish()
    with jvm.errors(folder, "write the index"):
        java.merge("\n".join(map(str, indexes)), str(folder), optimize)
    with jvm.errors(folder, "read the index"), jvm.lucene_reader(folder) as reader:
        documents = reader.numDocs()
        terms = [leaf.reader().terms("contents") for leaf in reader.leaves().toArray()]
        postings = sum(one.getSumDocFreq() for one in terms if one is not None)
        full = sum(one.getDocCount() for one in terms if one is not None)
    return {"documents": documents, "postings": postings, "empty": documents - full}


def _docids(reader: Any) -> list[str]:
    """All ids of an index."""
    found = []
    for leaf in reader.leaves().toArray():
        values, live = leaf.reader().getBinaryDocValues("id"), leaf.reader().getLiveDocs()
        for number in range(leaf.reader().maxDoc()):
            if values.advanceExact(number) and (live is None or live.get(number)):
                found.append(values.binaryValue().utf8ToString())
    return found
