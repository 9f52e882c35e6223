"""Decisions from ratings: where to cut them into levels, for a weighted kappa.

An expected rating is drawn towards the middle, so that rounding it answers the outer levels too
seldom, which a kappa punishes (cut-points of its own are what won the competitions that were graded
by it). The ratings themselves are moved, so that the nearest level stays the answer.
"""

import numpy as np
import pandas as pd

from competition.core.arrays import Array, Codes
from competition.models.ensemble.members import MAX_ROWS, PARTS, sample_queries, split_queries
from competition.scoring.intervals import paired_difference
from competition.scoring.metric_table import Rows
from competition.scoring.task import Task

_TRIED = 200  # cut-points, at about as many quantiles of the ratings
_ROUNDS = 10  # of all cut-points, one after the other; two or three are enough


def decides_levels(task: Task) -> bool:
    """Return whether the metric of a task reads ratings as levels."""
    return task.metric.reads == "level"


def learn_cuts(task: Task, ratings: Array, rows: pd.DataFrame, seed: int) -> Array:
    """Return the cut-points that make the kappa of a task highest, or those of rounding where that is luck.

    They are kept only if they help on queries that they were not learned on: each part of the
    queries is decided by the cut-points of the other parts, and all of them together must beat
    rounding significantly.

    Args:
        task: whose metric is a kappa.
        ratings: `(rows,)`.
        rows: graded examples, in the order of `ratings`.
        seed: of the parts, and of the queries that are drawn where there are more than enough rows.

    Returns:
        `(levels - 1,)`, ascending.
    """
    sample = sample_queries(rows["query_id"].to_numpy(np.int64), MAX_ROWS, seed)  # (rows,)
    ratings = ratings[sample]
    rows = rows[sample]
    query = rows["query_id"].to_numpy(np.int64)
    truth = task.labels.codes(rows["label"])

    plain = _level(task.labels.middles, ratings)
    decided = plain.copy()
    part = split_queries(query, PARTS, seed)
    for k in range(PARTS):
        judged, others = part == k, part != k
        if judged.any() and others.any():
            cuts = best_cuts(task, ratings[others], truth[others])
            decided[judged] = _level(cuts, ratings[judged])

    after, before = (
        task.metric.count(Rows(query, truth, answer, len(task.labels)))[1]  # (queries, counts)
        for answer in (decided, plain)
    )
    gain = paired_difference(after, before, task.metric.statistic)
    if gain.differs and gain.value > 0:
        return best_cuts(task, ratings, truth)
    return task.labels.middles


def apply_cuts(task: Task, cuts: Array, ratings: Array) -> Array:
    """Move ratings, of any shape, so that the nearest level is that between whose cut-points they lie.

    Between the ends of the range and the cut-points, which become the middles between levels, the
    map is linear.
    """
    lowest, highest = task.labels.lowest, task.labels.highest
    found = np.interp(
        ratings, np.r_[lowest, cuts, highest], np.r_[lowest, task.labels.middles, highest]
    )
    return np.asarray(found, np.float64)


def best_cuts(task: Task, ratings: Array, truth: Codes) -> Array:
    """Return the cut-points with the highest kappa of these rows, moved one after the other until none gets better.

    Args:
        task: whose metric is a kappa.
        ratings: `(rows,)`.
        truth: the level of each row, `(rows,)`.

    Returns:
        `(levels - 1,)`, ascending; no worse than rounding.
    """
    plain = task.labels.middles
    levels = len(task.labels)

    # Candidates, of which each cut-point is one; and how many rows of each true level lie between
    # two of them: sums of these are the confusions of any cut-points.
    candidates = np.unique(np.r_[plain, _between(ratings)])
    bins = len(candidates) + 1
    cells = truth * bins + _level(candidates, ratings)
    counts = np.bincount(cells, minlength=levels * bins).reshape(levels, bins)
    below = np.pad(counts.cumsum(axis=1), ((0, 0), (1, 0)))  # (levels, bins + 1)

    place = np.arange(levels)
    apart = np.abs(place[:, None] - place) ** (1 if task.metric.name == "linear-kappa" else 2)

    def scores(options: Codes) -> Array:
        """Return the kappa of each set of cut-points, `(options, levels - 1)` -> `(options,)`."""
        # Candidate i is the upper end of bin i.
        ends = np.pad(options + 1, ((0, 0), (1, 1)), constant_values=((0, 0), (0, bins)))
        tables = np.diff(below[:, ends], axis=2).swapaxes(0, 1)  # (options, truth, decided)
        disagreement = (apart * tables).sum(axis=(1, 2))
        sums = np.column_stack([disagreement, tables.sum(axis=2), tables.sum(axis=1)])
        return np.nan_to_num(task.metric.statistic(sums.astype(np.float64)))

    best = np.searchsorted(candidates, plain).astype(np.int64)  # (levels - 1,)
    best_score = scores(best[None])[0]
    for _ in range(_ROUNDS):
        before = best_score
        for i in range(levels - 1):
            # One cut-point moves between its neighbours; of equal scores, the first counts.
            first = best[i - 1] + 1 if i > 0 else 0
            end = best[i + 1] if i + 1 < levels - 1 else len(candidates)
            options = np.tile(best, (end - first, 1))
            options[:, i] = np.arange(first, end)

            reached = scores(options)
            if reached.max() > best_score:
                best, best_score = options[reached.argmax()], reached.max()
        if best_score <= before:
            break
    return np.asarray(candidates[best], np.float64)


def _level(cuts: Array, ratings: Array) -> Codes:
    """Return the index of each rating's level, `(rows,)`; on a cut-point, the lower as in `Labels.levels`."""
    return np.searchsorted(cuts, ratings, side="left").astype(np.int64)


def _between(ratings: Array) -> Array:
    """Return places between ratings, evenly spread over the rows: none is on a cut-point."""
    distinct, counts = np.unique(ratings, return_counts=True)
    places = (distinct[1:] + distinct[:-1]) / 2
    # Of the rows below each place.
    share = counts.cumsum()[:-1] / len(ratings)
    first = np.unique(np.floor(share * _TRIED), return_index=True)[1]
    return np.asarray(places[first], np.float64)
