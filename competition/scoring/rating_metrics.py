"""Metrics of ratings as statistics of sums over queries: errors, correlations and weighted kappa.

`weight` is how often each row counts, `(rows,)`; once where it is missing.
"""

from typing import Literal

import numpy as np

from competition.core.arrays import Array, Codes
from competition.scoring.metrics import index_queries, mean, total_per_query
from competition.scoring.ranks import SortedRows

# The share of a sum of squares that rounding may leave of a variance that is 0.
_CONSTANT = 1e-14


# --- errors
# -----------------------------------------------------------------------------------------------


def squared_error_per_query(
    query: Codes, truth: Array, predicted: Array, weight: Array | None = None
) -> tuple[Codes, Array]:
    """Return the queries, ascending, and counts `(queries, 2)`: squared errors and rows, for `root_mean`."""
    return total_per_query(query, (predicted - truth) ** 2, weight)


def absolute_error_per_query(
    query: Codes, truth: Array, predicted: Array, weight: Array | None = None
) -> tuple[Codes, Array]:
    """Return the queries, ascending, and counts `(queries, 2)`: absolute errors and rows; the statistic is `mean`."""
    return total_per_query(query, np.abs(predicted - truth), weight)


def root_mean(sums: Array) -> Array:
    """Return the root of the mean of sums `(…, 2)`: RMSE of squared errors and rows."""
    # A jackknife takes sums apart again, which may leave less than nothing of errors that are all 0.
    return np.sqrt(np.maximum(mean(sums), 0.0))


# --- correlations
# -----------------------------------------------------------------------------------------


def pearson_per_query(
    query: Codes, truth: Array, predicted: Array, weight: Array | None = None
) -> tuple[Codes, Array]:
    """Count what each query adds to Pearson's correlation; the statistic is `correlation`.

    Both are centred by their means over all rows first, so that no digits are lost.

    Returns:
        The queries in ascending order and counts `(queries, 6)`, see `correlation`.
    """
    x, y = _centred(truth, weight), _centred(predicted, weight)
    return _moments_per_query(query, (x, y, x * x, y * y, x * y), weight)


def spearman_per_query(
    query: Codes, truth: Array, predicted: Array, weight: Array | None = None
) -> tuple[Codes, Array]:
    """Count what each query adds to Spearman's correlation; the statistic is `correlation`.

    It is Pearson's of the ranks, the mean rank for ties. A row's rank depends on all rows, so that
    the moments of ranks are no sums over queries. The counts hold their linear approximation near
    the whole sample, in which a row adds the product of its own ranks and what its presence does to
    the ranks of others (Hájek's projection, van der Vaart 1998, chapter 12). So the value of all
    queries is exact, and resamples vary as if they were ranked again, to first order. The
    correlation over some of the queries needs counts of their rows alone.

    Returns:
        The queries in ascending order and counts `(queries, 6)`, see `correlation`.
    """
    of_row = np.ones(len(truth)) if weight is None else weight
    total = max(float(of_row.sum()), 1.0)

    rows = (SortedRows(truth), SortedRows(predicted))
    # Twice each row's rank less the mean rank, which is 0: (rows,)
    x, y = (one.below_minus_above(of_row) for one in rows)

    def projection(a: int, b: int) -> Array:
        ranks = (x, y)
        moment = (of_row * ranks[a]) @ ranks[b] / total  # the mean product

        # A row lifts the ranks of those above it and lowers those below it.
        effect = rows[a].below_minus_above(of_row * ranks[b])
        effect += rows[b].below_minus_above(of_row * ranks[a])

        # The mean of own and effect is three times the moment, as three rows meet in it.
        projected: Array = (ranks[a] * ranks[b] - effect - 2 * moment) / (4 * total**2)
        return projected

    zero = np.zeros(len(truth))
    parts = (zero, zero, projection(0, 0), projection(1, 1), projection(0, 1))
    return _moments_per_query(query, parts, weight)


