"""nDCG, F1 and means: pure NumPy, vectorised over millions of rows.

Every metric here is a statistic of sums over queries. `counts` arrays hold what each query adds to
those sums, so that a bootstrap over queries, of one result or of the paired difference of two, is a
matrix product.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from competition.core.arrays import Array, Codes

_CELLS = 1 << 15  # of a matrix, which with what is made of it stays in a processor's cache


class RankedLists:
    """The lists of many queries, laid out once so that many rankings of the same rows are scored fast.

    Lists of similar length lie in matrices, so that a ranking is a sort of their rows.
    """

    def __init__(self, query: Codes, gain: Array, tie: Codes | None = None) -> None:
        """Lay the lists out.

        Args:
            query: the query of each row, `(rows,)`.
            gain: the gain of each row, at least 0.
            tie: equal scores are ranked by this, ascending; by the order of the rows when it is
                missing.
        """
        order = _list_order(query, tie)
        starts = run_starts(query[order])
        lengths = np.diff(np.r_[starts, len(query)])
        self.queries: Codes = query[order][starts]  # (queries,) ascending
        gain = np.append(gain, 0.0)  # the last is of what fills a matrix up

        # Lists of 1, 2, 3 to 4, 5 to 8 and so on rows share matrices, at most half of which is filled up.
        bucket = np.ceil(np.log2(np.maximum(lengths, 1))).astype(np.int64)
        order = np.append(order, len(query))
        self._rows = len(query)
        self._ideals: dict[int | None, Array] = {}  # by cut-off, (queries,)

        # Which lists, (n,), their rows and the gains of these, (n, longest).
        self._matrices: list[tuple[Codes, Codes, Array]] = []
        for b in np.unique(bucket):
            of_bucket = np.flatnonzero(bucket == b)
            place = np.arange(int(lengths[of_bucket].max()))
            at_once = max(1, _CELLS // len(place))
            for first in range(0, len(of_bucket), at_once):
                lists = of_bucket[first : first + at_once]
                inside = place < lengths[lists, None]  # (n, longest)
                rows = order[np.where(inside, starts[lists, None] + place, len(query))]
                self._matrices.append((lists, rows, gain[rows]))

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
            order = _stable_order(keys)
            # Places in the whole matrix are looked up in half the time of places in its rows.
            order += np.arange(len(keys))[:, None] * keys.shape[1]
            values[lists] = value(gains.take(order))
        return values

    def first_rows(self, score: Array) -> Codes:
        """Return the row that is ranked first in each list, `(queries,)`."""
        first = np.empty(len(self.queries), np.int64)
        key = np.append(-score, np.inf)
        for lists, rows, _ in self._matrices:
            place = key[rows].argmin(axis=1)  # the first of equal ones
            first[lists] = rows[np.arange(len(rows)), place]
        return first

    def ndcg(self, score: Array, cutoff: int | None = None) -> Array:
        """Return the nDCG of each query, `(queries,)`; NaN without any gain.

        Args:
            score: higher is ranked earlier, `(rows,)`; a row whose score is -inf is not listed.
            cutoff: ranks after this one add nothing, nor to the ideal; all count when it is missing.
        """
        dcg = self.over_lists(score, lambda gains: _discounted(gains, cutoff))
        return _normalised(dcg, self._ideal(cutoff))

    def random_ndcg(self, cutoff: int | None = None) -> Array:
        """Return the expected nDCG of each query ranked at random: every rank then has the query's mean gain."""
        dcg = np.empty(len(self.queries))
        for lists, rows, gains in self._matrices:
            inside = rows < self._rows
            mean_gain = gains.sum(axis=1) / inside.sum(axis=1)
            dcg[lists] = _discounted(inside * mean_gain[:, None], cutoff)
        return _normalised(dcg, self._ideal(cutoff))

    def movable(self) -> NDArray[np.bool_]:
        """Return whether the order of a query's rows can change its nDCG, `(queries,)`: its gains are not all equal."""
        differs = np.empty(len(self.queries), bool)
        for lists, rows, gains in self._matrices:
            # What fills a list up counts as its first row.
            gains = np.where(rows < self._rows, gains, gains[:, :1])
            differs[lists] = (gains != gains[:, :1]).any(axis=1)
        return differs

    def _ideal(self, cutoff: int | None) -> Array:
        """Return the greatest DCG of each list, `(queries,)`."""
        if cutoff not in self._ideals:
            ideal = np.empty(len(self.queries))
            for lists, _, gains in self._matrices:
                ideal[lists] = _discounted(-np.sort(-gains, axis=1), cutoff)
            self._ideals[cutoff] = ideal
        return self._ideals[cutoff]


