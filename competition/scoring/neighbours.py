"""Pairs of rows whose text is nearly the same, by the features of `lexical`."""

from dataclasses import dataclass

import numpy as np

from competition.core.arrays import Array, Codes

_NEIGHBOURS = 3  # of each row
_SHARE = 1 / 3  # of the test rows' pairs, the nearest, that say how near is near
_MOST_ROWS = 10_000  # of each split, whole queries drawn at random: distances cost rows times rows
_FARTHEST = 4.0  # standard deviations: one wild feature alone does not keep rows apart


@dataclass(frozen=True)
class NearPairs:
    """Pairs of rows of one split, as indices into its rows, `(pairs,)` each."""

    one: Codes
    other: Codes


def near_pairs(
    train: Array, test: Array, train_query: Codes, test_query: Codes
) -> tuple[NearPairs, NearPairs]:
    """Return the pairs of training rows and of test rows that are as near as the nearest third of the test rows'.

    Args:
        train: features, `(rows, features)`; each is divided by its deviation over these rows.
        test: the same of test rows.
        train_query: of each row, `(rows,)`.
        test_query: the same of test rows.
    """
    mean, deviation = train.mean(axis=0), train.std(axis=0)
    kept = deviation > 0
    pairs = []
    for features, query in ((train, train_query), (test, test_query)):
        rows = _drawn(query)
        scaled = (features[rows][:, kept] - mean[kept]) / deviation[kept]
        one, other, distance = _nearest(scaled.clip(-_FARTHEST, _FARTHEST))
        pairs.append((rows[one], rows[other], distance))

    # The same distance on both sides: fewer rows lie farther apart.
    near = np.quantile(pairs[1][2], _SHARE) if len(pairs[1][2]) else 0.0
    of_train, of_test = (
        NearPairs(one[distance <= near], other[distance <= near]) for one, other, distance in pairs
    )
    return of_train, of_test


def _drawn(query: Codes) -> Codes:
    """Return the rows of as many queries as are looked at, `(drawn,)`."""
    queries, index, sizes = np.unique(query, return_inverse=True, return_counts=True)
    order = np.random.default_rng(0).permutation(len(queries))
    drawn = np.zeros(len(queries), bool)
    drawn[order[np.cumsum(sizes[order]) <= _MOST_ROWS]] = True
    return np.flatnonzero(drawn[index])


def _nearest(features: Array) -> tuple[Codes, Codes, Array]:
    """Return each pair of a row and one of its nearest, once, and their distance, `(pairs,)` each."""
    from sklearn.neighbors import NearestNeighbors

    neighbours = min(_NEIGHBOURS, len(features) - 1)
    if neighbours < 1:
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)
    # Of the fitted rows themselves: a row is no neighbour of its own.
    distance, found = NearestNeighbors(n_neighbors=neighbours).fit(features).kneighbors()

    row = np.repeat(np.arange(len(features)), neighbours)
    ends = np.sort(np.column_stack([row, found.ravel()]), axis=1)
    _, first = np.unique(ends, axis=0, return_index=True)
    return ends[first, 0], ends[first, 1], distance.ravel()[first]
