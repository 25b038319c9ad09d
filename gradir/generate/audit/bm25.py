"""BM25 of pairs, with the statistics of the documents at hand.

As Lucene computes it (Robertson and Zaragoza, 2009, without the constant factor k1 + 1), k1 = 0.9 and b = 0.4 as in Anserini:

    score = sum over query words of  ln(1 + (N - df + 0.5) / (df + 0.5)) * tf / (tf + k1 (1 - b + b length / mean length))

Words are `filters.words.words`: no stemming, no stop list; and lengths are exact, where Lucene keeps them in one byte.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence

_K1, _B = 0.9, 0.4


class BM25:
    """The statistics of a collection.

    Args:
        documents: Their words; read once.
        vocabulary: The words that queries will ask for; others are not counted.
    """

    def __init__(self, documents: Iterable[Sequence[str]], vocabulary: set[str]):
        self._frequency: Counter[str] = Counter()
        self._number = total = 0
        for document in documents:
            self._number += 1
            total += len(document)
            self._frequency.update(vocabulary.intersection(document))
        self._mean = total / self._number if total else 1.0

    def score(self, query: Sequence[str], document: Sequence[str]) -> float:
        """The score of a document; a word that comes twice in the query counts twice."""
        times, length = Counter(document), _K1 * (1 - _B + _B * len(document) / self._mean)
        return math.fsum(self._weight(word) * times[word] / (times[word] + length) for word in query if times[word])

    def _weight(self, word: str) -> float:
        frequency = self._frequency[word]
        return math.log1p((self._number - frequency + 0.5) / (frequency + 0.5))
