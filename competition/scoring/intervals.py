"""Estimates with their intervals: bootstrap and bootstrap-t over queries, and paired differences.

A statistic is a function of sums over queries; `counts` arrays hold what each query adds to them,
see `scoring/metrics.py`.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from competition.core.arrays import Array, Codes
from competition.scoring.resampling import CHUNK, MANY, Resampled, draw, resample

Statistic = Callable[[Array], Array]  # sums (resamples, m) -> values (resamples,)

RESAMPLES = 1_000
# Numbers of queries that decide about intervals, see `bootstrap`.
# Below, no method covers the truth as often as it says, so that there is no interval.
MIN_QUERIES = 10
# Below, the level is raised so that 95 of 100 intervals hold the truth (Loh 1987).
SMALL_SAMPLE = 30
# Below, percentiles of the bootstrap miss the truth too often.
LARGE_SAMPLE = 80

_TINY = 1e-12  # of a standard error


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % bootstrap interval over `queries` queries, see `bootstrap`.

    The interval is NaN where there are too few queries for one; it is then shown as a dash and
    nothing differs.
    """

    value: float
    low: float
    high: float
    queries: int  # 0 where that is not known

    @property
    def has_interval(self) -> bool:
        """True where there are enough queries to say how far off the value may be."""
        return not math.isnan(self.low)

    @property
    def differs(self) -> bool:
        """True where a difference is significant: there is an interval, and it excludes 0."""
        return self.low > 0 or self.high < 0

    def interval(self, sign: str = "") -> str:
        """Return the interval in brackets with four decimals; a dash where there is none."""
        return f"[{self.low:{sign}.4f}, {self.high:{sign}.4f}]" if self.has_interval else "–"

    def as_json(self) -> dict[str, float | None]:
        """Return the estimate as a JSON file holds it, null for NaN."""
        return {key: None if math.isnan(value) else value for key, value in vars(self).items()}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Estimate":
        """Read what `as_json` returned."""
        value, low, high = (
            math.nan if content[key] is None else content[key] for key in ("value", "low", "high")
        )
        return cls(value, low, high, int(content["queries"]))

    def __format__(self, sign: str) -> str:
        """Return four decimals; `+` shows the sign, as for a difference."""
        return f"{self.value:{sign}.4f} {self.interval(sign)}"

    def __str__(self) -> str:
        """Return four decimals and the interval."""
        return f"{self}"


def cells(**estimates: Estimate | None) -> dict[str, float | None]:
    """Return estimates as cells: `key`, `key_low`, `key_high`."""
    ends = (("", "value"), ("_low", "low"), ("_high", "high"))
    return {
        key + end: getattr(estimate, value) if estimate else None
        for key, estimate in estimates.items()
        for end, value in ends
    }


