"""nDCG, F1 and their intervals: pure NumPy, vectorised over millions of rows.

Every metric here is a statistic of sums over queries. `counts` arrays hold what each query adds to
those sums, so that a bootstrap over queries, of one result or of the paired difference of two, is a
matrix product.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from competition.scoring.resampling import CHUNK, MANY, draw, resampled_sums

Array = NDArray[np.float64]
Codes = NDArray[np.int64]
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


class RankedLists:
    """The lists of many queries, laid out once so that many rankings of the same rows are scored fast.

    Lists of similar length lie in one matrix, so that a ranking is a sort of its rows.
    """

    def __init__(
        self, query: Codes, gain: Array, tie: Codes | None = None, cutoff: int | None = None
    ) -> None:
        """Lay the lists out.

        Args:
            query: the query of each row, `(rows,)`.
            gain: the gain of each row, at least 0.
            tie: equal scores are ranked by this, ascending; by the order of the rows when it is
                missing.
            cutoff: ranks after this one add nothing to nDCG, nor to its ideal.
        """
        order = _list_order(query, tie)
        starts = run_starts(query[order])
        lengths = np.diff(np.r_[starts, len(query)])
        self.queries: Codes = query[order][starts]  # (queries,) ascending
        gain = np.append(gain, 0.0)  # the last is of what fills a matrix up

        # Lists of 1, 2, 3 to 4, 5 to 8 and so on rows share a matrix, at most half of which is filled up.
        bucket = np.ceil(np.log2(np.maximum(lengths, 1))).astype(np.int64)
        order = np.append(order, len(query))
        self._cutoff = cutoff

        # Which lists, (n,), their rows and the gains of these, (n, longest).
        self._matrices: list[tuple[Codes, Codes, Array]] = []
        for b in np.unique(bucket):
            lists = np.flatnonzero(bucket == b)
            place = np.arange(int(lengths[lists].max()))
            inside = place < lengths[lists, None]  # (n, longest)
            rows = order[np.where(inside, starts[lists, None] + place, len(query))]
            self._matrices.append((lists, rows, gain[rows]))

        self._ideal = np.empty(len(self.queries))
        for lists, _, gains in self._matrices:
            self._ideal[lists] = self._discounted(-np.sort(-gains, axis=1))

    def over_lists(self, score: Array, value: Callable[[Array], Array]) -> Array:
        """Return a value of each list, `(queries,)`.

        Args:
            score: higher is ranked earlier, `(rows,)`; a row whose score is -inf is not listed.
            value: from the gains of lists as they are ranked, `(lists, longest)`, 0 after the end
                of a list, to their values `(lists,)`.
        """
        values = np.empty(len(self.queries))
        key = np.append(-score, np.inf)  # what fills up comes last
        all_listed = not np.isposinf(key[:-1]).any()

        for lists, rows, gains in self._matrices:
            keys = key[rows]  # (n, longest)
            if not all_listed:
                gains = np.where(np.isposinf(keys), 0.0, gains)
            # Rows lie in the order of their ties, which a stable sort keeps.
            order = np.argsort(keys, axis=1, kind="stable")
            values[lists] = value(np.take_along_axis(gains, order, 1))
        return values

    def _dcg(self, score: Array) -> Array:
        """Return the DCG of each list, `(queries,)`: sum of gain / log2(rank + 1) over ranks up to the cut-off."""
        return self.over_lists(score, self._discounted)

    def _discounted(self, gain: Array) -> Array:
        """Return the DCG of gains as they are ranked: `(lists, longest)` -> `(lists,)`."""
        gain = gain[:, : self._cutoff]
        discounted: Array = gain @ (1 / np.log2(np.arange(gain.shape[1]) + 2))
        return discounted

    def ndcg(self, score: Array) -> Array:
        """Return the nDCG of each query, `(queries,)`; NaN without any gain. A score of -inf is not listed."""
        return _normalised(self._dcg(score), self._ideal)


def _list_order(query: Codes, tie: Codes | None) -> Codes:
    """Return the rows by query, within a query by `tie`, and within that as they come."""
    rows = len(query)
    ties = 1 if tie is None or not rows else int(tie.max()) + 1
    whole = all(each.dtype.kind in "iu" for each in (query, tie) if each is not None)
    known = rows and whole and query.min() >= 0 and (tie is None or tie.min() >= 0)
    if not known or (int(query.max()) + 1) * ties * rows > np.iinfo(np.int64).max:
        order: Codes = np.lexsort((np.arange(rows) if tie is None else tie, query))
        return order

    # One number of all three sorts in half the time, and holds the row.
    key = query.astype(np.int64)
    if tie is not None:
        key *= ties
        key += tie
    key *= rows
    key += np.arange(rows)
    key.sort()
    key %= rows
    return key


def run_starts(ordered: NDArray[Any]) -> Codes:
    """Return where each run of equal values begins, `(runs,)`, of values in ascending order."""
    if len(ordered) == 0:
        return np.empty(0, np.int64)

    changes = ordered[1:] != ordered[:-1]
    return np.flatnonzero(np.r_[True, changes])


def index_queries(query: Codes) -> tuple[Codes, Codes]:
    """Return the queries in ascending order, `(queries,)`, and the place among them of each row's, `(rows,)`."""
    # Small numbers are counted, which takes a tenth of the time of sorting.
    if len(query) and query.min() >= 0 and query.max() <= 4 * len(query):
        occurs = np.bincount(query) > 0
        return np.flatnonzero(occurs), (np.cumsum(occurs) - 1)[query]

    queries, index = np.unique(query, return_inverse=True)
    return queries, index


