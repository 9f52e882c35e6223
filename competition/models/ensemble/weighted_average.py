"""Weights of a weighted average: the published ones, or learned on rows that they are not scored on.

Learned weights lie on the simplex and are found greedily, with replacement and over bags (Caruana
et al. 2004), or by minimising from several starts (SLSQP where the objective is smooth, Nelder-Mead
where it is not).
"""

from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import minimize

from competition.config.recipe import EnsembleRecipe
from competition.core.arrays import Array
from competition.core.fingerprint import derive_seed
from competition.models.ensemble.members import MAX_ROWS, PARTS, sample_queries, split_queries
from competition.scoring.metrics import RankedLists
from competition.scoring.task import Kind, Task

# Averaged values (rows, outputs) -> what each query adds (queries,); higher is better.
Objective = Callable[[Array], Array]

SIGNIFICANT = 1.96  # standard errors
ENOUGH_QUERIES = 200  # for weights of a locale's own
_EVALUATIONS = 120  # of Nelder-Mead, per start


def paper_weights(task: Task, kinds: list[Kind]) -> Array:
    """Return the weights of the published rule, `(members,)`.

    For ranking, a score is the mean of the classifiers' expected gains plus the mean of what the
    others predict; for classes and ratings, the mean of all.
    """
    classifier = np.array([task.ranks and kind.is_classes for kind in kinds])
    group_size = np.where(classifier, classifier.sum(), (~classifier).sum())
    return np.asarray(1 / group_size, np.float64)


def learn_weights(
    recipe: EnsembleRecipe, task: Task, values: Array, rows: pd.DataFrame, seed: int
) -> Array:
    """Return the weights of one fold.

    A learned average replaces the best single member only if it helps on queries that it was not
    learned on: each part of the queries is scored with the average and with the single member of
    the other parts, and over all parts the average must be significantly better. On few queries the
    best of many averages is ahead by luck.

    Args:
        recipe: how weights are learned.
        task: whose metric or likelihood they maximise.
        values: what is averaged, `(members, rows, outputs)`.
        rows: the examples, graded, in the order of `values`.
        seed: of what is drawn.

    Returns:
        `(members,)`, summing to 1.
    """
    sample = sample_queries(rows["query_id"].to_numpy(np.int64), MAX_ROWS, seed)  # (rows,)
    values = values[:, sample]
    rows = rows[sample]

    objective = make_objective(task, rows, recipe.objective)
    if len(values) == 1 or not _average_helps(recipe, task, values, rows, seed):
        return _best_member(values, objective)
    return _search(recipe, task, values, objective, seed)


def _average_helps(
    recipe: EnsembleRecipe, task: Task, values: Array, rows: pd.DataFrame, seed: int
) -> bool:
    """Return whether averages beat single members significantly on queries that neither was chosen on."""
    part = split_queries(rows["query_id"].to_numpy(np.int64), PARTS, seed)  # (rows,)
    gains = [np.zeros(0)]
    for k in range(PARTS):
        judged, others = part == k, part != k
        if not judged.any() or not others.any():
            continue

        objective = make_objective(task, rows[others], recipe.objective)
        weights = _search(recipe, task, values[:, others], objective, seed)
        alone = _best_member(values[:, others], objective)

        score = make_objective(task, rows[judged], recipe.objective)
        average = score(np.tensordot(weights, values[:, judged], 1))  # (queries,)
        member = score(np.tensordot(alone, values[:, judged], 1))
        gains.append(average - member)

    gain = np.concatenate(gains)
    return len(gain) > 0 and bool(gain.sum() > SIGNIFICANT * np.sqrt(len(gain)) * gain.std())


def _best_member(values: Array, objective: Objective) -> Array:
    """Return all weight for the member with the highest objective, `(members,)`."""
    totals = [objective(value).sum() for value in values]
    return np.asarray(np.eye(len(values))[int(np.argmax(totals))], np.float64)


def _search(
    recipe: EnsembleRecipe, task: Task, values: Array, objective: Objective, seed: int
) -> Array:
    """Return the weights with the highest objective of these rows, `(members,)`."""
    if recipe.method == "greedy":
        queries = len(objective(values[0]))
        bags = draw_bags(queries, recipe.bags, seed)
        return greedy_weights(values, objective, recipe.selections, bags)
    smooth = task.kind == "rate" or (
        task.kind == "classify" and _by_likelihood(task, recipe.objective)
    )
    return search_weights(values, objective, smooth)


