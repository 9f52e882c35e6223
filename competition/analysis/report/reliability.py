"""Confusion, calibration and disagreement of models, as arithmetic on their answers."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from competition.core.arrays import Array, Codes

BINS = 10


@dataclass(frozen=True)
class Reliability:
    """Expected against observed values, in bins of equally many rows, by rising expectation."""

    expected: Array  # (bins,) the mean in each bin
    observed: Array  # (bins,) the mean in each bin
    rows: Codes  # (bins,)

    @property
    def error(self) -> float:
        """Return the expected calibration error: the mean over rows of |expected - observed| of their bin."""
        return float(np.average(np.abs(self.expected - self.observed), weights=self.rows))


def reliability(expected: Array, observed: Array, bins: int = BINS) -> Reliability:
    """Return bins of rows by their expected value (Naeini et al. 2015, with bins of equal size).

    Args:
        expected: a probability or a gain, `(rows,)`, at least one row.
        observed: the outcome (0 or 1), or the gain, `(rows,)`.
        bins: at most; fewer where there are fewer rows.
    """
    number = min(bins, len(expected))  # fewer rows than bins leave none empty
    sizes = np.array([len(part) for part in np.array_split(np.empty(len(expected)), number)])
    starts = np.r_[
        0, np.cumsum(sizes)[:-1]
    ]  # (bins,) the place of the first row, as rows are sorted

    # A sort of the values alone takes a tenth of the time of one of their places.
    ascending = np.sort(expected)
    least = ascending[starts]  # (bins,)
    of_row = np.zeros(len(expected), np.int16)
    for value in least[1:]:  # few: several times as fast as to search them
        of_row += expected >= value
    parted = ascending[starts[1:] - 1] == least[1:]
    for value in np.unique(least[1:][parted]):
        equal = np.flatnonzero(expected == value)  # in the order of rows
        place = np.count_nonzero(expected < value) + np.arange(len(equal))
        of_row[equal] = np.searchsorted(starts, place, side="right") - 1

    cell = of_row.astype(np.int64)  # as `bincount` takes it
    return Reliability(
        expected=np.bincount(cell, expected, number) / sizes,
        observed=np.bincount(cell, observed, number) / sizes,
        rows=sizes,
    )


def confusion_matrix(truth: Codes, predicted: Codes, classes: int) -> Codes:
    """Return the number of rows of each label and answer, `(classes, classes)`."""
    # The number of the matrix cell of each label and answer, row by row.
    cell = truth * classes + predicted
    return np.bincount(cell, minlength=classes * classes).reshape(classes, classes)


def disagreement(answers: Mapping[str, np.ndarray]) -> Array:
    """Return the share of rows, or queries, to which two models give different answers, `(models, models)`."""
    each = list(answers.values())
    shares = np.zeros((len(each), len(each)))
    for i, one in enumerate(each):
        for j, other in enumerate(each[:i]):
            shares[i, j] = shares[j, i] = np.count_nonzero(one != other) / len(one)
    return shares


def agreement(answers: Mapping[str, np.ndarray], truth: np.ndarray) -> tuple[float, float]:
    """Return the share of rows that every model answers correctly, and the share that none does."""
    all_right, any_right = np.ones(len(truth), bool), np.zeros(len(truth), bool)
    for each in answers.values():
        # As numbers of one type they are compared several times as fast.
        right = each == truth.astype(each.dtype, copy=False)  # (rows,)
        all_right &= right
        any_right |= right
    return float(all_right.mean()), float((~any_right).mean())


def ranked(rows: pd.DataFrame, score: Array) -> pd.DataFrame:
    """Return rows best first within each query, equal scores by product_id: the order that the metric scores."""
    return rows.assign(score=score).sort_values(
        ["query_id", "score", "product_id"], ascending=[True, False, True]
    )
