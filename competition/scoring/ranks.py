"""Rows in the order of a value: how much lies below and above each, ties included."""

import numpy as np

from competition.core.arrays import Array
from competition.scoring.metrics import run_starts


class SortedRows:
    """The rows of a sample, sorted by a value once."""

    def __init__(self, values: Array) -> None:
        """`values` of the rows, `(rows,)`."""
        self._order = np.argsort(values)
        ordered = values[self._order]
        self._starts = run_starts(ordered)  # (runs,) of equal values
        self._lengths = np.diff(np.r_[self._starts, len(values)])

    def below_minus_above(self, mass: Array) -> Array:
        """Return the mass of the rows below each row minus that of the rows above it, `(rows,)`.

        Equal rows count neither way. It is exact for whole numbers.
        """
        if len(self._starts) == 0:
            return np.empty(0)

        run = np.add.reduceat(mass[self._order], self._starts)
        reached = np.cumsum(run)  # (runs,) up to each run's end
        difference = 2 * reached - run - reached[-1]

        result = np.empty(len(mass))
        result[self._order] = np.repeat(difference, self._lengths)
        return result
