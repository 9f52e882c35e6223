"""Weights of a weighted average, by greedy selection with replacement (Caruana et al. 2004)."""

from collections.abc import Callable

import numpy as np
import pandas as pd

from competition.metrics import Array, ndcg_per_query
from competition.tasks import Task, gains, truth

Objective = Callable[[Array], float]  # blended values -> higher is better


def make_objective(task: Task, rows: pd.DataFrame) -> Objective:
    """What the weights maximise on `rows`: nDCG for ranking, the mean log-likelihood for classification.

    The likelihood, not F1: it moves with every probability, so that few rows do not decide by a handful of flips.
    """
    if task.metric == "nDCG":
        query, gain = rows["query_id"].to_numpy(np.int64), gains(rows["label"])
        tie = pd.factorize(rows["product_id"], sort=True)[0]
        return lambda blended: float(np.nanmean(ndcg_per_query(query, gain, blended[:, 0], tie)[1]))
    codes = truth(task, rows)
    if task.name == "task3":
        return lambda blended: _log_likelihood(np.where(codes == 1, blended[:, 0], 1 - blended[:, 0]))
    return lambda blended: _log_likelihood(blended[np.arange(len(codes)), codes])


def _log_likelihood(of_truth: Array) -> float:
    return float(np.log(np.maximum(of_truth, 1e-12)).mean())


def greedy_weights(values: Array, objective: Objective, rounds: int) -> Array:
    """Weights on the simplex.

    Each round adds the member that helps the average most, which may have been added before; the best average met on
    the way wins, the earliest of equals.

    Args:
        values: what is averaged, `(members, rows, outputs)`.
        objective: of averaged values `(rows, outputs)`.
        rounds: how many are added.

    Returns:
        `(members,)`, multiples of 1 / (number added), summing to 1.
    """
    members = len(values)
    counts, total = np.zeros(members), np.zeros(values.shape[1:])
    best_score, best = -np.inf, counts
    for size in range(1, rounds + 1):
        scores = [objective((total + values[m]) / size) for m in range(members)]
        chosen = int(np.argmax(scores))
        counts[chosen] += 1
        total += values[chosen]
        if scores[chosen] > best_score:
            best_score, best = scores[chosen], counts / size
    return best