def make_objective(task: Task, rows: pd.DataFrame, kind: str) -> Objective:
    """Return what weights maximise on `rows`, by query.

    It is nDCG for ranking, whatever list metric grades the task: the others look at few places, and
    say less of weights. For ratings it is the squared error, below 0, also where a correlation or a
    kappa grades the task: what a kappa has to decide is learned behind the average, see
    `cut_points.py`. For classes it is the number of right answers, or the log-likelihood where
    `kind` is `likelihood` or the metric reads probabilities.
    """
    query = rows["query_id"].to_numpy(np.int64)
    if task.ranks:
        ties = pd.factorize(rows["product_id"], sort=True)[0]
        lists = RankedLists(query, task.labels.gain(rows["label"]), ties)
        return lambda average: np.nan_to_num(lists.ndcg(average[:, 0]))

    index = np.unique(query, return_inverse=True)[1]  # (rows,)
    if task.kind == "rate":
        of_rows = partial(_squared_error, task.labels.numbers(rows["label"]))
    else:
        score = _log_likelihood if _by_likelihood(task, kind) else _is_right
        of_rows = partial(score, task.truth(rows))
    return lambda average: np.asarray(np.bincount(index, weights=of_rows(average)), np.float64)


def _by_likelihood(task: Task, kind: str) -> bool:
    """Return whether the objective of a task that classifies is the log-likelihood."""
    return kind == "likelihood" or task.metric.reads == "probabilities"


def _squared_error(truth: Array, average: Array) -> Array:
    return -((average[:, 0] - truth) ** 2)


def _is_right(codes: NDArray[np.int64], average: Array) -> Array:
    # The probability of the second of two classes.
    one = average.shape[1] == 1
    answer = average[:, 0] > 0.5 if one else average.argmax(axis=1)
    return np.asarray(answer == codes, np.float64)


def _log_likelihood(codes: NDArray[np.int64], average: Array) -> Array:
    if average.shape[1] == 1:
        # The one output is the probability of the second class.
        average = np.column_stack([1 - average[:, 0], average[:, 0]])
    of_truth = average[np.arange(len(codes)), codes]  # (rows,)
    return np.asarray(np.log(np.maximum(of_truth, 1e-12)), np.float64)


def draw_bags(queries: int, bags: int, seed: int) -> Array:
    """Return which queries are in each bag, `(bags, queries)` of 0 and 1.

    Bags are random halves; a single bag has all queries.
    """
    if bags == 1:
        return np.ones((1, queries))
    rng = np.random.default_rng(derive_seed(seed, "bags"))
    ranks = rng.random((bags, queries)).argsort(axis=1).argsort(axis=1)
    return (ranks < (queries + 1) // 2).astype(np.float64)


def greedy_weights(values: Array, objective: Objective, selections: int, bags: Array) -> Array:
    """Return the mean over the bags of greedy averages, `(members,)`.

    Each selection adds the member that helps the average most, which may have been added before;
    the best average on the way is a bag's.

    Args:
        values: what is averaged, `(members, rows, outputs)`.
        objective: of averaged values.
        selections: how many members are added.
        bags: weights of the queries, `(bags, queries)`.
    """
    members = len(values)

    # Bags meet the same averages again and again: number of times each member was added -> scores.
    known: dict[tuple[int, ...], Array] = {}

    def scores(counts: tuple[int, ...]) -> Array:
        if counts not in known:
            average = np.tensordot(np.array(counts) / sum(counts), values, 1)  # (rows, outputs)
            known[counts] = bags @ objective(average)  # (bags,)
        return known[counts]

    weights = []
    for bag in range(len(bags)):
        counts = (0,) * members
        best = np.zeros(members)
        best_score = -np.inf
        for _ in range(selections):
            options = [(*counts[:m], counts[m] + 1, *counts[m + 1 :]) for m in range(members)]
            reached = [scores(option)[bag] for option in options]
            counts = options[int(np.argmax(reached))]
            if max(reached) > best_score:
                best = np.array(counts) / sum(counts)
                best_score = max(reached)
        weights.append(best)
    return np.asarray(np.mean(weights, axis=0), np.float64)


def search_weights(values: Array, objective: Objective, smooth: bool) -> Array:
    """Return the best weights that a minimiser finds from the middle and from near each member, `(members,)`."""
    members = len(values)

    def loss(free: Array) -> float:
        return -float(objective(np.tensordot(_on_simplex(free), values, 1)).sum())

    middle = np.full(members, 1 / members)
    starts = [middle, *(0.7 * corner + 0.3 * middle for corner in np.eye(members))]
    if smooth:
        on_simplex = {"type": "eq", "fun": lambda w: w.sum() - 1}
        bounds = [(0, 1)] * members
        run = partial(minimize, loss, method="SLSQP", bounds=bounds, constraints=[on_simplex])
    else:
        options = {"maxfev": _EVALUATIONS, "xatol": 1e-3}
        run = partial(minimize, loss, method="Nelder-Mead", options=options)

    # A single member or the plain mean may be better than any end of a search.
    ends: list[Array] = [middle, *np.eye(members)]
    ends += [_on_simplex(run(start).x) for start in starts]
    return ends[int(np.argmin([loss(end) for end in ends]))]


def _on_simplex(free: Array) -> Array:
    positive = np.abs(free)
    return np.asarray(positive / max(float(positive.sum()), 1e-12), np.float64)
