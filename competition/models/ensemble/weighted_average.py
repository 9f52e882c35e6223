"""Weights of a weighted average: published ones, or learned on rows that are not those that they are scored on.

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
from competition.core.fingerprint import derive_seed
from competition.models.ensemble.members import MAX_ROWS, PARTS, sample_queries, split_queries
from competition.scoring.metrics import Array, RankedLists
from competition.scoring.tasks import Task, gains, truth

Objective = Callable[
    [Array], Array
]  # averaged values (rows, outputs) -> what each query adds (queries,), higher is better
SIGNIFICANT = 1.96  # standard errors
ENOUGH_QUERIES = 200  # for weights of a locale's own
_EVALUATIONS = 120  # of Nelder-Mead, per start


def paper_weights(task: Task, kinds: list[str]) -> Array:
    """The published rule, `(members,)`: for ranking, the mean of the classifiers' expected gains plus the mean of what
    the others predict; for classes, the mean of all."""
    groups = np.array([task.metric == "nDCG" and kind == "classes" for kind in kinds])
    counts = np.where(groups, groups.sum(), (~groups).sum())
    return np.asarray(1 / counts, np.float64)


def learn_weights(
    recipe: EnsembleRecipe, task: Task, values: Array, rows: pd.DataFrame, seed: int
) -> Array:
    """Return the weights of one fold.

    A learned average replaces the best single member only if finding it helps on queries that it
    was not found on: each part of the queries is scored with the average and with the single member
    of the other parts, and over all parts the average must be significantly better. On few queries
    the best of many averages is ahead by luck.

    Args:
        recipe: how weights are found.
        task: whose metric or likelihood they maximise.
        values: what is averaged, `(members, rows, outputs)`.
        rows: the examples, graded, in the order of `values`.
        seed: of what is drawn.

    Returns:
        `(members,)`, summing to 1.
    """
    query = rows["query_id"].to_numpy(np.int64)
    chosen = sample_queries(query, MAX_ROWS, seed)
    values, rows, query = values[:, chosen], rows[chosen], query[chosen]
    single = _best_single(values, make_objective(task, rows, recipe.objective))
    if len(values) == 1:
        return single
    part, gains = split_queries(query, PARTS, seed), []
    for k in range(PARTS):
        judged, others = part == k, part != k
        if not judged.any() or not others.any():
            continue
        objective = make_objective(task, rows[others], recipe.objective)
        found = _find_weights(recipe, task, values[:, others], objective, seed)
        alone = _best_single(values[:, others], objective)
        score = make_objective(task, rows[judged], recipe.objective)
        average, member = (
            score(np.tensordot(weights, values[:, judged], 1)) for weights in (found, alone)
        )
        gains.append(average - member)
    gain = np.concatenate(gains) if gains else np.zeros(1)
    if gain.sum() > SIGNIFICANT * np.sqrt(len(gain)) * gain.std():
        return _find_weights(
            recipe, task, values, make_objective(task, rows, recipe.objective), seed
        )
    return single


def _best_single(values: Array, objective: Objective) -> Array:
    """All weight for the member that the objective likes best, `(members,)`."""
    return np.eye(len(values))[int(np.argmax([objective(value).sum() for value in values]))]


def _find_weights(
    recipe: EnsembleRecipe, task: Task, values: Array, objective: Objective, seed: int
) -> Array:
    """The weights that make the objective of these rows highest, `(members,)`."""
    if recipe.method == "greedy":
        queries = len(objective(values[0]))
        return greedy_weights(
            values, objective, recipe.selections, draw_bags(queries, recipe.bags, seed)
        )
    return search_weights(
        values, objective, smooth=recipe.objective == "likelihood" and task.metric != "nDCG"
    )


def make_objective(task: Task, rows: pd.DataFrame, kind: str) -> Objective:
    """What weights maximise on `rows`, by query: nDCG for ranking, right answers or the log-likelihood for classes."""
    query = rows["query_id"].to_numpy(np.int64)
    if task.metric == "nDCG":
        lists = RankedLists(
            query, gains(rows["label"]), pd.factorize(rows["product_id"], sort=True)[0]
        )
        return lambda average: np.nan_to_num(lists.ndcg(average[:, 0]))
    index = np.unique(query, return_inverse=True)[1]
    of_rows = partial(
        _likelihood if kind == "likelihood" else _right, truth(task, rows), len(task.classes)
    )
    return lambda average: np.asarray(np.bincount(index, weights=of_rows(average)), np.float64)


def _right(codes: NDArray[np.int64], classes: int, average: Array) -> Array:
    answer = average[:, 0] > 0.5 if classes == 2 else average.argmax(axis=1)
    return (answer == codes).astype(np.float64)


def _likelihood(codes: NDArray[np.int64], classes: int, average: Array) -> Array:
    if classes == 2:  # one output: the probability of the second class
        average = np.column_stack([1 - average[:, 0], average[:, 0]])
    return np.log(np.maximum(average[np.arange(len(codes)), codes], 1e-12))


def draw_bags(queries: int, bags: int, seed: int) -> Array:
    """Which queries are in each bag, `(bags, queries)` of 0 and 1: random halves; all where there is one bag."""
    if bags == 1:
        return np.ones((1, queries))
    rng = np.random.default_rng(derive_seed(seed, "bags"))
    ranks = rng.random((bags, queries)).argsort(axis=1).argsort(axis=1)
    return (ranks < (queries + 1) // 2).astype(np.float64)


def greedy_weights(values: Array, objective: Objective, selections: int, bags: Array) -> Array:
    """The mean over the bags of greedy averages, `(members,)`.

    Each selection adds the member that helps the average most, which may have been added before;
    the best average met on the way is a bag's.

    Args:
        values: what is averaged, `(members, rows, outputs)`.
        objective: of averaged values.
        selections: how many members are added.
        bags: weights of the queries, `(bags, queries)`.
    """
    members = len(values)
    known: dict[tuple[int, ...], Array] = {}  # bags meet the same averages again and again

    def scores(counts: tuple[int, ...]) -> Array:
        if counts not in known:
            known[counts] = bags @ objective(
                np.tensordot(np.array(counts) / sum(counts), values, 1)
            )
        return known[counts]

    found = []
    for bag in range(len(bags)):
        counts, best, of_best = (0,) * members, np.zeros(members), -np.inf
        for _ in range(selections):
            options = [(*counts[:m], counts[m] + 1, *counts[m + 1 :]) for m in range(members)]
            reached = [scores(option)[bag] for option in options]
            counts = options[int(np.argmax(reached))]
            if max(reached) > of_best:
                best, of_best = np.array(counts) / sum(counts), max(reached)
        found.append(best)
    return np.mean(found, axis=0)


def search_weights(values: Array, objective: Objective, smooth: bool) -> Array:
    """The best weights that a minimiser finds from the middle and from near each member, `(members,)`."""
    members = len(values)

    def loss(free: Array) -> float:
        return -float(objective(np.tensordot(_on_simplex(free), values, 1)).sum())

    middle = np.full(members, 1 / members)
    starts = [middle, *(0.7 * corner + 0.3 * middle for corner in np.eye(members))]
    if smooth:
        on_simplex = {"type": "eq", "fun": lambda w: w.sum() - 1}
        run = partial(
            minimize, loss, method="SLSQP", bounds=[(0, 1)] * members, constraints=[on_simplex]
        )
    else:
        run = partial(
            minimize, loss, method="Nelder-Mead", options={"maxfev": _EVALUATIONS, "xatol": 1e-3}
        )
    ends = [middle, *np.eye(members), *(_on_simplex(run(start).x) for start in starts)]
    return ends[int(np.argmin([loss(end) for end in ends]))]


def _on_simplex(free: Array) -> Array:
    positive = np.abs(free)
    return np.asarray(positive / max(float(positive.sum()), 1e-12), np.float64)
