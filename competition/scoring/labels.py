"""What rows are labelled with: classes with their gains and numbers, or numbers of a range."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from competition.core.arrays import Array, Codes
from competition.core.errors import unknown_name
from competition.core.lazy import pd

PAPER = "paper"  # the gains that a contest ranks by, see `Labels.gains`


@dataclass(frozen=True, eq=False)
class Labels:
    """What rows are labelled with: classes, or numbers of a range.

    Attributes:
        names: of the classes, in the order of their probabilities; empty where labels are numbers.
        values: the number of each class, ascending, as a rating has it; empty where classes have
            no order.
        gains: by protocol, the gain of each class in 0..1; the first protocol is PAPER, whose
            gains are learned and ranked by.
        lowest: the smallest number of a range.
        highest: the greatest.
        exponential: whether the gain of a number x is `2 ** x - 1` instead of x.
        meanings: of classes, for people who review them.
        letters: short names of classes in files and tables.
    """

    names: tuple[str, ...]
    values: tuple[float, ...] = ()
    gains: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    lowest: float = 0.0
    highest: float = 1.0
    exponential: bool = False
    meanings: Mapping[str, str] = field(default_factory=dict)
    letters: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        """Return the number of classes, 0 where labels are numbers."""
        return len(self.names)

    @property
    def are_classes(self) -> bool:
        """True where a label is one of some classes."""
        return bool(self.names)

    @property
    def are_numbers(self) -> bool:
        """True where a label has a number, so that rows can be rated."""
        return bool(self.values) or not self.names

    def codes(self, labels: pd.Series) -> Codes:
        """Return labels as indices into `names`, `(rows,)`; -1 where a label is unknown."""
        code = {label: code for code, label in enumerate(self.names)}
        # Few labels are looked up, whatever the rows; the last one stands for missing ones.
        place, distinct = pd.factorize(labels)
        return np.array([*(code.get(label, -1) for label in distinct), -1], np.int64)[place]

    def numbers(self, labels: pd.Series) -> Array:
        """Return the number of each label, `(rows,)`; NaN where the label is unknown."""
        if self.names:
            return np.array([*self.values, np.nan], np.float64)[self.codes(labels)]

        return np.asarray(pd.to_numeric(labels, errors="coerce"), np.float64)

    def gain(self, labels: pd.Series, protocol: str = PAPER) -> Array:
        """Return the gain of each label in 0..1, `(rows,)`; NaN where the label is unknown."""
        if self.names:
            return np.array([*self.gains[protocol], np.nan], np.float64)[self.codes(labels)]

        return self.gain_of_number(self.numbers(labels))

    def gain_of_number(self, numbers: Array) -> Array:
        """Return the gain of numbers of a range, 0..1, of any shape."""
        if not self.exponential:
            return (numbers - self.lowest) / (self.highest - self.lowest)

        # 2^x - 1 (Burges et al. 2005), over its greatest value.
        gains: Array = (2**numbers - 2**self.lowest) / (2**self.highest - 2**self.lowest)
        return gains

    def levels(self, numbers: Array) -> Codes:
        """Return the index of the class whose number is nearest to each number, `(rows,)`; a tie goes to the lower."""
        return np.searchsorted(self.middles, numbers, side="left").astype(np.int64)

    @property
    def middles(self) -> Array:
        """The middles between the numbers of neighbouring classes, `(classes - 1,)`."""
        numbers = np.array(self.values)
        return np.asarray((numbers[1:] + numbers[:-1]) / 2, np.float64)

    def expected_gain(self, probabilities: Array) -> Array:
        """Return the expected gain of class probabilities `(rows, classes)`, `(rows,)`."""
        expected: Array = probabilities @ np.array(self.gains[PAPER])
        return expected

    def expected_number(self, probabilities: Array) -> Array:
        """Return the expected number of class probabilities `(rows, classes)`, `(rows,)`."""
        expected: Array = probabilities @ np.array(self.values)
        return expected

    def check_protocol(self, protocol: str) -> None:
        """Refuse a protocol of gains that the contest does not have."""
        if protocol not in self.gains:
            raise unknown_name("protocol", protocol, self.gains)


def number_text(value: float) -> str:
    """Return a number as a label: `3` and `2.33`, so that `3.0` and `3` are one class."""
    return str(int(value)) if math.isfinite(value) and value == int(value) else repr(float(value))
