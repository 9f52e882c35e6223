"""nDCG, F1 and their intervals: pure NumPy, vectorised over millions of rows.

Every metric here is a statistic of sums over queries. `counts` arrays hold what each query adds to those sums, so that
a bootstrap over queries, of one result or of the paired difference of two, is a matrix product.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Codes = NDArray[np.int64]
Statistic = Callable[[Array], Array]  # sums (resamples, m) -> values (resamples,)

RESAMPLES = 1_000
_CHUNK = 8_000_000  # drawn query indices at a time: bounds the memory of a bootstrap over 100,000 queries


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % percentile bootstrap interval over `queries` queries.

    Resamples of one query are all alike, so its interval has no width and says nothing: it is not shown.
    """

    value: float
    low: float
    high: float
    queries: int  # 0 where that is not known

    @property
    def differs(self) -> bool:
        """Whether a difference is significant: there is an interval, and it excludes 0."""
        return self.queries != 1 and (self.low > 0 or self.high < 0)

    def interval(self, sign: str = "") -> str:
        """The interval in brackets with four decimals; a dash where it says nothing."""
        return "–" if self.queries == 1 else f"[{self.low:{sign}.4f}, {self.high:{sign}.4f}]"

    def __format__(self, sign: str) -> str:
        """Four decimals; `+` shows the sign, as for a difference."""
        return f"{self.value:{sign}.4f} {self.interval(sign)}"

    def __str__(self) -> str:
        return f"{self}"


def cells(**estimates: Estimate | None) -> dict[str, float | None]:
    """Estimates as cells: `key`, `key_low`, `key_high`."""
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

    def __init__(self, query: Codes, gain: Array, tie: Codes | None = None) -> None:
        """`query` and `gain` of each row, `(rows,)`; equal scores are ranked by `tie`, ascending, else by the rows."""
        order = np.lexsort((np.arange(len(query)) if tie is None else tie, query))
        starts = _starts(query[order])
        lengths = np.diff(np.r_[starts, len(query)])
        self.queries: Codes = query[order][starts]  # (queries,) ascending
        self._gain = np.append(gain, 0.0)  # the last is of what fills a matrix up
        self._matrices: list[tuple[Codes, Codes]] = []  # which lists, (n,), and their rows, (n, longest)
        bucket = np.ceil(np.log2(np.maximum(lengths, 1))).astype(np.int64)
        order = np.append(order, len(query))
        for b in np.unique(bucket):
            lists = np.flatnonzero(bucket == b)
            place = np.arange(int(lengths[lists].max()))
            inside = place < lengths[lists, None]
            rows = order[np.where(inside, starts[lists, None] + place, len(query))]
            self._matrices.append((lists, rows))
        self._ideal = self._dcg(gain)

    def _dcg(self, score: Array) -> Array:
        """DCG of each list, `(queries,)`: sum of gain / log2(rank + 1), ranks from 1; a score of -inf is not listed."""
        dcg = np.empty(len(self.queries))
        key = np.append(-score, np.inf)  # what fills up comes last
        gain = np.where(np.isposinf(key), 0.0, self._gain)
        for lists, rows in self._matrices:
            ranked = np.take_along_axis(rows, np.argsort(key[rows], axis=1, kind="stable"), 1)
            dcg[lists] = gain[ranked] @ (1 / np.log2(np.arange(rows.shape[1]) + 2))
        return dcg

    def ndcg(self, score: Array) -> Array:
        """The nDCG of each query, `(queries,)`; NaN for one with no gain at all. A score of -inf is not listed."""
        return _normalised(self._dcg(score), self._ideal)


def _starts(sorted_codes: Codes) -> Codes:
    """Where each run of equal codes begins."""
    if len(sorted_codes) == 0:
        return np.empty(0, np.int64)
    return np.flatnonzero(np.r_[True, sorted_codes[1:] != sorted_codes[:-1]])


def _dcg(query: Codes, gain: Array, order: Codes) -> tuple[Codes, Array]:
    """The queries in ascending order and the DCG of each list: sum of gain / log2(rank + 1), ranks from 1."""
    query, gain = query[order], gain[order]
    starts = _starts(query)
    lengths = np.diff(np.r_[starts, len(query)])
    rank = np.arange(len(query)) - np.repeat(starts, lengths) + 1
    discounted = gain / np.log2(rank + 1)
    return query[starts], np.add.reduceat(discounted, starts) if len(starts) else discounted


def _normalised(dcg: Array, ideal: Array) -> Array:
    """DCG over its ideal; NaN where the ideal is 0."""
    return np.divide(dcg, ideal, out=np.full(len(ideal), np.nan), where=ideal > 0)