def _dcg(query: Codes, gain: Array, order: Codes, cutoff: int | None = None) -> tuple[Codes, Array]:
    """Return the queries in ascending order and the DCG of each list: sum of gain / log2(rank + 1), ranks from 1."""
    query = query[order]
    gain = gain[order]
    starts = run_starts(query)
    lengths = np.diff(np.r_[starts, len(query)])
    rank = np.arange(len(query)) - np.repeat(starts, lengths) + 1
    discounted = gain / np.log2(rank + 1)
    if cutoff is not None:
        discounted[rank > cutoff] = 0.0

    # `reduceat` takes no empty indices.
    dcg = np.add.reduceat(discounted, starts) if len(starts) else discounted
    return query[starts], dcg


def _normalised(dcg: Array, ideal: Array) -> Array:
    """Return DCG over its ideal; NaN where the ideal is 0."""
    ratio: Array = np.divide(dcg, ideal, out=np.full(len(ideal), np.nan), where=ideal > 0)
    return ratio


def ndcg_per_query(
    query: Codes,
    gain: Array,
    score: Array,
    tie: Codes | None = None,
    ranked: NDArray[np.bool_] | None = None,
    cutoff: int | None = None,
) -> tuple[Codes, Array]:
    """Return the normalised discounted cumulative gain of each query, with linear gain.

    nDCG = DCG / ideal DCG, DCG = sum over ranks of gain / log2(rank + 1) (Järvelin and Kekäläinen
    2002), the ideal over all rows of the query.

    Args:
        query: the query of each row, `(rows,)`.
        gain: the gain of each row, at least 0.
        score: higher is ranked earlier.
        tie: equal scores are ranked by this, ascending; by the order of the rows when it is
            missing.
        ranked: rows that are False are missing from the list: they add to the ideal alone.
        cutoff: the last rank that counts, in the ideal, too; all when it is missing.

    Returns:
        The queries in ascending order and their nDCG in 0..1, `(queries,)`; NaN for a query with no
        gain at all.
    """
    if ranked is not None:
        score = np.where(ranked, score, -np.inf)

    lists = RankedLists(query, gain, tie, cutoff)
    return lists.queries, lists.ndcg(score)


def random_ndcg_per_query(
    query: Codes, gain: Array, cutoff: int | None = None
) -> tuple[Codes, Array]:
    """Return the expected nDCG of each query ranked at random: every rank then has the query's mean gain."""
    queries, index, counts = np.unique(query, return_inverse=True, return_counts=True)
    mean_gain = (np.bincount(index, weights=gain) / counts)[index]  # (rows,)

    order = np.lexsort((-gain, query))
    _, ideal = _dcg(query, gain, order, cutoff)

    # Any order will do where all gains of a query are equal.
    _, dcg = _dcg(query, mean_gain, order, cutoff)
    return queries, _normalised(dcg, ideal)