def correlation(sums: Array) -> Array:
    """Return the correlation of counts `(…, 6)`: rows, x, y, x², y², xy; 0, not NaN, where x or y is constant.

    An answer that is the same for all rows tells nothing about their order, which is what 0 means.
    """
    n, x, y, xx, yy, xy = np.moveaxis(sums, -1, 0)  # (…,) each
    n = np.where(n > 0, n, 1.0)

    variance_x = xx - x * x / n
    variance_y = yy - y * y / n
    varies = (variance_x > _CONSTANT * xx) & (variance_y > _CONSTANT * yy)

    scale = np.sqrt(np.where(varies, variance_x, 1.0)) * np.sqrt(np.where(varies, variance_y, 1.0))
    return np.where(varies, (xy - x * y / n) / scale, 0.0)


def _centred(values: Array, weight: Array | None) -> Array:
    """Return values minus their mean; exactly 0 where all are equal."""
    if len(values) == 0 or values.min() == values.max():
        return np.zeros(len(values))

    centred: Array = values - np.average(values, weights=weight)
    return centred


def _moments_per_query(
    query: Codes, moments: tuple[Array, ...], weight: Array | None
) -> tuple[Codes, Array]:
    """Return the queries and the sums over each one's rows of 1 and of each moment, `(queries, 1 + moments)`."""
    queries, index = index_queries(query)
    weighted = [moment if weight is None else moment * weight for moment in moments]
    sums = [np.bincount(index, mass) for mass in (weight, *weighted)]
    return queries, np.column_stack(sums)


# --- weighted kappa
# ---------------------------------------------------------------------------------------


def kappa_per_query(
    query: Codes,
    truth: Codes,
    predicted: Codes,
    levels: int,
    weights: Literal["linear", "quadratic"],
    weight: Array | None = None,
) -> tuple[Codes, Array]:
    """Count what each query adds to weighted kappa; the statistic is `linear_kappa` or `quadratic_kappa`.

    Args:
        query: the query of each row, `(rows,)`.
        truth: its level, from 0 to `levels` - 1.
        predicted: the level that is answered.
        levels: how many there are, all of them equally far apart.
        weights: whether a disagreement weighs the distance of the levels or its square.
        weight: how often the row counts.

    Returns:
        The queries in ascending order and counts `(queries, 1 + 2 * levels)`: weighted
        disagreements, how often each level is the truth, and how often it is answered.
    """
    queries, index = index_queries(query)
    distance = np.abs(truth - predicted).astype(np.float64)
    disagreement = distance**2 if weights == "quadratic" else distance

    counts = np.empty((len(queries), 1 + 2 * levels))
    counts[:, 0] = total_per_query(query, disagreement, weight)[1][:, 0]
    for block, level in enumerate((truth, predicted)):
        cells = np.bincount(index * levels + level, weight, len(queries) * levels)
        counts[:, 1 + block * levels : 1 + (block + 1) * levels] = cells.reshape(-1, levels)
    return queries, counts


def linear_kappa(sums: Array) -> Array:
    """Return the linearly weighted kappa of counts `(…, 1 + 2 * levels)` (Cohen 1968), see `_kappa`."""
    return _kappa(sums, power=1)


def quadratic_kappa(sums: Array) -> Array:
    """Return the quadratically weighted kappa of counts `(…, 1 + 2 * levels)` (Cohen 1968), see `_kappa`."""
    return _kappa(sums, power=2)


def _kappa(sums: Array, power: int) -> Array:
    """Return 1 - disagreement / what is expected of truth and answer that are independent, given how often each occurs.

    NaN where both are one level throughout, of which no disagreement can be expected.
    """
    levels = (sums.shape[-1] - 1) // 2
    truth, predicted = sums[..., 1 : 1 + levels], sums[..., 1 + levels :]  # (…, levels) each

    place = np.arange(levels)
    distance = np.abs(place[:, None] - place) ** power  # (levels, levels)
    rows = truth.sum(-1)
    expected = ((truth @ distance) * predicted).sum(-1) / np.where(rows > 0, rows, 1)

    with np.errstate(divide="ignore", invalid="ignore"):
        kappa: Array = np.where(expected > 0, 1 - sums[..., 0] / expected, np.nan)
    return kappa
