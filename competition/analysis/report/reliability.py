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
    order = np.argsort(expected, kind="stable")
    # Fewer rows than bins leave empty chunks.
    chunks = [chunk for chunk in np.array_split(order, bins) if len(chunk)]
    return Reliability(
        expected=np.array([expected[chunk].mean() for chunk in chunks]),
        observed=np.array([observed[chunk].mean() for chunk in chunks]),
        rows=np.array([len(chunk) for chunk in chunks]),
    )


def confusion_matrix(truth: Codes, predicted: Codes, classes: int) -> Codes:
    """Return the number of rows of each label and answer, `(classes, classes)`."""
    # The number of the matrix cell of each label and answer, row by row.
    cell = truth * classes + predicted
    return np.bincount(cell, minlength=classes * classes).reshape(classes, classes)


def disagreement(answers: Mapping[str, np.ndarray]) -> Array:
    """Return the share of rows, or queries, to which two models give different answers, `(models, models)`."""
    each = list(answers.values())
    return np.array([[float((one != other).mean()) for other in each] for one in each])


def agreement(answers: Mapping[str, np.ndarray], truth: Codes) -> tuple[float, float]:
    """Return the share of rows that every model answers correctly, and the share that none does."""
    right = np.array([each == truth for each in answers.values()])  # (models, rows)
    return float(right.all(axis=0).mean()), float((~right.any(axis=0)).mean())


def ranked(rows: pd.DataFrame, score: Array) -> pd.DataFrame:
    """Return rows best first within each query, equal scores by product_id: the order that the metric scores."""
    return rows.assign(score=score).sort_values(
        ["query_id", "score", "product_id"], ascending=[True, False, True]
    )


def first_products(rows: pd.DataFrame, score: Array) -> pd.Series:
    """Return the product that a model ranks first, by query_id."""
    return ranked(rows, score).groupby("query_id", sort=True)["product_id"].first()
