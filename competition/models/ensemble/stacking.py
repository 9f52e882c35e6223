"""Trees on the members' outputs, cross-fitted: a fold is answered by the models that left it and another one out.

A model that left out the folds j and k answers k with as many trees as are best on j, and j with as
many as are best on k; what answers a fold is the mean of all models that left it out.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import NamedTuple

import numpy as np
import pandas as pd

from competition.core.arrays import Array
from competition.core.console import progress
from competition.core.errors import CompError
from competition.core.threads import AT_ONCE, cores, side_by_side
from competition.models.ensemble.gbdt import Trees, fit_trees
from competition.models.ensemble.members import MAX_ROWS, EnsembleRows, sample_queries
from competition.models.ensemble.meta_features import tree_features
from competition.models.ensemble.results import Answered, FoldResult
from competition.models.ensemble.training_table import TrainingTable


class Use(NamedTuple):
    """Two folds that a model left out: the one that it answers, and the one that its trees are stopped by."""

    scored: int
    stopping: int


Fit = tuple[Use, ...]  # what one model is used for


@dataclass(frozen=True)
class _FitResult:
    """The predictions of the model of one fit."""

    fit: Fit
    outputs: list[dict[int, Array]]  # per use, of each fold that it left out: (rows, outputs)
    trees: Trees
    importance: Array  # (features,)


@dataclass(frozen=True)
class FittedTrees:
    """The models that left a fold out, each with as many trees as the other fold chose."""

    models: list[tuple[Trees, int]]  # and which of its numbers of trees counts

    def answer(self, rows: Answered) -> Array:
        """Return the mean of the models, `(rows, outputs)`."""
        features = rows.once(
            "trees",
            lambda: tree_features(
                rows.task, rows.outputs, rows.examples, rows.text, rows.other_tasks
            )[1],
        )
        share = 1 / len(self.models)  # of each model
        total = np.zeros((len(rows.examples), len(rows.kind.outputs)))
        for trees, use in self.models:
            # Two folds ask each model, for as many of its trees as the other of them chose.
            every = range(len(trees.best))
            of_uses = rows.once(trees.booster, partial(trees.predict_parts, features, every))
            total += share * of_uses[use]
        return total


class _Sums:
    """The predictions of all models that left a fold out, added up for each fold."""

    def __init__(self, rows: EnsembleRows) -> None:
        outputs = len(rows.kind.outputs)
        self._rows = rows
        # Of each model in the mean for a fold.
        self._share = 1 / (len(rows.folds) - 1)
        self._train = {k: np.zeros((len(rows.train), outputs)) for k in rows.folds}
        self._models: dict[int, list[tuple[Trees, int]]] = {k: [] for k in rows.folds}
        self._importance: dict[int, list[Array]] = {k: [] for k in rows.folds}
        self._rounds: dict[int, list[int]] = {k: [] for k in rows.folds}

    def add(self, model: _FitResult) -> None:
        """Add the predictions of one model to those of each fold that it answers."""
        for i, (use, outputs) in enumerate(zip(model.fit, model.outputs, strict=True)):
            k = use.scored
            self._train[k][self._rows.held_out(k)] += self._share * outputs[k]
            self._models[k].append((model.trees, i))

            # Decisions for k are learned from the other folds: only this model left both out.
            self._train[k][self._rows.held_out(use.stopping)] = outputs[use.stopping]

            self._importance[k].append(model.importance)
            self._rounds[k].append(model.trees.best[i])

    def result(self, fold: int, features: list[str], answered: Answered) -> FoldResult:
        """Return the result of a fold, once all models are added."""
        fitted = FittedTrees(self._models[fold])
        importance = np.mean(self._importance[fold], axis=0).tolist()
        return FoldResult(
            training=self._train[fold][self._rows.graded_outside(fold)],
            held_out=self._train[fold][self._rows.held_out(fold)],
            test=fitted.answer(answered),
            fitted=fitted,
            importance=dict(zip(features, importance, strict=True)),
            rounds=self._rounds[fold],
        )


def cross_fit_trees(rows: EnsembleRows, text: pd.DataFrame | None) -> list[FoldResult]:
    """Return the stackers of all folds, in order.

    Args:
        rows: members and examples.
        text: features of text by example_id; None leaves them out.

    Raises:
        CompError: two folds leave no labelled row to learn from, or a fold has none to stop by.
    """
    views = _fits_by_view(rows)
    models = sum(len(fits) for _, fits in views)
    names: list[str] = []

    sums = _Sums(rows)
    with progress(f"{rows.recipe.name} {rows.task.name}, trees", models, "models") as work:
        for view, fits in views:
            names, table = _training_table(rows, view, text)
            for model in _fit_view(rows, table, fits):
                sums.add(model)
                work.advance(1)
    answered = Answered.tests(rows, text)
    return [sums.result(k, names, answered) for k in rows.folds]


def _fits_by_view(rows: EnsembleRows) -> list[tuple[int, list[Fit]]]:
    """Return the folds whose view of the members is read, each with the models that are fitted on it.

    All folds see the same outputs of the members, so that one model serves both folds that it left
    out. Nested, each fold sees outputs of its own, and two folds that are left out take two models.
    """
    if rows.recipe.nested:
        return [(k, [(Use(k, j),) for j in rows.folds if j != k]) for k in rows.folds]
    pairs = combinations(rows.folds, 2)
    return [(rows.folds[0], [(Use(j, k), Use(k, j)) for j, k in pairs])]


def _training_table(
    rows: EnsembleRows, view: int, text: pd.DataFrame | None
) -> tuple[list[str], TrainingTable]:
    """Return the names of the features as one fold sees the members, and all training rows with them."""
    outputs = rows.train_outputs(view)
    names, features = tree_features(rows.task, outputs, rows.train, text, rows.other_tasks)
    table = TrainingTable(rows.task, rows.train, features, rows.graded)
    return names, table.with_shared_bins(rows.recipe)


def _fit_view(rows: EnsembleRows, table: TrainingTable, fits: list[Fit]) -> Iterator[_FitResult]:
    """Fit the models that read the members as one fold sees them, several at a time."""
    # Models side by side and not threads within one: LightGBM's threads wait for each other at
    # every split.
    threads = max(1, cores() // AT_ONCE)
    yield from side_by_side(partial(_fit_model, rows, table, threads), fits)


def _fit_model(rows: EnsembleRows, table: TrainingTable, threads: int, fit: Fit) -> _FitResult:
    """Fit one model on the rows outside two folds, and predict these folds."""
    _check_fit(rows, fit)
    j, k = sorted(fit[0])
    seed = rows.seed(j, k)

    learn = rows.graded_outside(j, k)
    query = rows.train["query_id"].to_numpy(np.int64)[learn]
    learn = learn[sample_queries(query, MAX_ROWS, seed)]

    # The trees that are grown are added up for these rows, which answers them, too.
    stopping = [use.stopping for use in fit]
    beside = [fold for fold in (j, k) if fold not in stopping]
    watched, others = ([rows.held_out(fold) for fold in folds] for folds in (stopping, beside))
    trees = fit_trees(rows.recipe, table, learn, watched, seed, threads, others)

    outputs = [dict(zip((*stopping, *beside), each, strict=True)) for each in trees.left_out]
    return _FitResult(fit, outputs, trees=trees.alone(), importance=trees.importance())


def _check_fit(rows: EnsembleRows, fit: Fit) -> None:
    """Raise where there is nothing to learn from or to stop by."""
    one, other = fit[0]
    if not len(rows.graded_outside(one, other)):
        raise CompError(
            f"{rows.task.name}: without the folds {one} and {other} there is no labelled row to learn from."
        )
    for use in fit:
        if not len(rows.graded_in(use.stopping)):
            raise CompError(
                f"{rows.task.name}: fold {use.stopping} has no labelled row to stop training by."
            )
