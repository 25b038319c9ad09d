"""How far two forms of an encoder are apart on the same texts, and whether that is allowed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_BATCH = 8  # texts of many lengths together: padding is tried too

Model = Callable[..., Tensor]


@dataclass(frozen=True)
class Row:
    """One comparison.

    Attributes:
        pair: What is compared with what.
        texts: On how many texts.
        difference: The largest, of impacts (SPLADE), numbers of a vector (dense) or scores.
        cosine: The mean cosine of the vectors; of scores, their correlation. None where neither is meant.
        least_cosine: The smallest.
        overlap: Mean share of the terms that both have, SPLADE only.
        allowed: The tolerance in words.
        problem: What exceeds it and by how much; empty where nothing does.
    """

    pair: str
    texts: int
    difference: float
    cosine: float | None
    least_cosine: float | None
    overlap: float | None
    allowed: str
    problem: str = ""

    def as_dict(self) -> dict[str, Any]:
        """For `check.json`."""
        return asdict(self)


def outputs(model: Model, tokenizer: Any, texts: Sequence[str], longest: int) -> NDArray[np.float32]:
    """What a model gives for texts, float32 [N, D] or [N, V].

    Args:
        model: Called as `model(input_ids, attention_mask)`.
        tokenizer: Its tokenizer.
        texts: N texts, prefixes included.
        longest: Tokens of a text, special ones included.
    """
    rows = []
    for start in range(0, len(texts), _BATCH):
        batch = tokenizer(
            list(texts[start : start + _BATCH]), padding=True, truncation=True, max_length=longest, return_tensors="pt"
        )
        ids, mask = batch["input_ids"].long(), batch["attention_mask"].long()
        with torch.inference_mode():
            rows.append(model(ids, mask).float().numpy())
    return np.concatenate(rows)


def same_vectors(pair: str, ours: NDArray[np.float32], reference: NDArray[np.float32], within: float = 1e-4) -> Row:
    """Dense vectors [N, D] that must agree number by number, relative to the largest where that is above 1."""
    difference = float(np.abs(ours - reference).max())
    limit = within * max(1.0, float(np.abs(reference).max()))
    problem = "" if difference <= limit else f"vectors differ by {difference:.2g}, {limit:.2g} is allowed"
    return Row(pair, len(ours), difference, *_cosines(ours, reference), None, f"{within:g}", problem)


def same_impacts(pair: str, ours: NDArray[Any], reference: NDArray[Any], within: int = 1) -> Row:
    """Impacts [N, V] that must agree term by term."""
    difference = float(np.abs(ours - reference).max())
    problem = "" if difference <= within else f"impacts differ by {difference:.0f}, {within} is allowed"
    overlap = float(_overlaps(ours, reference).mean())
    return Row(pair, len(ours), difference, *_cosines(ours, reference), overlap, f"{within} impact", problem)


def like_vectors(
    pair: str, ours: NDArray[Any], reference: NDArray[Any], sparse: bool, cosine: float = 0.99, overlap: float = 0.85
) -> Row:
    """Vectors of fewer digits, which must point the same way; sparse ones must have nearly the same terms."""
    mean, least = _cosines(ours, reference)
    shared = float(_overlaps(ours, reference).mean()) if sparse else None
    problems = [] if mean >= cosine else [f"the mean cosine is {mean:.4f}, {cosine:g} is wanted"]
    if shared is not None and shared < overlap:
        problems.append(f"the terms overlap by {shared:.3f}, {overlap:g} is wanted")
    allowed = f"cosine {cosine:g}" + (f", terms {overlap:g}" if sparse else "")
    difference = float(np.abs(ours - reference).max())
    return Row(pair, len(ours), difference, mean, least, shared, allowed, "; ".join(problems))


def same_scores(pair: str, ours: NDArray[np.float32], reference: NDArray[np.float32], within: float = 1e-4) -> Row:
    """Scores [N] of a cross-encoder."""
    difference = float(np.abs(ours - reference).max())
    problem = "" if difference <= within else f"scores differ by {difference:.2g}, {within:g} is allowed"
    return Row(pair, len(ours), difference, _correlation(ours, reference), None, None, f"{within:g}", problem)


def like_scores(pair: str, ours: NDArray[np.float32], reference: NDArray[np.float32], wanted: float = 0.99) -> Row:
    """Scores of fewer digits, which must rank alike."""
    found = _correlation(ours, reference)
    problem = "" if found >= wanted else f"the scores correlate by {found:.4f}, {wanted:g} is wanted"
    difference = float(np.abs(ours - reference).max())
    return Row(pair, len(ours), difference, found, None, None, f"correlation {wanted:g}", problem)


def _cosines(ours: NDArray[Any], reference: NDArray[Any]) -> tuple[float, float]:
    """(mean, least) cosine of the rows; two empty rows are alike."""
    lengths = np.linalg.norm(ours, axis=1) * np.linalg.norm(reference, axis=1)
    both_empty = ~ours.any(axis=1) & ~reference.any(axis=1)
    products = np.einsum("nd,nd->n", ours.astype(np.float64), reference.astype(np.float64))
    cosines = np.where(both_empty, 1.0, products / np.maximum(lengths, 1e-12))
    return float(cosines.mean()), float(cosines.min())


def _overlaps(ours: NDArray[Any], reference: NDArray[Any]) -> NDArray[np.float64]:
    """Shared terms over all terms of each row (Jaccard); 1 for two empty rows."""
    mine, theirs = ours > 0, reference > 0
    union = (mine | theirs).sum(axis=1)
    return np.where(union == 0, 1.0, (mine & theirs).sum(axis=1) / np.maximum(union, 1))


def _correlation(ours: NDArray[np.float32], reference: NDArray[np.float32]) -> float:
    """Pearson's; 1 where both are constant."""
    mine, theirs = ours - ours.mean(), reference - reference.mean()
    lengths = float(np.linalg.norm(mine) * np.linalg.norm(theirs))
    return float(mine @ theirs) / lengths if lengths > 1e-12 else 1.0


def table(rows: Sequence[Row]) -> str:
    """The comparisons as a Markdown table."""
    lines = [
        "| compared | texts | largest difference | cosine, mean | least | same terms | allowed | |",
        "| --- | ---: | ---: | ---: | ---: | ---: | --- | --- |",
    ]
    for row in rows:
        numbers = [f"{row.difference:.2g}", *map(_shown, (row.cosine, row.least_cosine, row.overlap))]
        verdict = "not met" if row.problem else "met"
        lines.append(f"| {row.pair} | {row.texts} | {' | '.join(numbers)} | {row.allowed} | {verdict} |")
    return "\n".join(lines)


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
