"""Tasks of a competition, and the kinds of prediction that answer them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from competition.core.arrays import Array, Codes
from competition.core.errors import pluralize
from competition.core.lazy import pd
from competition.scoring.labels import Labels
from competition.scoring.metric_table import Metric


@dataclass(frozen=True)
class Task:
    """One question of the contest and the file that answers it.

    Attributes:
        name: such as `task1`.
        kind: `rank` the rows of a query, `classify` rows, or `rate` them with a number.
        metric: what it is graded by.
        classes: the answers of a classification task in words, the majority first where that was
            declared; empty for other tasks.
        keys: our columns that identify a row of the answer file.
        header: the columns of the answer file as they are written: the keys, then `answers`.
        positive: the label that is told from all others; None where every label is a class.
        labels: of the contest.
        locales: by which scores are shown, too.
        by_rows: whether intervals are over rows instead of queries, since folds are of rows.
        relevant_from: the least gain of a row that is relevant.
    """

    name: str
    kind: Literal["rank", "classify", "rate"]
    metric: Metric
    classes: tuple[str, ...]
    keys: tuple[str, ...]
    header: tuple[str, ...]
    positive: str | None = None
    labels: Labels = field(repr=False, compare=False, default_factory=lambda: Labels(()))
    locales: tuple[str, ...] = ()
    by_rows: bool = False
    relevant_from: float = 0.0

    @property
    def ranks(self) -> bool:
        """True where the answer is an order."""
        return self.kind == "rank"

    def count_units(self, count: int) -> str:
        """Return how many queries, or rows, a score is of, in words."""
        return pluralize(count, "row") if self.by_rows else pluralize(count, "query", "queries")

    @property
    def answers(self) -> tuple[str, ...]:
        """The columns of the answer: none where the order is the answer, several for probabilities."""
        return self.header[len(self.keys) :]

    @property
    def words(self) -> tuple[str, ...]:
        """How answers that are one of some are written, by their index; empty for numbers and orders."""
        return self.labels.names if self.metric.reads == "level" else self.classes

    @property
    def file(self) -> str:
        """The name of the answer file."""
        return f"{self.name}.csv"

    def truth(self, examples: pd.DataFrame) -> Codes:
        """Return the class of each example as an index into `classes`, `(rows,)`; -1 where it is unknown."""
        if self.positive is None:
            return self.labels.codes(examples["label"])

        # A column of its own: some rows say this much of their label and no more.
        codes = examples[self.positive].astype("boolean").astype("Int64").fillna(-1)
        return np.asarray(codes, dtype=np.int64)


@dataclass(frozen=True)
class Kind:
    """A kind of prediction: the columns it writes, the tasks that they answer, and the one that it is made for.

    Attributes:
        name: as recipes write it.
        role: what the outputs are: `classes` (a probability of each label), `gain` (the expected
            gain), `positive` (the probability of one label), `rating` (a number), or `score` (an
            order alone).
        outputs: the columns.
        tasks: that the outputs answer.
        primary: the task that it is made for.
        labels: of the contest.
        positive: the label of the role `positive`.
    """

    name: str
    role: Literal["classes", "gain", "positive", "rating", "score"]
    outputs: tuple[str, ...]
    tasks: tuple[str, ...]
    primary: str
    labels: Labels = field(repr=False, compare=False)
    positive: str = ""

    @property
    def is_classes(self) -> bool:
        """True where the outputs are probabilities of all labels, which sum to 1."""
        return self.role == "classes"

    @property
    def is_number(self) -> bool:
        """True where a row has one number that is no probability: a gain, a rating or a score."""
        return self.role in ("gain", "rating", "score")

    @property
    def targets(self) -> int:
        """How many numbers a row's target has: a distribution over classes, or one number."""
        if self.is_classes:
            return len(self.labels)
        return 2 if self.role == "positive" else 1

    def values(self, outputs: pd.DataFrame) -> Array:
        """Return the columns of the outputs, `(rows, outputs)`."""
        names = list(self.outputs)
        first = outputs.columns.get_loc(names[0])
        # Columns that lie side by side are not copied.
        beside = outputs.iloc[:, first : first + len(names)] if isinstance(first, int) else outputs
        if list(beside.columns) != names:
            beside = outputs[names]
        return beside.to_numpy(np.float64)

    def numeric_target(self, examples: pd.DataFrame) -> Array:
        """Return the target of each example, `(rows,)`: a class index, a gain or a rating in 0..1; NaN if unknown."""
        if self.role == "gain":
            return self.labels.gain(examples["label"])
        if self.role == "rating":
            return self.to_unit(self.labels.numbers(examples["label"]))

        if self.role == "positive":
            known = examples[self.positive].astype("boolean").astype("Int64").fillna(-1)
            codes = np.asarray(known, dtype=np.int64)
        else:
            codes = self.labels.codes(examples["label"])
        return np.where(codes < 0, np.nan, codes.astype(np.float64))

    def hard_target(self, examples: pd.DataFrame) -> Array:
        """Return the target of examples whose label is known: a distribution or a number, `(rows, targets)`."""
        target = self.numeric_target(examples)
        return target[:, None] if self.is_number else np.eye(self.targets)[target.astype(np.int64)]

    def targets_from_classes(self, probabilities: Array) -> Array:
        """Return probabilities of all labels `(rows, classes)` as targets of this kind, `(rows, targets)`."""
        if self.role == "gain":
            return self.labels.expected_gain(probabilities)[:, None]
        if self.role == "rating":
            return self.to_unit(self.labels.expected_number(probabilities))[:, None]

        # The classes: anything else, the positive.
        if self.role == "positive":
            positive = probabilities[:, [self.labels.names.index(self.positive)]]
            return np.hstack([1 - positive, positive])

        return probabilities

    def to_unit(self, numbers: Array) -> Array:
        """Return ratings as models learn them: 0 for the lowest, 1 for the highest."""
        return (numbers - self.labels.lowest) / (self.labels.highest - self.labels.lowest)

    def from_unit(self, units: Array) -> Array:
        """Return what a model of ratings says in 0..1 as ratings."""
        return self.labels.lowest + units * (self.labels.highest - self.labels.lowest)
