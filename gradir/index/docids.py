"""The ids of vector shards, checked before an index takes them: shards need not come from `gradir encode`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gradir.data.ids import Duplicates, check_id


def check_docids(part: Path, docids: Sequence[str], seen: Duplicates) -> None:
    """Refuse ids that a run file or Pyserini's `docid` file could not hold, and ids that came before.

    Args:
        part: The file they stand in.
        docids: Its ids, in order.
        seen: Where all ids of the collection are noted; call its `finish` after the last part.

    Raises:
        InputError: An id is empty, holds white space, or is used twice; names the row.
    """
    text = "\n".join(docids)
    if text.split() != list(docids) or "\0" in text:  # one of them is no id: find out which
        for row, docid in enumerate(docids, 1):
            check_id(part, row, docid, "document id")
    seen.add_all(part, docids)
