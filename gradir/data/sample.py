"""A sample of a stream of texts."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import islice


def reservoir(texts: Iterator[str], samples: int, seed: int) -> list[str]:
    """A uniform sample of a stream, empty texts left out, in one pass (Vitter's algorithm R)."""
    texts = (text for text in texts if text.strip())
    kept, draw = list(islice(texts, samples)), random.Random(seed)
    for number, text in enumerate(texts, len(kept)):
        place = draw.randint(0, number)
        if place < samples:
            kept[place] = text
    return kept
