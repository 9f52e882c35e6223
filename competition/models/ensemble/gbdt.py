"""LightGBM on the members' outputs: trees that leave out two folds, stopped early by one of them.

The model that is scored on fold k is the mean of those that left out k and another fold j, each
with as many trees as are best on j: nothing about k, neither its labels nor how well it is
predicted, is ever looked at.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import lightgbm as lgb
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit, softmax

from competition.config.recipe import EnsembleRecipe
from competition.core.arrays import Array
from competition.core.fingerprint import derive_seed
from competition.core.threads import cores
from competition.models.ensemble.early_stopping import grow, ndcg_metric
from competition.models.ensemble.members import (
    Positions,
    number_outputs,
    number_targets,
    row_weights,
    stacker_targets,
    task_outputs,
)
from competition.models.ensemble.training_table import TrainingTable, tree_parameters
from competition.scoring.labels import PAPER, Labels
from competition.scoring.task import Task

MAX_LIST_ROWS = 10_000  # of a query that LightGBM takes; longer lists are split
ROWS_PER_TREE = 50_000  # each tree draws its own, so all are used

LEVELS = 31  # of relevance that a ranking objective tells apart, where labels are numbers

_STRIDE = 50  # trees that are added up at a time: each time, LightGBM copies every row


@dataclass(frozen=True)
class Trees:
    """A fitted booster and, for each watched part, with how many trees it predicts that part best.

    Attributes:
        left_out: for each watched part, the outputs that its number of trees has for the rows of all
            parts, `(rows, outputs)` each: they are added up while trees are grown.
    """

    task: Task
    ranks: bool
    classes: int  # that are learned where nothing is ranked; 0 for a number
    booster: lgb.Booster
    best: tuple[int, ...]
    threads: int  # that predict
    left_out: tuple[list[Array], ...] = ()

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
        return replace(self, booster=alone, threads=cores(), left_out=())

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
        """Return the outputs that answer the task from sums of trees, `(rows, outputs)`."""
        if self.classes == 2 and not self.ranks:
            return self.outputs(expit(raw[:, 0]))
        if self.classes and not self.ranks:
            return self.outputs(np.asarray(softmax(raw, axis=1), np.float64))
        return self.outputs(raw[:, 0])

    def outputs(self, predicted: Array) -> Array:
        """Return the outputs that answer the task, `(rows, outputs)`, from what LightGBM predicts.

        Args:
            predicted: scores or numbers `(rows,)`, the probability of the second of two classes
                `(rows,)`, or probabilities `(rows, classes)`.
        """
        if self.ranks:
            return predicted[:, None]
        if self.classes == 0:
            return number_outputs(self.task, predicted)
        if self.classes == 2:
            predicted = np.column_stack([1 - predicted, predicted])
        return task_outputs(self.task, predicted)

    def importance(self) -> Array:
        """Return the gain of every feature's splits, as a share of all, `(features,)`."""
        gain = np.asarray(self.booster.feature_importance("gain"), np.float64)
        return gain / max(float(gain.sum()), 1e-12)


def fit_trees(
    recipe: EnsembleRecipe,
    table: TrainingTable,
    learn: Positions,
    watched: Sequence[Positions],
    seed: int,
    threads: int = 1,
    beside: Sequence[Positions] = (),
) -> Trees:
    """Fit trees on the rows at `learn` until no watched part gets better.

    Args:
        recipe: the method and the size.
        table: the task, and all rows with their features.
        learn: positions of graded rows.
        watched: ascending positions of rows, one array per part; the graded ones say when to stop.
        seed: of what LightGBM draws.
        threads: how many of them; the trees are the same whatever it is.
        beside: positions of further parts, which are answered and stop nothing.
    """
    rows = table.rows
    task = table.task
    ranks = recipe.method == "lambdarank"
    if ranks:
        learn = _sort_by_query(rows, learn)
    y, classes = _targets(task, ranks, rows)

    data = table.dataset(
        learn,
        y[learn],
        weight=row_weights(task, rows.iloc[learn]),
        group=_list_lengths(rows, learn) if ranks else None,
    )
    parameters = _parameters(recipe, task.labels, classes, rows, learn) | {
        "seed": derive_seed(seed, "trees"),
        "num_threads": threads,
    }
    booster = lgb.Booster(parameters, data)

    positions = [*watched, *beside]
    parts = [_watched_part(table, at, y, data) for at in positions]
    for i, part in enumerate(parts):
        booster.add_valid(part, str(i))
    ndcg = ndcg_metric(dict(zip(parts, positions, strict=True)), table) if ranks else None
    stops, kept = grow(booster, parts, len(watched), recipe.n_estimators, ndcg)

    grown = booster.current_iteration()
    best = tuple(stop.best_trees(grown) for stop in stops)
    trees = Trees(task, ranks, classes, booster, best, threads)
    return replace(trees, left_out=tuple([trees.outputs(said) for said in each] for each in kept))


def _targets(task: Task, ranks: bool, rows: pd.DataFrame) -> tuple[Array, int]:
    """Return what is learned of each row, `(rows,)`, and the number of classes, 0 for a number or a relevance."""
    if ranks:
        return _relevance(task.labels, rows), 0

    # Ratings are learned as numbers: the squared error knows the order of levels, and needs one tree
    # where a class each would need a tree.
    if task.kind == "rate" or not task.labels.are_classes:
        return number_targets(task, rows), 0
    codes, classes = stacker_targets(task, rows)
    return codes.astype(np.float64), classes


def _watched_part(
    table: TrainingTable, at: Positions, y: Array, reference: lgb.Dataset
) -> lgb.Dataset:
    """Return rows that trees are added up for as they grow; ungraded ones weigh nothing in the loss."""
    graded = table.is_graded(at)
    weight = None if graded.all() else graded.astype(np.float64)
    return table.dataset(at, np.where(graded, y[at], 0.0), weight, reference=reference)


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
    common = tree_parameters(recipe) | {
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
