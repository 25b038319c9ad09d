"""What training minimises: a weighted sum of losses over the scores of a batch.

The documents of all queries of a batch stand in one row of N columns; each query has scores for all of them. A loss sees its
own documents of each query (`scope: own`) or all of them (`scope: batch`); documents that are excluded for a query, because
they answer it though they stand in another query's list, take part in none.
"""

from __future__ import annotations

import inspect
import math
import warnings
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from gradir.errors import GradirError
from gradir.train.losses.terms import LearntTemperature, Term, terms_of


class LossWarning(UserWarning):
    """A loss is used outside its sense, or has nothing to learn from."""


class Labels(NamedTuple):
    """What is known of the documents of a batch; B queries, N documents.

    Attributes:
        grades: Grade of the document for the query, float32 [B, N]; 0 for documents of other queries.
        own: The document stands in the query's list, bool [B, N].
        teacher: Teacher's score, float32 [B, N]; NaN where there is none.
        excluded: The document takes no part in this query's row, bool [B, N]: as one of another list it would be a false
            negative, or it fills up a short list.
    """

    grades: Tensor
    own: Tensor
    teacher: Tensor
    excluded: Tensor


class Objective(nn.Module):
    """The weighted sum of the losses of a configuration.

    Attributes:
        terms: The summands.
        log_temperatures: Those that are learnt, by the label of their loss.
        skipped: Rows left out so far, by reason.
        teacher_seen: Some of the lists have teacher scores, as `check_teacher` was told or a batch showed: distillation then
            passes over batches without any, which it otherwise refuses.

    Args:
        losses: Names, or mappings with `name`, `weight`, `scope` (`own` or `batch`), `in_batch_label` (for losses over grades
            with scope batch: what documents of other queries count as; `mask`: nothing) and options of the loss.
            `temperature: learn` trains the temperature, from `temperature_start`, within `temperature_min` and `temperature_max`.
        positive_grade: For losses whose entry gives none.

    Raises:
        GradirError: All that is wrong with the configuration.
    """

    def __init__(self, losses: Sequence[Any], positive_grade: float = 1):
        super().__init__()
        self.terms = terms_of(losses, positive_grade)
        learnt = {term.label: term.learnt for term in self.terms if term.learnt}
        self.log_temperatures = nn.ParameterDict(
            {label: nn.Parameter(torch.tensor(math.log(ends.start))) for label, ends in learnt.items()}
        )
        self.skipped: Counter[str] = Counter()
        self.teacher_seen = False
        self._grades_differ = False
        self._contrasted: set[str] = set()  # losses that had a negative
        self._told: set[str] = set()

    def forward(self, scores: Tensor, labels: Labels) -> tuple[Tensor, dict[str, Tensor]]:
        """The sum, and each loss before its weight (without gradient).

        Args:
            scores: Of every query and document, any float [B, N].
            labels: Of the same queries and documents.

        Raises:
            GradirError: Distillation without any teacher score.
        """
        self._look(labels)
        parts = {term.label: self._loss(term, scores, labels) for term in self.terms}
        total = torch.stack([term.weight * parts[term.label] for term in self.terms]).sum()
        return total, {label: part.detach() for label, part in parts.items()}

    def check_teacher(self, scored: bool) -> None:
        """Told before the first batch whether any list has teacher scores.

        Raises:
            GradirError: None has, and there is distillation.
        """
        distils = [term.label for term in self.terms if term.kind.target == "teacher"]
        if distils and not scored:
            raise GradirError(
                f"{', '.join(distils)}: needs teacher scores, and no list has one. Give `lists` a `teacher:` run, or lists with "
                "scores (gradir mine scores), or take a loss over grades (infonce, listnet, wasserstein …)."
            )
        self.teacher_seen = scored

    @property
    def needs_positive(self) -> bool:
        """Whether a list without a relevant document teaches nothing: not where every loss learns from a teacher alone."""
        return not all(_teacher_alone(term) for term in self.terms)

    def temperatures(self) -> dict[str, float]:
        """Learnt temperatures as they are now, by the label of their loss."""
        return {label: math.exp(value.item()) for label, value in self.log_temperatures.items()}

    def _loss(self, term: Term, scores: Tensor, labels: Labels) -> Tensor:
        distils = term.kind.target == "teacher"
        mask, grades = ~labels.excluded, labels.grades
        target = labels.teacher if distils else grades
        if term.scope == "own":
            mask = mask & labels.own
            scores, target, grades, mask = own_documents(mask, scores, target, grades, mask)
        elif term.in_batch_label == "mask":
            mask = mask & labels.own
        elif not distils:
            target = target.masked_fill(~labels.own, term.in_batch_label)
        if distils and self.teacher_seen and not bool((mask & ~target.isnan()).any()):
            return scores.float().masked_fill(~mask, 0.0).sum() * 0.0
        options = dict(term.options)
        if "relevant" in inspect.signature(term.kind.function).parameters:
            options["relevant"] = grades >= term.positive_grade
        if term.learnt:
            options["temperature"] = self._temperature(term.label, term.learnt)
        loss: Tensor = term.kind.function(scores, target, mask, **options)
        return loss

    def _temperature(self, label: str, ends: LearntTemperature) -> Tensor:
        """The learnt temperature. The parameter itself is kept within the limits: a clamped copy would have no way back."""
        parameter = self.log_temperatures[label]
        with torch.no_grad():
            parameter.clamp_(math.log(ends.least), math.log(ends.most))
        temperature: Tensor = parameter.exp()
        return temperature

    def _look(self, labels: Labels) -> None:
        """Count and tell where a loss has nothing to learn from."""
        listed = labels.own & ~labels.excluded
        if not self.teacher_seen and any(term.kind.target == "teacher" for term in self.terms):
            self.teacher_seen = bool((listed & ~labels.teacher.isnan()).any())
        for term in self.terms:
            if term.name == "infonce":
                lacking = int((~(listed & (labels.grades >= term.positive_grade)).any(1)).sum())
                self.skipped[f"{term.label}: no positive"] += lacking
                if lacking:
                    self._tell(
                        f"{term.label}: a list without a document graded {term.positive_grade:g} or higher; left out"
                    )
                self._look_for_negatives(term, listed, labels)
            if term.name == "wasserstein" and len(labels.own) == 1:
                self._tell(
                    "wasserstein: one query has no covariance, only means are compared; take a larger batch_size"
                )
        graded = [term.label for term in self.terms if term.kind.graded]
        if graded and not self._grades_differ:
            highest = labels.grades.masked_fill(~listed, -torch.inf).amax(1)
            lowest = labels.grades.masked_fill(~listed, torch.inf).amin(1)
            self._grades_differ = bool((highest > lowest).any())
            if not self._grades_differ:
                self._tell(
                    f"{', '.join(graded)}: in every list of the first batch all grades are equal; nothing to order"
                )

    def _look_for_negatives(self, term: Term, listed: Tensor, labels: Labels) -> None:
        """Tell where a contrast had nothing but positives from the first batch on."""
        if term.label in self._contrasted:
            return
        beyond = term.scope == "batch" and term.in_batch_label != "mask"
        negatives = (~labels.excluded if beyond else listed) & ~(labels.own & (labels.grades >= term.positive_grade))
        if bool(negatives.any()):
            self._contrasted.add(term.label)
        else:
            self._tell(
                f"{term.label}: no query of the first batch has a negative, and the loss is 0; take a larger batch_size, or lists "
                "with documents of lower grades"
            )

    def _tell(self, message: str) -> None:
        """Warn, once for each message."""
        if message not in self._told:
            self._told.add(message)
            warnings.warn(message, LossWarning, stacklevel=4)


def _teacher_alone(term: Term) -> bool:
    """Whether a loss learns from the order that a teacher gives, without asking which documents are relevant."""
    by_relevance = "relevant" in inspect.signature(term.kind.function).parameters
    return term.kind.target == "teacher" and (not by_relevance or term.options.get("pairs") == "all")


def own_documents(takes_part: Tensor, *values: Tensor) -> tuple[Tensor, ...]:
    """Each query's own columns moved to the left, in their order.

    Args:
        takes_part: The document is the query's own and not excluded, bool [B, N].
        values: [B, N] each.

    Returns:
        The values, [B, G] each, for the largest number G of own documents; rows with fewer end in documents of other queries.
    """
    size = int(takes_part.sum(1).max())
    order = takes_part.to(torch.int8).argsort(dim=1, descending=True, stable=True)[:, :size]  # [B, G]
    return tuple(value.gather(1, order) for value in values)
