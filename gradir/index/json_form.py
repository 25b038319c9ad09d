"""Sparse vectors as JSON lines that Anserini's own `IndexCollection` reads: `{"id": …, "contents": "", "vector": {term: impact}}`.

Anserini repeats each term as often as its impact says, splits a term at white space, drops what is longer than it takes, and
leaves out documents without a term, which it counts as empty.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

from gradir.index.json_vectors import documents
from gradir.index.source import Source

_FILE_DOCUMENTS = 100_000


def write(source: Source, folder: Path, progress: Callable[[int], object], threads: int = 1) -> dict[str, Any]:
    """Write `part-00000.jsonl` …, in the order of the documents; returns the counts.

    Args:
        source: Sparse vectors.
        folder: An empty folder.
        progress: Called with the number of documents done.
        threads: At least so many files: Anserini reads one file in one thread.

    Raises:
        InputError: A document holds a term that Anserini would split or drop; an id is used twice.
    """
    files = min(max(threads, -(-len(source) // _FILE_DOCUMENTS)), len(source))
    counts: dict[str, int] = {}
    lines = (
        f'{{"id":{json.dumps(docid, ensure_ascii=False)},"contents":"","vector":{vector}}}\n'
        for _, docid, vector in documents(source, counts, progress)
    )
    for number in range(files):
        size = len(source) * (number + 1) // files - len(source) * number // files
        with (folder / f"part-{number:05d}.jsonl").open("w", encoding="utf-8", newline="\n") as stream:
            stream.writelines(islice(lines, size))
    next(lines, None)  # what is checked after the last document
    return counts | {"files": files}