def ndcg_per_query(
    query: Codes, gain: Array, score: Array, tie: Codes | None = None, ranked: NDArray[np.bool_] | None = None
) -> tuple[Codes, Array]:
    """Normalised discounted cumulative gain of each query, with linear gain and no cut-off.

    nDCG = DCG / ideal DCG, DCG = sum over ranks of gain / log2(rank + 1) (Järvelin and Kekäläinen 2002), the ideal over
    all rows of the query.

    Args:
        query: the query of each row, `(rows,)`.
        gain: the gain of each row, at least 0.
        score: higher is ranked earlier.
        tie: equal scores are ranked by this, ascending; by the order of the rows when it is missing.
        ranked: rows that are False are missing from the list: they add to the ideal alone.

    Returns:
        The queries in ascending order and their nDCG in 0..1, `(queries,)`; NaN for a query with no gain at all.
    """
    lists = RankedLists(query, gain, tie)
    return lists.queries, lists.ndcg(score if ranked is None else np.where(ranked, score, -np.inf))


def random_ndcg_per_query(query: Codes, gain: Array) -> tuple[Codes, Array]:
    """The expected nDCG of each query ranked at random: every rank then has the query's mean gain."""
    queries, index, counts = np.unique(query, return_inverse=True, return_counts=True)
    mean_gain = (np.bincount(index, weights=gain) / counts)[index]
    order = np.lexsort((-gain, query))
    _, ideal = _dcg(query, gain, order)
    _, dcg = _dcg(query, mean_gain, order)
    return queries, _normalised(dcg, ideal)


def movable(query: Codes, gain: Array) -> NDArray[np.bool_]:
    """Whether the order of a query's rows can change its nDCG, `(queries,)`: its gains are not all equal."""
    order = np.lexsort((gain, query))
    starts = _starts(query[order])
    ends = np.r_[starts[1:], len(query)] - 1
    return gain[order][starts] != gain[order][ends]


# --- classification ----------------------------------------------------------------------------------------------


def confusion_per_query(query: Codes, truth: Codes, predicted: Codes, classes: int) -> tuple[Codes, Array]:
    """What each query adds to the counts of F1.

    Returns:
        The queries in ascending order and counts `(queries, 3 * classes)`: true positives, predictions, truths.
    """
    queries, index = np.unique(query, return_inverse=True)
    counts = np.zeros((len(queries), 3 * classes))
    for c in range(classes):
        is_true, is_predicted = truth == c, predicted == c
        for block, hit in enumerate((is_true & is_predicted, is_predicted, is_true)):
            counts[:, block * classes + c] = np.bincount(index, weights=hit, minlength=len(queries))
    return queries, counts


def micro_f1(sums: Array) -> Array:
    """micro-F1 of counts `(…, 3 * classes)`: the accuracy, since each row has one label and one answer or none."""
    tp, _, true = np.split(sums, 3, axis=-1)
    return tp.sum(-1) / np.maximum(true.sum(-1), 1)


def macro_f1(sums: Array) -> Array:
    """macro-F1 of counts `(…, 3 * classes)`: the mean F1 of the classes that occur as truth or as prediction."""
    tp, predicted, true = np.split(sums, 3, axis=-1)
    occurs = predicted + true > 0
    f1 = 2 * tp / np.maximum(predicted + true, 1)
    return (f1 * occurs).sum(-1) / np.maximum(occurs.sum(-1), 1)


def mean(sums: Array) -> Array:
    """The mean of sums `(…, 2)`: a total and a count."""
    return sums[..., 0] / np.maximum(sums[..., 1], 1)


# --- intervals ---------------------------------------------------------------------------------------------------


def bootstrap(counts: Array, statistic: Statistic, seed: int = 0, resamples: int = RESAMPLES) -> Estimate:
    """A statistic of sums over queries, with the 95 % percentile interval of a bootstrap over queries.

    Args:
        counts: what each query adds, `(queries, m)`. The order of the queries decides which are drawn: sort them.
        statistic: from sums `(…, m)` to values `(…)`.
        seed: of the resampling.
        resamples: how often all queries are drawn with replacement.
    """
    queries = len(counts)
    if queries == 0:
        return Estimate(float("nan"), float("nan"), float("nan"), 0)
    rng = np.random.default_rng(seed)
    step = max(1, _CHUNK // queries)
    sums = np.empty((resamples, counts.shape[1]))
    for first in range(0, resamples, step):
        size = min(step, resamples - first)
        drawn = rng.integers(0, queries, (size, queries))
        drawn += np.arange(size)[:, None] * queries
        times = np.bincount(drawn.ravel(), minlength=size * queries).reshape(size, queries)
        sums[first : first + size] = times @ counts
    low, high = np.percentile(statistic(sums), (2.5, 97.5))
    return Estimate(float(statistic(counts.sum(0))), float(low), float(high), queries)


def paired_difference(counts: Array, other: Array, statistic: Statistic, seed: int = 0) -> Estimate:
    """The statistic of `counts` minus that of `other`, rows of both being the same queries in the same order."""
    m = counts.shape[1]
    return bootstrap(np.hstack([counts, other]), lambda sums: statistic(sums[..., :m]) - statistic(sums[..., m:]), seed)
