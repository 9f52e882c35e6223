"""Two runs compared: a paired difference whose interval covers the noise of queries and of trainings.

Over the same queries, a run trained again with another seed scores something else, so an interval over queries alone
finds differences where there are none. Two estimates of the noise of trainings are used:

- One run of each recipe: every fold is a training of its own, with its own seed, scored on its own queries. So the
  differences of the folds vary by both noises, and Student's interval over the K folds (K - 1 degrees of freedom)
  covers both. The interval is the hull of it and of the one over queries, which keeps the level whichever noise is
  greater.
- Several seeds of both recipes: the variance between the seeds of a fold, over the same queries, is added to that over
  queries. What a training does to single queries is in both, so that the interval is rather too wide (Owen 2007, the
  pigeonhole bootstrap); Satterthwaite's degrees of freedom are those of the sum.

What all trainings of a recipe share (a pre-trained encoder, an audit, a teacher) is held fixed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from competition.core.arrays import Array, Codes
from competition.scoring import intervals
from competition.scoring.intervals import Estimate, Statistic

_Z = 0.975  # the quantile of a two-sided interval of 95 %
_STEP = 1e-5  # of the sums, for derivatives


@dataclass(frozen=True)
class Comparison:
    """The statistic of one recipe minus that of another."""

    difference: Estimate  # its interval covers queries and trainings
    over_queries: Estimate  # its interval covers queries alone
    noise: Literal["folds", "seeds"]  # where the noise of trainings was taken from
    seed_error: float  # standard error of the difference by trainings alone; NaN where folds tell
    error: float = np.nan  # standard error of the difference; NaN where there is no interval
    freedom: float = np.nan  # degrees of freedom of that error

    @property
    def differs(self) -> bool:
        """True where the difference is more than the noise of queries and of trainings."""
        return self.difference.differs


def compare_seeds(
    ours: Sequence[Array], others: Sequence[Array], fold: Codes, statistic: Statistic
) -> Comparison:
    """Compare two recipes over the same queries.

    Args:
        ours: of each seed, what each query adds, `(queries, m)`.
        others: the same of the other recipe.
        fold: in which each query was held out, `(queries,)`.
        statistic: from sums `(…, m)` to values `(…)`.
    """
    # Sums over seeds: the statistic of a sum is then the mean of the seeds' statistics.
    over_queries = intervals.paired_difference(
        np.sum(ours, axis=0), np.sum(others, axis=0), statistic
    )
    noise: Literal["folds", "seeds"] = "seeds" if min(len(ours), len(others)) > 1 else "folds"
    if not over_queries.has_interval:
        return Comparison(over_queries, over_queries, noise, np.nan)

    folds, index = np.unique(fold, return_inverse=True)
    if noise == "folds" and len(folds) < 2:
        unknown = Estimate(over_queries.value, np.nan, np.nan, over_queries.queries)
        return Comparison(unknown, over_queries, noise, np.nan)

    linear = _linear(ours, statistic)  # (seeds, queries)
    other_linear = _linear(others, statistic)
    difference = linear.mean(axis=0) - other_linear.mean(axis=0)  # (queries,), sums to 0
    if noise == "folds":
        of_folds = np.bincount(index, difference)
        freedom = float(len(folds) - 1)
        error = float(np.sqrt(len(folds) / freedom * (of_folds**2).sum()))
        seed_error = np.nan
    else:
        of_queries = len(difference) / (len(difference) - 1) * (difference**2).sum()
        parts = [_seed_variance(each, index) for each in (linear, other_linear)]
        of_seeds = sum(variance for variance, _ in parts)
        error = float(np.sqrt(of_queries + of_seeds))
        seed_error = float(np.sqrt(of_seeds))
        # Satterthwaite: that of the queries is known well.
        uncertain = sum(variance**2 / freedom for variance, freedom in parts)
        uncertain += of_queries**2 / (len(difference) - 1)
        freedom = float((of_queries + of_seeds) ** 2 / uncertain) if uncertain else np.inf

    reach = _student(freedom) * error
    value = over_queries.value
    low = min(over_queries.low, value - reach)
    high = max(over_queries.high, value + reach)
    covered = Estimate(value, low, high, over_queries.queries)
    return Comparison(covered, over_queries, noise, seed_error, error, freedom)


def _linear(seeds: Sequence[Array], statistic: Statistic) -> Array:
    """Return what each query adds to the statistic of each seed, `(seeds, queries)`, to first order.

    It is the derivative at the mean of the seeds' sums. The statistics are ratios of sums, of which the derivative adds
    up to 0 over the mean's queries (Euler).
    """
    values = np.stack(seeds)  # (seeds, queries, m)
    sums = values.sum(axis=1).mean(axis=0)  # (m,)
    step = _STEP * max(1.0, float(np.abs(sums).max()))

    shifts = np.eye(len(sums)) * step
    gradient = (statistic(sums + shifts) - statistic(sums - shifts)) / (2 * step)  # (m,)
    return np.asarray(values @ gradient, np.float64)


def _seed_variance(linear: Array, fold: Codes) -> tuple[float, float]:
    """Return the variance of a recipe's mean over its seeds, with the queries as they are.

    Args:
        linear: what each query adds, `(seeds, queries)`.
        fold: of each query, from 0, `(queries,)`.

    Returns:
        The variance and its degrees of freedom.
    """
    seeds = len(linear)
    of_folds = np.stack([np.bincount(fold, each) for each in linear])  # (seeds, folds)
    variance = float(of_folds.var(axis=0, ddof=1).sum()) / seeds
    return variance, of_folds.shape[1] * (seeds - 1)


def _student(freedom: float) -> float:
    """Return the quantile of Student's distribution for a two-sided interval of 95 %."""
    from scipy.stats import t

    return float(t.ppf(_Z, freedom))
