"""Metrics of ranked lists with binary relevance: average precision, reciprocal rank, precision and recall at a rank.

Each has the value of every query, and its expectation in a random order. As in trec_eval, the
relevant rows of a query are all that it has, listed or not, and precision at k divides by k however
short the list is. A query without a relevant row is NaN, for the caller to leave out and to count;
trec_eval and ranx score it 0. nDCG is in `metrics`.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from competition.core.arrays import Array, Codes
from competition.scoring.metrics import RankedLists, index_queries

Mask = NDArray[np.bool_]


def average_precision_per_query(
    query: Codes,
    relevant: Mask,
    score: Array,
    tie: Codes | None = None,
    ranked: Mask | None = None,
) -> tuple[Codes, Array]:
    """Return the average precision of each query: the mean over its relevant rows of the precision at their ranks.

    Its mean over queries is MAP (Buckley and Voorhees 2005).

    Args:
        query: the query of each row, `(rows,)`.
        relevant: whether the row is relevant.
        score: higher is ranked earlier.
        tie: equal scores are ranked by this, ascending; by the order of the rows when it is
            missing.
        ranked: rows that are False are missing from the list; they are relevant nevertheless.

    Returns:
        The queries in ascending order and their values in 0..1, `(queries,)`; NaN for a query
        without a relevant row.
    """

    def total_precision(hits: Array) -> Array:  # (lists, longest) -> (lists,)
        rank = np.arange(hits.shape[1]) + 1
        total: Array = (hits * np.cumsum(hits, axis=1) / rank).sum(axis=1)
        return total

    queries, total = _over_lists(query, relevant, score, tie, ranked, total_precision)
    return queries, total / _number_relevant(query, relevant)


def reciprocal_rank_per_query(
    query: Codes,
    relevant: Mask,
    score: Array,
    tie: Codes | None = None,
    ranked: Mask | None = None,
) -> tuple[Codes, Array]:
    """Return 1 / the rank of each query's first relevant row, 0 where none is listed; its mean over queries is MRR.

    Arguments and result are those of `average_precision_per_query`.
    """

    def reciprocal(hits: Array) -> Array:  # (lists, longest) -> (lists,)
        first: Array = hits.max(axis=1) / (hits.argmax(axis=1) + 1)
        return first

    queries, values = _over_lists(query, relevant, score, tie, ranked, reciprocal)
    return queries, _where_relevant(values, query, relevant)


def precision_per_query(
    query: Codes,
    relevant: Mask,
    score: Array,
    cutoff: int,
    tie: Codes | None = None,
    ranked: Mask | None = None,
) -> tuple[Codes, Array]:
    """Return the relevant rows among the first `cutoff` of each query, over `cutoff`.

    The other arguments and the result are those of `average_precision_per_query`.
    """
    queries, hits = _hits(query, relevant, score, cutoff, tie, ranked)
    return queries, _where_relevant(hits / cutoff, query, relevant)


def recall_per_query(
    query: Codes,
    relevant: Mask,
    score: Array,
    cutoff: int,
    tie: Codes | None = None,
    ranked: Mask | None = None,
) -> tuple[Codes, Array]:
    """Return the relevant rows among the first `cutoff` of each query, over all that are relevant.

    The other arguments and the result are those of `average_precision_per_query`.
    """
    queries, hits = _hits(query, relevant, score, cutoff, tie, ranked)
    return queries, hits / _number_relevant(query, relevant)


def _hits(
    query: Codes, relevant: Mask, score: Array, cutoff: int, tie: Codes | None, ranked: Mask | None
) -> tuple[Codes, Array]:
    """Return the queries, and how many of the first `cutoff` rows of each are relevant, `(queries,)`."""

    def count(hits: Array) -> Array:  # (lists, longest) -> (lists,)
        number: Array = hits[:, :cutoff].sum(axis=1)
        return number

    return _over_lists(query, relevant, score, tie, ranked, count)


def _over_lists(
    query: Codes,
    relevant: Mask,
    score: Array,
    tie: Codes | None,
    ranked: Mask | None,
    value: Callable[[Array], Array],
) -> tuple[Codes, Array]:
    """Return the queries and a value of each, from 0 and 1 in the order of the ranks, see `RankedLists.over_lists`."""
    if ranked is not None:
        score = np.where(ranked, score, -np.inf)

    lists = RankedLists(query, relevant.astype(np.float64), tie)
    return lists.queries, lists.over_lists(score, value)


def _number_relevant(query: Codes, relevant: Mask) -> Array:
    """Return how many rows of each query are relevant, `(queries,)`; NaN instead of 0."""
    _, index = index_queries(query)
    number = np.bincount(index, relevant)
    return np.where(number > 0, number, np.nan)


def _where_relevant(values: Array, query: Codes, relevant: Mask) -> Array:
    """Return the values of queries, NaN for those without a relevant row."""
    return np.where(np.isnan(_number_relevant(query, relevant)), np.nan, values)


# --- in a random order
# ----------------------------------------------------------------------------------------------


def random_average_precision_per_query(query: Codes, relevant: Mask) -> tuple[Codes, Array]:
    """Return the expected average precision of each query ranked at random (Bestgen 2015, Prague Bulletin 103).

    A rank i of n is relevant with R / n, and then each of the i - 1 before it with (R - 1) /
    (n - 1). The mean over R of the precision at i is hence the sum over i of (1 + (i - 1) (R - 1) /
    (n - 1)) / (i n), that is (H + (n - H) (R - 1) / (n - 1)) / n with H = 1 + 1/2 + … + 1/n.
    """
    queries, size, number = _sizes(query, relevant)
    harmonic = np.cumsum(1 / np.arange(1, size.max(initial=0) + 1))[size - 1]  # (queries,)

    # A list of one row has no other.
    others = (number - 1) / np.maximum(size - 1, 1)
    expected = (harmonic + (size - harmonic) * others) / size
    return queries, _where_relevant(expected, query, relevant)


def random_reciprocal_rank_per_query(query: Codes, relevant: Mask) -> tuple[Codes, Array]:
    """Return the expected reciprocal rank of each query ranked at random.

    The first of R relevant rows among n has rank i with the negative hypergeometric probability:
    none of the i - 1 rows before is relevant, with the product of (n - R - j) / (n - j) over
    j < i - 1, and then R of n - i + 1.
    """
    queries, size, number = _sizes(query, relevant)

    # Queries of equal size and number share their expectation.
    pairs, which = np.unique(np.column_stack([size, number]), axis=0, return_inverse=True)
    expected = np.full(len(pairs), np.nan)
    for place, (n, r) in enumerate(pairs.tolist()):
        if r > 0:
            before = np.arange(n - r + 1)  # rows before the first relevant one
            none_yet = np.cumprod(np.r_[1.0, (n - r - before[:-1]) / (n - before[:-1])])
            expected[place] = (none_yet * r / (n - before) / (before + 1)).sum()
    return queries, expected[which.reshape(-1)]


def random_precision_per_query(query: Codes, relevant: Mask, cutoff: int) -> tuple[Codes, Array]:
    """Return the expected precision of each query ranked at random: every rank is relevant with R / n."""
    queries, size, number = _sizes(query, relevant)
    expected = np.minimum(size, cutoff) / cutoff * number / size
    return queries, _where_relevant(expected, query, relevant)


def random_recall_per_query(query: Codes, relevant: Mask, cutoff: int) -> tuple[Codes, Array]:
    """Return the expected recall of each query ranked at random: the share of its rows that are listed."""
    queries, size, _ = _sizes(query, relevant)
    return queries, _where_relevant(np.minimum(size, cutoff) / size, query, relevant)


def movable_binary(query: Codes, relevant: Mask, cutoff: int | None = None) -> Mask:
    """Return whether the order of a query's rows can change its value, `(queries,)`.

    Some of its rows are relevant and some are not; for precision and recall, there are also more
    rows than `cutoff`.
    """
    _, size, number = _sizes(query, relevant)
    differs: Mask = (number > 0) & (number < size)
    return differs if cutoff is None else differs & (size > cutoff)


def _sizes(query: Codes, relevant: Mask) -> tuple[Codes, Codes, Codes]:
    """Return the queries, how many rows each has, and how many of them are relevant, `(queries,)` each."""
    queries, index = index_queries(query)
    return queries, np.bincount(index), np.bincount(index, relevant).astype(np.int64)
