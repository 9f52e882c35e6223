"""Weights of a weighted average, by greedy selection with replacement (Caruana et al. 2004)."""

from collections.abc import Callable

import numpy as np
import pandas as pd

from competition.metrics import Array, ndcg_per_query
from competition.tasks import Task, gains, truth

Objective = Callable[
    [Array], Array
]  # averaged values (rows, outputs) -> what each query adds (queries,), higher is better
SIGNIFICANT = 1.96  # standard errors


def make_objective(task: Task, rows: pd.DataFrame) -> Objective:
    """What the weights maximise on `rows`, by query: nDCG for ranking, the log-likelihood for classification.

    The likelihood, not F1: it moves with every probability, so that few rows do not decide by a handful of flips.
    """
    query = rows["query_id"].to_numpy(np.int64)
    if task.metric == "nDCG":
        gain, tie = gains(rows["label"]), pd.factorize(rows["product_id"], sort=True)[0]
        return lambda average: np.nan_to_num(ndcg_per_query(query, gain, average[:, 0], tie)[1])
    codes = truth(task, rows)
    index = np.unique(query, return_inverse=True)[1]

    def log_likelihood(average: Array) -> Array:
        if len(task.classes) == 2:  # one output: the probability of the second class
            average = np.column_stack([1 - average[:, 0], average[:, 0]])
        of_truth = average[np.arange(len(codes)), codes]
        return np.asarray(np.bincount(index, weights=np.log(np.maximum(of_truth, 1e-12))), np.float64)

    return log_likelihood


def greedy_weights(values: Array, objective: Objective, selections: int) -> Array:
    """Weights on the simplex.

    Each selection adds the member that helps the average most, which may have been added before; the best average met
    on the way wins, if it beats the best single member significantly over the queries. Otherwise that member stands
    alone: on few queries the best of many averages is ahead by luck, and worse on queries it has not seen.

    Args:
        values: what is averaged, `(members, rows, outputs)`.
        objective: of averaged values.
        selections: how many are added.

    Returns:
        `(members,)`, multiples of 1 / (number added), summing to 1.
    """
    members = len(values)
    counts, total = np.zeros(members), np.zeros(values.shape[1:])
    single = best = counts
    of_single = of_best = np.array(-np.inf)
    for size in range(1, selections + 1):
        found = [objective((total + values[m]) / size) for m in range(members)]
        chosen = int(np.argmax([each.sum() for each in found]))
        counts[chosen] += 1
        total += values[chosen]
        if size == 1:
            single, of_single = counts.copy(), found[chosen]
        if size == 1 or found[chosen].sum() > of_best.sum():
            best, of_best = counts / size, found[chosen]
    gain = of_best - of_single
    error = np.sqrt(len(gain)) * gain.std()
    return best if gain.sum() > SIGNIFICANT * error else single
