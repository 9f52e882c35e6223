"""LightGBM on the members' outputs: trees that leave out two folds, stopped early by one of them.

The model that is scored on fold k is the mean of those that left out k and another fold j, each
with as many trees as are best on j: nothing about k, neither its labels nor how well it is
predicted, is ever looked at.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import lightgbm as lgb
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit, softmax

from competition.config.recipe import EnsembleRecipe
from competition.core.arrays import Array
from competition.core.fingerprint import derive_seed
from competition.models.ensemble.members import (
    Positions,
    number_outputs,
    number_targets,
    row_weights,
    stacker_targets,
    task_outputs,
)
from competition.models.lexical.lexical import TREE_DEFAULTS
from competition.scoring.labels import PAPER, Labels
from competition.scoring.metrics import RankedLists
from competition.scoring.task import Task

# LightGBM's: predictions and data set -> name, value, whether higher is better.
Metric = Callable[[Array, lgb.Dataset], tuple[str, float, bool]]

MAX_LIST_ROWS = 10_000  # of a query that LightGBM takes; longer lists are split
ROWS_PER_TREE = 50_000  # each tree draws its own, so all are used

LEVELS = 31  # of relevance that a ranking objective tells apart, where labels are numbers

_EVERY = 5  # trees between two looks at the folds that stop
_PATIENCE = 10  # looks without an improvement
_STRIDE = 50  # trees that are added up at a time: each time, LightGBM copies every row


@dataclass(frozen=True)
class TrainingTable:
    """The rows that trees learn from and are stopped by, with the task that they answer."""

    task: Task
    rows: pd.DataFrame
    features: NDArray[np.float32]  # (rows, features), in the order of `rows`

    @cached_property
    def ties(self) -> NDArray[np.int64]:
        """The place of each row's product_id among all in order, `(rows,)`, by which equal scores are ranked."""
        return pd.factorize(self.rows["product_id"], sort=True)[0].astype(np.int64)


@dataclass
class EarlyStop:
    """The loss of the trees on one watched part of the rows, and where it stopped getting better."""

    losses: list[float] = field(default_factory=list)  # at each look, lower is better

    @property
    def stalled(self) -> bool:
        """Whether the last looks brought no improvement."""
        return bool(self.losses) and len(self.losses) - int(np.argmin(self.losses)) > _PATIENCE

    def record(self, loss: float) -> None:
        """Add the loss of another look, unless it stalled before.

        How long training goes on depends on labels of the other watched parts, which this one must
        not know.
        """
        if not self.stalled:
            self.losses.append(loss)

    def best_trees(self, grown: int) -> int:
        """Return with how many of the trees that were grown the loss was lowest."""
        return min(grown, _EVERY * (int(np.argmin(self.losses)) + 1))


