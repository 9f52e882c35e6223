"""From probabilities to better answers: alternating normalisation (CAN), and thresholds that a metric asks for.

Both change the probabilities themselves, so that the most probable class (or more than one half) stays the answer.
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from competition.ensemble.rows import MOST_ROWS, at_most
from competition.metrics import Array, confusion_per_query, macro_f1, micro_f1, paired_difference
from competition.tasks import Task, truth

UNCERTAIN = 0.9  # entropy of the two most probable classes, over that of two equal ones
_STEPS = np.exp(np.linspace(-1.5, 1.5, 31))  # factors of a class that are tried


def can(values: Array, prior: Array) -> Array:
    """Classification with alternating normalisation (Jia et al. 2021), alpha 1, one iteration, without a loop.

    Uncertain rows are pulled to what the classes should sum to, given the confident ones: p_c becomes
    p_c * prior_c / (A_c + p_c), renormalised, A_c being the sum of the confident rows' p_c.

    Args:
        values: class probabilities of the rows that are answered together, `(rows, classes)`.
        prior: the share of each class in training labels, `(classes,)`.

    Returns:
        The probabilities, `(rows, classes)`; confident rows as they were.
    """
    top = np.sort(values, axis=1)[:, -2:]
    share = top / np.maximum(top.sum(axis=1, keepdims=True), 1e-300)
    entropy = -(share * np.log(np.maximum(share, 1e-300))).sum(axis=1) / np.log(2)
    uncertain = entropy > UNCERTAIN
    total = values[~uncertain].sum(axis=0) + values[uncertain]
    moved = np.divide(values[uncertain] * prior, total, out=np.zeros_like(total), where=total > 0)
    result = values.copy()
    result[uncertain] = moved / moved.sum(axis=1, keepdims=True)
    return result


def learn_factors(task: Task, metric: str, values: Array, rows: pd.DataFrame, seed: int) -> Array:
    """The factor of each class that makes a metric highest, found class by class.

    Factors are kept only if they beat none at all significantly over the queries that they were learned on.

    Args:
        task: task2 or task3.
        metric: `micro-F1` or `macro-F1`.
        values: probabilities, `(rows, classes)`; of task 3 one column.
        rows: graded examples, in the order of `values`.
        seed: of the queries that are drawn where there are more than enough rows.

    Returns:
        `(classes,)`, the first being 1.
    """
    chosen = at_most(rows["query_id"].to_numpy(np.int64), MOST_ROWS, seed)
    full, codes = _all_classes(values[chosen]), truth(task, rows[chosen])
    query = rows["query_id"].to_numpy(np.int64)[chosen]
    statistic = micro_f1 if metric == "micro-F1" else macro_f1
    classes = full.shape[1]

    def counts(factors: Array, group: NDArray[np.int64]) -> Array:
        return confusion_per_query(group, codes, (full * factors).argmax(axis=1), classes)[1]

    def score(factors: Array) -> float:
        return float(statistic(counts(factors, np.zeros_like(query))[0]))

    none = best = np.ones(classes)
    for _ in range(2):  # the second round meets the factors of the first
        for c in range(1, classes):
            options = [np.where(np.arange(classes) == c, step, best) for step in _STEPS]
            scores = [score(option) for option in options]
            if max(scores) > score(best):
                best = options[int(np.argmax(scores))]
    gain = paired_difference(counts(best, query), counts(none, query), statistic)
    return best if gain.differs and gain.value > 0 else none


def apply_factors(factors: Array, values: Array) -> Array:
    """Probabilities times the factor of their class, renormalised, in the shape of `values`."""
    full = _all_classes(values) * factors
    full /= full.sum(axis=1, keepdims=True)
    return full if values.shape[1] > 1 else full[:, 1:]


def _all_classes(values: Array) -> Array:
    """One column holds the probability of the second of two classes."""
    return values if values.shape[1] > 1 else np.column_stack([1 - values[:, 0], values[:, 0]])
