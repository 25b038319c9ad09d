"""InPars's filter: number of tokens, and the mean log-probability of a query's tokens (Bonifacio et al., arXiv 2202.05144).

InPars drops queries of fewer than 3 and more than 1,000 tokens, and keeps the 10,000 best by

    mean log-probability = (1 / T) sum over t of log p(token t | prompt, tokens before t)

A mean, and not a sum, so that long queries do not lose for their length alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from gradir.generate.filters import Drop, Filter, Items
from gradir.generate.generated import Item

_ROUNDING = 1e-3  # engines that compute in 16 bits give certain tokens a little more than 0


def log_probs(item: Item) -> list[float] | None:
    """The log-probabilities of a record's tokens; None if it has none.

    Raises:
        InputError: They are not a list of numbers that a logarithm of a probability can be.
    """
    found = item.record.get("log_probs")
    if found is None:
        return None
    if not isinstance(found, list) or not all(map(_is_log_prob, found)):
        raise item.fail("`log_probs` is no list of finite numbers up to 0", "Generate again")
    return [float(one) for one in found]


def _is_log_prob(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value) and value <= _ROUNDING


def mean_log_prob(item: Item) -> float | None:
    """The mean log-probability of a record's tokens; None if it has none.

    Raises:
        InputError: As `log_probs`.
    """
    tokens = log_probs(item)
    if tokens:
        return math.fsum(tokens) / len(tokens)
    mean = item.record.get("mean_log_prob")
    if mean is not None and not _is_log_prob(mean):
        raise item.fail("`mean_log_prob` is no finite number up to 0", "Generate again")
    return None if mean is None else float(mean)


def tokens(least: int | None, most: int | None) -> Filter:
    """Drop records whose number of tokens, which is that of their log-probabilities, is outside [least, most]."""

    def drop(items: Items) -> Iterator[Drop]:
        for item in items:
            count = len(log_probs(item) or ())
            if least is not None and count < least:
                yield Drop(item.number, "few_tokens", count)
            elif most is not None and count > most:
                yield Drop(item.number, "many_tokens", count)

    return drop


def above(lowest: float) -> Filter:
    """Drop records whose mean log-probability is below `lowest`."""

    def drop(items: Items) -> Iterator[Drop]:
        for item in items:
            mean = mean_log_prob(item)
            if mean is None or mean < lowest:
                yield Drop(item.number, "log_prob", mean)

    return drop


def best(count: int) -> Filter:
    """Keep the `count` records of highest mean log-probability; of equal ones the lower query id stays."""

    def drop(items: Items) -> Iterator[Drop]:
        ranked = sorted((-_number(mean_log_prob(item)), item.qid, item.docid, item.number) for item in items)
        for negated, _, _, number in ranked[count:]:
            yield Drop(number, "top_k", None if math.isinf(negated) else -negated)

    return drop


def _number(mean: float | None) -> float:
    return -math.inf if mean is None else mean
