"""Round trip: a query is kept if a search for it brings back the document it was made from.

Promptagator (Dai et al., arXiv 2209.11755) asks that it comes first, k = 1; InPars-Light (Boytsov et al., arXiv 2301.02998) that it
is among the first 3. The search is anybody's: what is read is a TREC run of the generated queries.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from gradir.generate.filters import Drop, Filter, Items
from gradir.generate.filters.scores import InRun

_RELEVANT = 2  # a query that was made to fit its document less well need not find it


def among(found: InRun, k: int) -> Filter:
    """Drop records whose document is not among the first `k` of the run for its query; those of grades 0 and 1 stay."""

    def drop(items: Items) -> Iterator[Drop]:
        for item in items:
            rank = found.ranks[item.number]
            if item.grade >= _RELEVANT and not rank <= k:  # NaN: not found
                yield Drop(item.number, "round_trip", None if math.isnan(rank) else int(rank))

    return drop
