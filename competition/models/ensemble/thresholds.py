"""Decisions from probabilities: alternating normalisation (CAN), and factors of classes that raise a metric.

Both change the probabilities themselves, so that the most probable class (or more than one half)
stays the answer. A factor is a threshold: with two classes, the second is the answer from a
probability of 1 / (1 + factor) on.
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from competition.core.arrays import Array
from competition.models.ensemble.members import MAX_ROWS, PARTS, sample_queries, split_queries
from competition.scoring.intervals import Statistic, paired_difference
from competition.scoring.metrics import confusion_per_query, macro_f1, micro_f1
from competition.scoring.task import Task

UNCERTAIN = 0.9  # entropy of the two most probable classes, over that of two equal ones
_TRIED_FACTORS = np.exp(np.linspace(-1.5, 1.5, 31))  # of a class


def confident_mass(values: Array) -> Array:
    """Return the sum of the confident rows' probabilities, `(classes,)`, the A of CAN."""
    return np.asarray(values[~_uncertain(values)].sum(axis=0), np.float64)


def alternating_normalization(values: Array, prior: Array, mass: Array) -> Array:
    """Apply classification with alternating normalisation (Jia et al. 2021), alpha 1, one iteration.

    Uncertain rows are pulled to what the classes should sum to, given confident ones: p_c becomes
    p_c * prior_c / (A_c + p_c), renormalised. Here A comes from rows with labels, as the prior
    does, so that the answer for a row does not depend on which rows are predicted together with it.

    Args:
        values: class probabilities, `(rows, classes)`.
        prior: the share of each class in training labels, `(classes,)`.
        mass: A, the `confident_mass` of the rows that the prior is from, `(classes,)`.

    Returns:
        The probabilities, `(rows, classes)`; confident rows as they were.
    """
    uncertain = _uncertain(values)  # (rows,)
    total = mass + values[uncertain]  # (uncertain rows, classes)
    moved = np.divide(values[uncertain] * prior, total, out=np.zeros_like(total), where=total > 0)

    result = values.copy()
    result[uncertain] = moved / moved.sum(axis=1, keepdims=True)
    return result


def _uncertain(values: Array) -> NDArray[np.bool_]:
    """Return which rows' two most probable classes are nearly equal, `(rows,)`."""
    top = np.sort(values, axis=1)[:, -2:]  # (rows, 2)
    share = top / np.maximum(top.sum(axis=1, keepdims=True), 1e-300)
    entropy = -(share * np.log(np.maximum(share, 1e-300))).sum(axis=1) / np.log(2)  # (rows,)
    return np.asarray(entropy > UNCERTAIN, bool)


def learn_factors(task: Task, metric: str, values: Array, rows: pd.DataFrame, seed: int) -> Array:
    """Return the factor of each class that makes a metric highest, or 1 for each where that is luck.

    Factors are kept only if they help on queries that they were not learned on: each part of the
    queries is answered with the factors of the other parts, and all of them together must beat no
    factors significantly.

    Args:
        task: one that classifies.
        metric: `micro-F1` or `macro-F1`.
        values: probabilities, `(rows, classes)`, or that of the second of two classes, `(rows, 1)`.
        rows: graded examples, in the order of `values`.
        seed: of the parts, and of the queries that are drawn where there are more than enough rows.

    Returns:
        `(classes,)`, the first being 1.
    """
    sample = sample_queries(rows["query_id"].to_numpy(np.int64), MAX_ROWS, seed)  # (rows,)
    rows = rows[sample]
    probabilities = _all_classes(values[sample])  # (rows, classes)
    classes = probabilities.shape[1]
    codes = task.truth(rows)
    query = rows["query_id"].to_numpy(np.int64)
    statistic = micro_f1 if metric == "micro-F1" else macro_f1

    plain = probabilities.argmax(axis=1)
    answers = plain.copy()
    part = split_queries(query, PARTS, seed)
    for k in range(PARTS):
        judged, others = part == k, part != k
        if judged.any() and others.any():
            factors = _best_factors(probabilities[others], codes[others], statistic)
            answers[judged] = (probabilities[judged] * factors).argmax(axis=1)

    after = confusion_per_query(query, codes, answers, classes)[1]  # (queries, 3 * classes)
    before = confusion_per_query(query, codes, plain, classes)[1]
    gain = paired_difference(after, before, statistic)
    if gain.differs and gain.value > 0:
        return _best_factors(probabilities, codes, statistic)
    return np.ones(classes)


def _best_factors(values: Array, codes: NDArray[np.int64], statistic: Statistic) -> Array:
    """Return the factors, `(classes,)`, that make a statistic of these rows highest, class by class."""
    classes = values.shape[1]

    def sums(factors: Array) -> Array:
        """Return the counts of the statistic, `(3 * classes,)`."""
        answers = (values * factors).argmax(axis=1)  # (rows,)
        counts = np.bincount(codes * classes + answers, minlength=classes**2)
        table = counts.reshape(classes, classes)  # (truth, answered)
        return np.concatenate([table.diagonal(), table.sum(axis=0), table.sum(axis=1)])

    best = np.ones(classes)
    # The second round starts from the factors of the first.
    for _ in range(2):
        for c in range(1, classes):
            options = [np.where(np.arange(classes) == c, factor, best) for factor in _TRIED_FACTORS]
            before, *scores = statistic(np.stack([sums(option) for option in (best, *options)]))
            if max(scores) > before:
                best = options[int(np.argmax(scores))]
    return best


def apply_factors(factors: Array, values: Array) -> Array:
    """Return probabilities times the factor of their class, renormalised, in the shape of `values`."""
    full = _all_classes(values) * factors  # (rows, classes)
    full /= full.sum(axis=1, keepdims=True)
    return full if values.shape[1] > 1 else full[:, 1:]


def _all_classes(values: Array) -> Array:
    """Return `(rows, classes)`; a single column is the probability of the second of two classes."""
    return values if values.shape[1] > 1 else np.column_stack([1 - values[:, 0], values[:, 0]])