def movable(query: Codes, gain: Array) -> NDArray[np.bool_]:
    """Return whether the order of a query's rows can change its nDCG, `(queries,)`: its gains are not all equal."""
    order = np.lexsort((gain, query))
    starts = run_starts(query[order])

    # Gains ascend within a query: all are equal where the first equals the last.
    ends = np.r_[starts[1:], len(query)] - 1
    differs: NDArray[np.bool_] = gain[order][starts] != gain[order][ends]
    return differs


# --- classification
# ----------------------------------------------------------------------------------------------


def confusion_per_query(
    query: Codes, truth: Codes, predicted: Codes, classes: int, weight: Array | None = None
) -> tuple[Codes, Array]:
    """Count what each query adds to F1; a row counts once, or `weight` times, `(rows,)`.

    Returns:
        The queries in ascending order and counts `(queries, 3 * classes)`: true positives,
        predictions, truths.
    """
    queries, index = index_queries(query)
    counts = np.zeros((len(queries), 3 * classes))

    for c in range(classes):
        is_true = truth == c
        is_predicted = predicted == c
        for block, hit in enumerate((is_true & is_predicted, is_predicted, is_true)):
            weights = hit if weight is None else hit * weight
            counts[:, block * classes + c] = np.bincount(index, weights, len(queries))
    return queries, counts


def micro_f1(sums: Array) -> Array:
    """Return micro-F1 of counts `(…, 3 * classes)`: the accuracy, as each row has one label and at most one answer."""
    tp, _, true = np.split(sums, 3, axis=-1)
    return _ratio(tp.sum(-1), true.sum(-1))


def macro_f1(sums: Array) -> Array:
    """Return macro-F1 of counts `(…, 3 * classes)`: the mean F1 of the classes that occur as truth or as prediction."""
    tp, predicted, true = np.split(sums, 3, axis=-1)  # (…, classes) each

    # F1 = 2 TP / (2 TP + FP + FN), whose denominator is predictions plus truths.
    occurs = predicted + true > 0
    f1 = _ratio(2 * tp, predicted + true)
    return _ratio((f1 * occurs).sum(-1), occurs.sum(-1))


def mean(sums: Array) -> Array:
    """Return the mean of sums `(…, 2)`: a total and a count."""
    return _ratio(sums[..., 0], sums[..., 1])


def total_per_query(
    query: Codes, values: Array, weight: Array | None = None
) -> tuple[Codes, Array]:
    """Count what each query adds to the mean of `values`, `(rows,)`; a row counts once, or `weight` times.

    Returns:
        The queries in ascending order and counts `(queries, 2)`: a total and a count; the statistic
        is `mean`.
    """
    queries, index = index_queries(query)
    weighted = values if weight is None else values * weight
    return queries, np.column_stack([np.bincount(index, weighted), np.bincount(index, weight)])


def _ratio(total: Array, count: NDArray[Any]) -> Array:
    """Return a total over a count; the total where nothing is counted."""
    ratio: Array = total / np.where(count > 0, count, 1)
    return ratio


# --- intervals
# ---------------------------------------------------------------------------------------------------


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
    MIN_QUERIES there is none. `benchmarks/coverage.py` measures how often each holds the truth.

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
        values = statistic(resampled_sums(counts, seed, resamples))
        return _of_percentiles(float(statistic(counts.sum(0))), values, within, queries)

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
        # The sums of either are kept for its other comparisons.
        parts = [resampled_sums(each, seed, RESAMPLES) for each in (counts, other)]
        values = statistic(parts[0]) - statistic(parts[1])
        value = float(statistic(counts.sum(0)) - statistic(other.sum(0)))
        return _of_percentiles(value, values, (-math.inf, math.inf), len(counts))

    def difference(sums: Array) -> Array:  # (…, 2 * m) -> (…)
        return statistic(sums[..., :m]) - statistic(sums[..., m:])

    # Side by side, so that each resample draws the same queries of both.
    return bootstrap(np.hstack([counts, other]), difference, seed)
