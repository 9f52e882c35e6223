"""How models err: confusion, calibration, and where they disagree. Arithmetic on answers; scores are made elsewhere."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from competition.scoring.metrics import Array, Codes

BINS = 10


@dataclass(frozen=True)
class Reliability:
    """What a model expects against what happens, in bins of equally many rows, by rising expectation."""

    expected: Array  # (bins,) the mean in each bin
    happened: Array  # (bins,)
    rows: Codes  # (bins,)

    @property
    def error(self) -> float:
        """The expected calibration error: the mean over rows of |expected - happened| of their bin."""
        return float(np.average(np.abs(self.expected - self.happened), weights=self.rows))


def reliability(expected: Array, happened: Array, bins: int = BINS) -> Reliability:
    """Bins of rows by what was expected of them (Naeini et al. 2015, with bins of equal size).

    Args:
        expected: a probability or a gain, `(rows,)`, at least one row.
        happened: whether it came true (0 or 1), or the gain that there was, `(rows,)`.
        bins: at most; fewer where there are fewer rows.
    """
    order = np.argsort(expected, kind="stable")
    chunks = [chunk for chunk in np.array_split(order, bins) if len(chunk)]
    means = [[values[chunk].mean() for chunk in chunks] for values in (expected, happened)]
    return Reliability(
        np.array(means[0]), np.array(means[1]), np.array([len(chunk) for chunk in chunks])
    )


def confusion_matrix(truth: Codes, answered: Codes, classes: int) -> Codes:
    """How many rows of each class were given each answer, `(classes, classes)`: truth by answer."""
    return np.bincount(truth * classes + answered, minlength=classes * classes).reshape(
        classes, classes
    )


def disagreement(answers: Mapping[str, np.ndarray]) -> Array:
    """The share of rows, or queries, for which two models answer otherwise, `(models, models)`."""
    each = list(answers.values())
    return np.array([[float((one != other).mean()) for other in each] for one in each])


def agreement(answers: Mapping[str, np.ndarray], truth: Codes) -> tuple[float, float]:
    """The shares of rows that every model, and that no model answers rightly."""
    right = np.array([each == truth for each in answers.values()])
    return float(right.all(axis=0).mean()), float((~right.any(axis=0)).mean())


def ranked(rows: pd.DataFrame, score: Array) -> pd.DataFrame:
    """Rows best first within each query, equal scores by product_id: the order that the metric counts."""
    return rows.assign(score=score).sort_values(
        ["query_id", "score", "product_id"], ascending=[True, False, True]
    )


def first_products(rows: pd.DataFrame, score: Array) -> pd.Series:
    """The product that a model ranks first, by query_id."""
    return ranked(rows, score).groupby("query_id", sort=True)["product_id"].first()
