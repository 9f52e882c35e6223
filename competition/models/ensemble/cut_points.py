"""Decisions from ratings: where to cut them into levels, for a weighted kappa.

An expected rating is drawn towards the middle, so that rounding it answers the outer levels too
seldom, which a kappa punishes (cut-points of its own are what won the competitions that were graded
by it). The ratings themselves are moved, so that the nearest level stays the answer.
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from competition.models.ensemble.members import MAX_ROWS, PARTS, sample_queries, split_queries
from competition.scoring.contest import Task
from competition.scoring.metrics import Array

_TRIED = 200  # cut-points, at about as many quantiles of the ratings
_ROUNDS = 10  # of all cut-points, one after the other; two or three are enough
_PARTS_THAT_AGREE = 4  # of PARTS, at least, in which cut-points must raise the kappa

Codes = NDArray[np.int64]


def decides_levels(task: Task) -> bool:
    """Return whether the metric of a task reads ratings as levels."""
    return task.metric.reads == "level"


def levels_of(task: Task) -> Array:
    """Return the levels of a task's ratings, ascending: those of the labels, or all whole numbers of their range."""
    labels = task.labels
    if labels.values:
        return np.sort(np.array(labels.values))
    return np.arange(np.ceil(labels.lowest), np.floor(labels.highest) + 1)


def middles(task: Task) -> Array:
    """Return the cut-points of rounding to the nearest level, `(levels - 1,)`."""
    levels = levels_of(task)
    return np.asarray((levels[1:] + levels[:-1]) / 2, np.float64)


def learn_cuts(task: Task, ratings: Array, rows: pd.DataFrame, seed: int) -> Array:
    """Return the cut-points that make the kappa of a task highest, or those of rounding where that is luck.

    They are kept only if they help on queries that they were not learned on: of the parts of the
    queries, each decided by the cut-points of the other parts, nearly all must gain, and all of
    them together.

    Args:
        task: whose metric is a kappa.
        ratings: `(rows,)`.
        rows: graded examples, in the order of `ratings`.
        seed: of the parts, and of the queries that are drawn where there are more than enough rows.

    Returns:
        `(levels - 1,)`, ascending.
    """
    query = rows["query_id"].to_numpy(np.int64)
    sample = sample_queries(query, MAX_ROWS, seed)  # (rows,)
    query, ratings = query[sample], ratings[sample]
    plain = middles(task)
    truth = _level(plain, task.labels.numbers(rows["label"])[sample])
    kappa = _Kappa(task, truth)

    before = _level(plain, ratings)
    after = before.copy()
    gained = 0
    part = split_queries(query, PARTS, seed)
    for k in range(PARTS):
        judged, others = part == k, part != k
        if judged.any() and others.any():
            cuts = _best_cuts(task, ratings[others], truth[others])
            after[judged] = _level(cuts, ratings[judged])
            gained += kappa(after, judged) > kappa(before, judged)

    if gained >= _PARTS_THAT_AGREE and kappa(after) > kappa(before):
        return _best_cuts(task, ratings, truth)
    return plain


def apply_cuts(task: Task, cuts: Array, ratings: Array) -> Array:
    """Move ratings, of any shape, so that the nearest level is that between whose cut-points they lie.

    Between the ends of the range and the cut-points, which become the middles between levels, the
    map is linear.
    """
    lowest, highest = task.labels.lowest, task.labels.highest
    found = np.interp(ratings, np.r_[lowest, cuts, highest], np.r_[lowest, middles(task), highest])
    return np.asarray(found, np.float64)


def _level(cuts: Array, ratings: Array) -> Codes:
    """Return the index of each rating's level, `(rows,)`."""
    return np.searchsorted(cuts, ratings, side="right").astype(np.int64)


class _Kappa:
    """The weighted kappa of decided levels against the truth (Cohen 1968)."""

    def __init__(self, task: Task, truth: Codes) -> None:
        self._truth = truth
        self._levels = len(levels_of(task))
        self.weight = kappa_weights(task)

    def __call__(self, decided: Codes, at: NDArray[np.bool_] | slice = slice(None)) -> float:
        """Return the kappa of some rows."""
        cells = self._truth[at] * self._levels + decided[at]
        table = np.bincount(cells, minlength=self._levels**2).reshape(self._levels, -1)
        return weighted_kappa(table, self.weight)


def kappa_weights(task: Task) -> Array:
    """Return the weight of each confusion of two levels, `(levels, levels)`: their distance in places, or its square."""
    place = np.arange(len(levels_of(task)), dtype=np.float64)
    distance = np.abs(place[:, None] - place)
    return distance if task.metric.name.startswith("linear") else distance**2


def weighted_kappa(table: NDArray[np.int64] | Array, weight: Array) -> float:
    """Return 1 - disagreement / what is expected by chance, of counts `(truth, decided)`; 0 where none is expected."""
    expected = table.sum(axis=1) @ weight @ table.sum(axis=0) / max(float(table.sum()), 1.0)
    return 1 - float((weight * table).sum() / expected) if expected > 0 else 0.0


def _best_cuts(task: Task, ratings: Array, truth: Codes) -> Array:
    """Return the cut-points with the highest kappa of these rows, one after the other until none moves."""
    plain = middles(task)
    levels = len(plain) + 1
    weight = kappa_weights(task)

    # Candidates, of which each cut-point is one; and how many rows of each true level lie between
    # two of them: sums of these are the confusions of any cut-points.
    candidates = np.unique(np.r_[plain, _between(ratings)])
    bins = len(candidates) + 1
    cells = truth * bins + _level(candidates, ratings)
    counts = np.bincount(cells, minlength=levels * bins).reshape(levels, bins)
    below = np.pad(counts.cumsum(axis=1), ((0, 0), (1, 0)))  # (levels, bins + 1)

    def score(at: Codes) -> float:
        # Candidate i is the upper end of bin i.
        edges = np.r_[0, at + 1, bins]
        return weighted_kappa(np.diff(below[:, edges], axis=1), weight)

    best = np.searchsorted(candidates, plain)  # (levels - 1,) into the candidates
    best_score = score(best)
    for _ in range(_ROUNDS):
        before = best_score
        for i in range(levels - 1):
            first = best[i - 1] + 1 if i > 0 else 0
            end = best[i + 1] if i + 1 < levels - 1 else len(candidates)
            for candidate in range(first, end):
                option = best.copy()
                option[i] = candidate
                if (reached := score(option)) > best_score:
                    best, best_score = option, reached
        if best_score <= before:
            break
    return np.asarray(candidates[best], np.float64)


def _between(ratings: Array) -> Array:
    """Return places between ratings, evenly spread over the rows: none is on a cut-point."""
    distinct, counts = np.unique(ratings, return_counts=True)
    places = (distinct[1:] + distinct[:-1]) / 2
    share = counts.cumsum()[:-1] / len(ratings)  # of the rows below each place
    first = np.unique(np.floor(share * _TRIED), return_index=True)[1]
    return np.asarray(places[first], np.float64)