def _discounted(gain: Array, cutoff: int | None) -> Array:
    """Return the DCG of gains as they are ranked, `(lists, longest)` -> `(lists,)`.

    It is the sum of gain / log2(rank + 1) over ranks up to the cut-off.
    """
    gain = gain[:, :cutoff]
    discounted: Array = gain @ (1 / np.log2(np.arange(gain.shape[1]) + 2))
    return discounted


def _stable_order(keys: Array) -> Codes:
    """Return what `argsort(keys, axis=1, kind="stable")` does, `(lists, longest)`, in a third of the time.

    One whole number holds a key, but for its last bits, and its place: numbers are sorted faster than
    places by keys. Lists in which two keys differ in these bits at most are sorted by the whole keys.
    """
    bits = keys.shape[1].bit_length()
    if np.isnan(keys).any():  # their bits may come before all others
        return np.argsort(keys, axis=1, kind="stable")

    # Bits of floats are in the floats' order, but for negative ones, whose order they turn round.
    number = (keys + 0.0).view(np.int64)  # -0.0 + 0.0 is 0.0
    number ^= (number >> 63) & np.iinfo(np.int64).max
    number >>= bits
    number <<= bits
    number |= np.arange(keys.shape[1])
    number.sort(axis=1)

    order: Codes = number & ((1 << bits) - 1)
    number >>= bits
    # What is not listed, at infinity, stays in the order of its places.
    listed = number[:, 1:] < np.array(np.inf).view(np.int64) >> bits
    near = (number[:, 1:] == number[:, :-1]) & listed
    # To look at all numbers is ten times as fast as to look at the numbers of each list.
    if near.any():
        lists = near.any(axis=1)
        order[lists] = np.argsort(keys[lists], axis=1, kind="stable")
    return order


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


def first_places(index: Codes, queries: int) -> Codes:
    """Return the first row of each query, `(queries,)`, by the place of each row's among the queries, `(rows,)`."""
    first = np.empty(queries, np.int64)
    first[index[::-1]] = np.arange(len(index))[::-1]  # what is written last stays
    return first


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

    lists = RankedLists(query, gain, tie)
    return lists.queries, lists.ndcg(score, cutoff)


# --- classification
# ----------------------------------------------------------------------------------------------


class ClassifiedRows:
    """The rows of many queries and their classes, laid out once so that many answers to them are counted fast."""

    def __init__(
        self, query: Codes, truth: Codes, classes: int, weight: Array | None = None
    ) -> None:
        """Lay the rows out; a row counts once, or `weight` times, `(rows,)`."""
        self.queries, index = index_queries(query)  # (queries,) ascending
        self._classes, self._truth, self._weight = classes, truth, weight
        # A cell is a query and a class; (rows,) the first of the row's query, and that of its truth.
        self._first = index * classes
        self._cell = self._first + truth
        self._truths = self._count(self._cell, weight)

    def _count(self, cell: Codes, mass: NDArray[Any] | None) -> Array:
        """Return the mass of each cell, `(queries, classes)`."""
        counts = np.bincount(cell, mass, len(self.queries) * self._classes)
        return counts.reshape(-1, self._classes).astype(np.float64, copy=False)

    def confusion(self, predicted: Codes) -> Array:
        """Count what each query adds to F1: true positives, predictions, truths, `(queries, 3 * classes)`."""
        right = self._truth == predicted
        correct = self._count(self._cell, right if self._weight is None else right * self._weight)

        cell, mass = self._first + predicted, self._weight
        if len(cell) and (predicted.min() < 0 or predicted.max() >= self._classes):
            is_class = (predicted >= 0) & (predicted < self._classes)
            cell, mass = cell[is_class], None if mass is None else mass[is_class]
        return np.hstack([correct, self._count(cell, mass), self._truths])


def confusion_per_query(
    query: Codes, truth: Codes, predicted: Codes, classes: int, weight: Array | None = None
) -> tuple[Codes, Array]:
    """Return the queries in ascending order and what each adds to F1, see `ClassifiedRows`."""
    rows = ClassifiedRows(query, truth, classes, weight)
    return rows.queries, rows.confusion(predicted)


def micro_f1(sums: Array) -> Array:
    """Return micro-F1 of counts `(…, 3 * classes)`: the accuracy, as each row has one label and at most one answer."""
    return mean(right_and_rows(sums))


def right_and_rows(counts: Array) -> Array:
    """Return what micro-F1 is a function of: counts `(…, 3 * classes)` to right answers and rows, `(…, 2)`."""
    tp, _, true = np.split(counts, 3, axis=-1)  # (…, classes) each
    return np.stack([tp.sum(-1), true.sum(-1)], axis=-1)


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