def bootstrap(
    counts: Array,
    statistic: Statistic,
    seed: int = 0,
    resamples: int = RESAMPLES,
    within: tuple[float, float] = (-math.inf, math.inf),
) -> Estimate:
    """Estimate a statistic of sums over queries with a 95 % interval from a bootstrap over queries.

    From LARGE_SAMPLE queries on, the interval is that of the percentiles. Fewer queries make it too
    short: their resamples vary less than the queries do, and a skewed metric's tail is missing from
    them. Then it is the bootstrap-t interval (Efron and Tibshirani 1993, chapter 12) with the
    jackknife's standard error, widened to Student's t where that reaches further, and below
    SMALL_SAMPLE queries at a nominal level of 97 %, which covers as often as 95 % says. Below
    MIN_QUERIES there is none. Very many queries are drawn in blocks, see `resampling.resample`.
    `benchmarks/coverage.py` measures how often each holds the truth.

    Args:
        counts: what each query adds, `(queries, m)`. The order of the queries decides which are
            drawn: sort them.
        statistic: from sums `(…, m)` to values `(…)`.
        seed: of the resampling.
        resamples: how often all queries are drawn with replacement.
        within: the least and the greatest value that the statistic can have, which cut the
            interval.
    """
    queries = len(counts)
    if queries < MIN_QUERIES:
        value = float(statistic(counts.sum(0))) if queries else math.nan
        return Estimate(value, math.nan, math.nan, queries)

    if queries >= MANY:
        return estimate_resampled(resample([counts], seed, resamples)[0], statistic, within)

    rng = np.random.default_rng(seed)
    step = max(1, CHUNK // queries)
    sums = np.empty((resamples, counts.shape[1]))
    errors = np.empty(resamples)
    for first in range(0, resamples, step):
        size = min(step, resamples - first)
        times = draw(rng, queries, size)  # (resamples, queries)
        sums[first : first + size] = times @ counts
        if queries < LARGE_SAMPLE:
            errors[first : first + size] = _standard_errors(counts, times, statistic)

    value = float(statistic(counts.sum(0)))
    values = statistic(sums)  # (resamples,)
    if queries >= LARGE_SAMPLE:
        return _of_percentiles(value, values, within, queries)

    once = np.ones((1, queries), np.int64)  # the queries as they are
    error = float(_standard_errors(counts, once, statistic)[0])
    low, high = _studentised(value, error, values, errors, queries)
    least, greatest = within
    return Estimate(value, max(low, least), min(high, greatest), queries)


def _of_percentiles(
    value: float, values: Array, within: tuple[float, float], queries: int
) -> Estimate:
    """Return a statistic with the interval of its percentiles over resamples, `(resamples,)`."""
    low, high = np.percentile(values, (2.5, 97.5))
    least, greatest = within
    return Estimate(value, max(float(low), least), min(float(high), greatest), queries)


def student_quantile(z: float, freedom: int) -> float:
    """Return the quantile of Student's distribution where the normal one has `z` (Abramowitz and Stegun, 26.7.5).

    From 9 degrees of freedom on, it is right to three decimals for |z| up to 2.6.
    """
    # The coefficients of 1 / freedom, 1 / freedom² and 1 / freedom³.
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    correction: float = sum(term / freedom**power for power, term in enumerate(terms, start=1))
    return z + correction


def _standard_errors(counts: Array, times: Codes, statistic: Statistic) -> Array:
    """Estimate by the jackknife the standard error of a statistic in each resample, `(resamples,)`.

    Args:
        counts: what each query adds, `(queries, m)`.
        times: how often each query was drawn, `(resamples, queries)`.
        statistic: from sums `(…, m)` to values `(…)`.
    """
    queries = len(counts)

    # Each resample without one of its queries, `(resamples, queries)`.
    left_out = statistic((times @ counts)[:, None, :] - counts)
    left_out = np.where(times > 0, left_out, 0.0)  # nothing is known without a query that is not in

    # A query that was drawn n times can be left out in n ways.
    mean = (times * left_out).sum(axis=1, keepdims=True) / queries
    variance = (queries - 1) / queries * (times * (left_out - mean) ** 2).sum(axis=1)
    return np.asarray(np.sqrt(variance), np.float64)


def _studentised(
    value: float, error: float, values: Array, errors: Array, queries: int
) -> tuple[float, float]:
    """Return the hull of the bootstrap-t interval and Student's.

    Args:
        value: the statistic.
        error: its standard error.
        values: the statistic in each resample, `(resamples,)`.
        errors: their standard errors, `(resamples,)`.
        queries: how many there are.
    """
    # Percentiles of the nominal level, and the normal distribution's quantile for it.
    percents, z = ((1.5, 98.5), 2.1701) if queries < SMALL_SAMPLE else ((2.5, 97.5), 1.96)

    # A resample without the few queries that vary would seem exact: its error is a third of that of
    # all at least.
    errors = np.maximum(errors, max(error / 3, _TINY))
    ratios = (values - value) / errors  # (resamples,)
    least, greatest = np.percentile(ratios, percents)

    # The low end takes the upper quantile, and the high end the lower one.
    student = student_quantile(z, queries - 1)
    low = value - max(greatest, student) * error
    high = value - min(least, -student) * error
    return low, high


def paired_difference(counts: Array, other: Array, statistic: Statistic, seed: int = 0) -> Estimate:
    """Estimate the statistic of `counts` minus that of `other`, over the same queries in the same order."""
    m = counts.shape[1]
    if len(counts) >= MANY:
        one, another = resample([counts, other], seed, RESAMPLES)
        return difference_of_resampled(one, another, statistic)

    def difference(sums: Array) -> Array:  # (…, 2 * m) -> (…)
        return statistic(sums[..., :m]) - statistic(sums[..., m:])

    # Side by side, so that each resample draws the same queries of both.
    return bootstrap(np.hstack([counts, other]), difference, seed)


# --- of results that were drawn together
# ------------------------------------------------------------


def estimate_resampled(
    result: Resampled,
    statistic: Statistic,
    within: tuple[float, float] = (-math.inf, math.inf),
) -> Estimate:
    """Return what `bootstrap` does of as many queries."""
    value = float(statistic(result.total))
    return _of_percentiles(value, statistic(result.sums), within, result.queries)


def difference_of_resampled(one: Resampled, other: Resampled, statistic: Statistic) -> Estimate:
    """Return what `paired_difference` does of as many queries, which were drawn alike."""
    value = float(statistic(one.total) - statistic(other.total))
    values = statistic(one.sums) - statistic(other.sums)  # (resamples,)
    return _of_percentiles(value, values, (-math.inf, math.inf), one.queries)