@dataclass(frozen=True)
class Trees:
    """A fitted booster and, for each watched part, with how many trees it predicts that part best."""

    task: Task
    ranks: bool
    classes: int  # that are learned where nothing is ranked; 0 for a number
    booster: lgb.Booster
    best: tuple[int, ...]
    threads: int  # that predict

    def predict(self, features: NDArray[np.float32], part: int = 0) -> Array:
        """Return the outputs that answer the task, `(rows, outputs)`, with the best number of trees for a part."""
        return self.predict_parts(features, [part])[0]

    def predict_parts(self, features: NDArray[np.float32], parts: Sequence[int]) -> list[Array]:
        """Return `predict` of several parts, which share the trees that they have in common.

        Trees are added up in strides that are the same for every part, and the rest of a stride for
        the part by itself: how many another part takes must not even change the rounding.
        """
        outputs = 1 if self.ranks or self.classes <= 2 else self.classes
        total = np.zeros((len(features), outputs))
        grown = 0  # trees in the total

        found = {}
        for part in sorted(parts, key=self.best.__getitem__):
            while self.best[part] - grown >= _STRIDE:
                total = total + self._raw(features, grown, _STRIDE)
                grown += _STRIDE
            rest = self.best[part] - grown
            whole = total + self._raw(features, grown, rest) if rest else total
            found[part] = self._answer(whole)
        return [found[part] for part in parts]

    def alone(self) -> "Trees":
        """Return the same trees without the rows that they were learned from, which a booster holds."""
        alone = lgb.Booster(model_str=self.booster.model_to_string())
        return replace(self, booster=alone, threads=cores())

    def _raw(self, features: NDArray[np.float32], start: int, trees: int) -> Array:
        """Return the sum of the scores of `trees` trees from the one at `start`, `(rows, outputs)`."""
        if not len(features):
            return np.zeros((0, 1))
        scores = self.booster.predict(
            features,
            start_iteration=start,
            num_iteration=trees,
            raw_score=True,
            num_threads=self.threads,
        )
        return np.asarray(scores, np.float64).reshape(len(features), -1)

    def _answer(self, raw: Array) -> Array:
        """Return LightGBM's scores as they are, as numbers, or as what probabilities say to the task."""
        if self.ranks:
            return raw
        if self.classes == 0:
            return number_outputs(self.task, raw[:, 0])

        if self.classes == 2:
            second = expit(raw)
            probabilities = np.hstack([1 - second, second])
        else:
            probabilities = softmax(raw, axis=1)
        return task_outputs(self.task, np.asarray(probabilities, np.float64))

    def importance(self) -> Array:
        """Return the gain of every feature's splits, as a share of all, `(features,)`."""
        gain = np.asarray(self.booster.feature_importance("gain"), np.float64)
        return gain / max(float(gain.sum()), 1e-12)


def cores() -> int:
    """Return how many cores there are to use."""
    return min(os.cpu_count() or 1, int(os.environ.get("OMP_NUM_THREADS") or 1024))


def fit_trees(
    recipe: EnsembleRecipe,
    table: TrainingTable,
    learn: Positions,
    watched: Sequence[Positions],
    seed: int,
    threads: int = 1,
) -> Trees:
    """Fit trees on the rows at `learn` until no watched part gets better.

    Args:
        recipe: the method and the size.
        table: the task, and all rows with their features.
        learn: positions of graded rows.
        watched: positions of graded rows, one array per part.
        seed: of what LightGBM draws.
        threads: how many of them; the trees are the same whatever it is.
    """
    rows = table.rows
    ranks = recipe.method == "lambdarank"
    if ranks:
        learn = _sort_by_query(rows, learn)
    # Ratings are learned as numbers: the squared error knows the order of levels, and needs one tree
    # where a class each would need a tree.
    task = table.task
    classes = 0
    if ranks:
        y = _relevance(task.labels, rows)  # (rows,)
    elif task.kind == "rate" or not task.labels.are_classes:
        y = number_targets(task, rows)
    else:
        codes, classes = stacker_targets(task, rows)
        y = codes.astype(np.float64)

    data = lgb.Dataset(
        table.features[learn],
        y[learn],
        weight=row_weights(task, rows.iloc[learn]),
        group=_list_lengths(rows, learn) if ranks else None,
    )
    parameters = _parameters(recipe, task.labels, classes, rows, learn) | {
        "seed": derive_seed(seed, "trees"),
        "num_threads": threads,
    }
    booster = lgb.Booster(parameters, data)

    parts = [lgb.Dataset(table.features[part], y[part], reference=data) for part in watched]
    for i, part in enumerate(parts):
        booster.add_valid(part, str(i))
    ndcg = _ndcg_metric(dict(zip(parts, watched, strict=True)), table) if ranks else None

    stops = [EarlyStop() for _ in watched]
    for tree in range(1, recipe.n_estimators + 1):
        finished = booster.update()
        if tree % _EVERY == 0 or tree == recipe.n_estimators or finished:
            for stop, score in zip(stops, booster.eval_valid(ndcg), strict=True):
                stop.record(-score.metric_value if score.maximize else score.metric_value)
            if finished or all(stop.stalled for stop in stops):
                break

    grown = booster.current_iteration()
    best = tuple(stop.best_trees(grown) for stop in stops)
    return Trees(task, ranks, classes, booster, best, threads)


def _relevance(labels: Labels, rows: pd.DataFrame) -> Array:
    """Return the relevance for a ranking objective, an index into `_label_gain`, `(rows,)`; -1 where it is unknown."""
    gain = labels.gain(rows["label"])  # (rows,)
    known = np.nan_to_num(gain, nan=-1.0)
    if labels.are_classes:
        level = np.searchsorted(_label_gain(labels), known)
    else:
        level = np.rint(known * (LEVELS - 1)).astype(np.int64)
    return np.where(np.isnan(gain), -1.0, level.astype(np.float64))


def _label_gain(labels: Labels) -> list[float]:
    """Return the gains that a ranking objective tells apart, ascending."""
    if labels.are_classes:
        return sorted(set(labels.gains[PAPER]))
    return [level / (LEVELS - 1) for level in range(LEVELS)]


def _parameters(
    recipe: EnsembleRecipe, labels: Labels, classes: int, rows: pd.DataFrame, learn: Positions
) -> dict[str, object]:
    """Return what LightGBM is asked for, but for seed and threads."""
    # Each tree reads a fifth of the features, a column each. Row by row, LightGBM would copy them
    # for every tree; the sums are the same, and no thread shares one.
    common = TREE_DEFAULTS | {
        "force_row_wise": False,
        "force_col_wise": True,
        "learning_rate": recipe.learning_rate,
        "num_leaves": recipe.num_leaves,
        "min_data_in_leaf": recipe.min_data_in_leaf,
        "bagging_fraction": min(0.8, ROWS_PER_TREE / len(learn)),
    }
    if recipe.method == "lambdarank":
        return common | {
            "objective": "lambdarank",
            "metric": "None",
            "label_gain": _label_gain(labels),
            # Every pair of a list counts, not only those near its top.
            "lambdarank_truncation_level": int(_list_lengths(rows, learn).max()),
        }
    if classes == 0:
        return common | {"objective": "regression", "metric": "l2"}
    if classes == 2:
        return common | {"objective": "binary", "metric": "binary_logloss"}
    return common | {"objective": "multiclass", "num_class": classes, "metric": "multi_logloss"}


def _sort_by_query(rows: pd.DataFrame, learn: Positions) -> Positions:
    """Return positions in the order of queries, in which LightGBM expects lists."""
    order = np.argsort(rows["query_id"].to_numpy()[learn], kind="stable")
    return np.asarray(learn[order], np.int64)


def _list_lengths(rows: pd.DataFrame, learn: Positions) -> NDArray[np.int64]:
    """Return the lengths of the lists of rows that are in the order of queries.

    Lists over MAX_LIST_ROWS are split evenly.
    """
    lengths = np.unique(rows["query_id"].to_numpy()[learn], return_counts=True)[1]
    pieces = -(-lengths // MAX_LIST_ROWS)
    split = [
        np.diff(np.linspace(0, length, count + 1).astype(np.int64))
        for length, count in zip(lengths, pieces, strict=True)
    ]
    return np.concatenate(split)


def _ndcg_metric(parts: Mapping[lgb.Dataset, Positions], table: TrainingTable) -> Metric:
    """Return the mean nDCG of a part, ties by product_id, over the queries that it can grade."""
    query = table.rows["query_id"].to_numpy(np.int64)
    gain = table.task.labels.gain(table.rows["label"])
    tie = table.ties
    lists = {part: RankedLists(query[at], gain[at], tie[at]) for part, at in parts.items()}

    def score(predicted: Array, part: lgb.Dataset) -> tuple[str, float, bool]:
        ndcg = lists[part].ndcg(predicted)  # (queries,), NaN without gains
        graded = ~np.isnan(ndcg)
        return "nDCG", float(ndcg[graded].mean()) if graded.any() else 0.0, True

    return score
