"""Regression on text and on the members that help, cross-fitted: logistic, or linear where labels are numbers.

A linear model with a normal prior on its weights takes many weak features where there are few
queries, and its answers are continuous in the members' outputs. A member is read only where it
helps: starting from text, the member is added that makes the labels of queries that were left out
most likely, as long as one makes them likelier. A member of pure noise makes them less likely,
since its weight is learned from other queries. All this is decided without the fold that is scored.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression, Ridge
from threadpoolctl import threadpool_limits

from competition.core.arrays import Array
from competition.core.console import progress
from competition.core.errors import CompError
from competition.models.ensemble.design import Design, Scale
from competition.models.ensemble.members import (
    ALL_LOCALES,
    TEXT,
    EnsembleRows,
    Positions,
    number_outputs,
    number_targets,
    row_weights,
    sample_queries,
    stacker_targets,
    task_outputs,
)
from competition.models.ensemble.results import Answered, FoldResult
from competition.scoring.task import Task

Names = tuple[str, ...]  # of the members that a model reads, sorted

_VARIANCE = 0.005  # of the prior on the weight of a feature whose deviation is 1
_NEVER = -30.0  # log odds of a class that no row has

# Rows of one fit: weights of some hundred features need no more.
_MAX_FIT_ROWS = 30_000

# Of the log-likelihood by a member: less is how far a minimiser stops from the end.
_MIN_GAIN = 0.1

# Of the minimiser: how far it stops from the end moves no decision.
_TOLERANCE = 1e-6
_ITERATIONS = 2_000


@dataclass(frozen=True)
class Regression:
    """Weights of the features and of a constant: log odds of the classes up to a constant, or of one number."""

    weights: Array  # (classes, features)
    constant: Array  # (classes,)

    def predict(self, features: Array) -> Array:
        """Return the probability of each class, `(rows, classes)`, or the number, `(rows, 1)`."""
        values = features @ self.weights.T + self.constant  # (rows, classes)
        return (
            values if len(self.constant) == 1 else np.asarray(softmax(values, axis=1), np.float64)
        )


@dataclass(frozen=True)
class FittedRegression:
    """The model of a fold."""

    members: Names
    model: Regression
    scale: Scale

    def answer(self, rows: Answered) -> Array:
        """Return what is predicted, `(rows, outputs)`."""
        # A second thread could round otherwise, see `cross_fit_logistic`.
        with threadpool_limits(1):
            design = rows.once(
                self.scale,
                lambda: self.scale.design(
                    rows.task, rows.outputs, rows.examples, rows.text, rows.other_tasks
                ),
            )
            return _outputs(rows.task, self.model.predict(design.read(self.members)))


class _RegressionsByFolds:
    """The regressions that leave out two folds, each fitted once, over members' outputs as one fold sees them."""

    def __init__(self, rows: EnsembleRows, train: Design) -> None:
        self.rows = rows
        self.train = train
        self.targets, self.classes = _targets(rows)  # (training rows,)
        self._without: dict[tuple[frozenset[int], Names], Regression] = {}

    def without(self, fold: int, other: int, members: Names) -> Regression:
        """Return the model that leaves out two folds.

        Raises:
            CompError: there is no labelled row outside them.
        """
        key = frozenset((fold, other)), members
        if key not in self._without:
            learn = self.rows.graded_outside(fold, other)
            if not len(learn):
                raise CompError(
                    f"{self.rows.task.name}: without the folds {fold} and {other} "
                    "there is no labelled row to learn from."
                )
            seed = self.rows.seed(*sorted((fold, other)))
            self._without[key] = _fit(self, members, learn, seed)
        return self._without[key]

    def out_of_fold(self, fold: int, members: Names) -> Array:
        """Return what is predicted of the graded rows outside `fold`, each by a model that left its fold out, too.

        Returns:
            `(graded rows outside the fold, classes)`.
        """
        values = np.zeros((len(self.rows.train), self.classes))
        for other in self.rows.folds:
            if other != fold:
                graded = self.rows.graded_in(other)
                model = self.without(fold, other, members)
                values[graded] = model.predict(self.train.read(members, graded))
        return values[self.rows.graded_outside(fold)]


def cross_fit_logistic(rows: EnsembleRows, text: pd.DataFrame | None) -> list[FoldResult]:
    """Return the regressions of all folds, in order.

    Args:
        rows: members and examples.
        text: features of text by example_id; None leaves them out.

    Raises:
        CompError: two folds leave no labelled row to learn from.
    """
    results = []
    fitted: tuple[_RegressionsByFolds, Scale] | None = None
    answered = Answered.tests(rows, text)

    # Fits this small gain nothing by a second thread, and their bytes depend on how many there are.
    title = f"{rows.recipe.name} {rows.task.name}, regression"
    with threadpool_limits(1), progress(title, len(rows.folds), "folds") as work:
        for fold in rows.folds:
            # Nested members' outputs differ from fold to fold; others are the same for all.
            if fitted is None or rows.recipe.nested:
                read = rows.task, rows.train_outputs(fold), rows.train, text, rows.other_tasks
                scale, train = Scale.fit(*read)
                fitted = _RegressionsByFolds(rows, train), scale
            results.append(_fit_fold(rows, fold, *fitted, answered))
            work.advance(1)
    return results


def _fit_fold(
    rows: EnsembleRows, fold: int, models: _RegressionsByFolds, scale: Scale, answered: Answered
) -> FoldResult:
    """Choose the members that a fold reads, and fit its model."""
    train = models.train
    learn = rows.graded_outside(fold)
    members, out_of_fold = _choose_members(rows, fold, models)

    model = _fit(models, members, learn, rows.seed(fold))
    held_out = model.predict(train.read(members, rows.held_out(fold)))
    fitted = FittedRegression(members, model, scale)
    return FoldResult(
        training=_outputs(rows.task, out_of_fold),
        held_out=_outputs(rows.task, held_out),
        test=fitted.answer(answered),
        fitted=fitted,
        weights={ALL_LOCALES: _shares(model, train, members, learn)},
    )


def _choose_members(
    rows: EnsembleRows, fold: int, models: _RegressionsByFolds
) -> tuple[Names, Array]:
    """Add members as long as one makes the labels of the other folds likelier.

    Returns:
        The members that are read, and the out-of-fold predictions with them, see
        `_RegressionsByFolds.out_of_fold`.
    """
    learn = rows.graded_outside(fold)
    likelihood = _likelihood(rows.task, rows.train.iloc[learn], models.targets[learn])

    members: Names = ()
    values = models.out_of_fold(fold, members)
    while len(members) < len(models.train.members):
        options = {}
        for name in models.train.members:
            if name not in members:
                options[name] = models.out_of_fold(fold, tuple(sorted((*members, name))))
        best = max(options, key=lambda name: likelihood(options[name]))

        # With nothing else to read, the best member is read in any case.
        gain = likelihood(options[best]) - likelihood(values)
        if (members or models.train.text) and gain < _MIN_GAIN:
            break
        members = tuple(sorted((*members, best)))
        values = options[best]
    return members, values


def _targets(rows: EnsembleRows) -> tuple[NDArray[Any], int]:
    """Return what is learned for each training row, `(rows,)`: a class and how many there are, or a number and 1."""
    if rows.task.labels.are_classes:
        return stacker_targets(rows.task, rows.train)
    return number_targets(rows.task, rows.train), 1


def _outputs(task: Task, predicted: Array) -> Array:
    """Return predictions as the outputs that answer the task, `(rows, outputs)`."""
    if task.labels.are_classes:
        return task_outputs(task, predicted)
    return number_outputs(task, predicted[:, 0])


def _likelihood(
    task: Task, examples: pd.DataFrame, targets: NDArray[Any]
) -> Callable[[Array], float]:
    """Return what a member must raise: the log-likelihood of labels, given predictions for graded rows.

    Numbers are normal around what is predicted, with the deviation that makes them likeliest.

    For ranking, products are drawn from each list in proportion to their expected gain, and a label
    counts by its share of the list's gain: how good a list is as a whole moves no order, and must
    not decide (ListNet, Cao et al. 2007).
    """
    if not task.ranks:
        weight = row_weights(task, examples)
        row = np.arange(len(examples))
        if task.labels.are_classes:
            return lambda values: float(weight @ np.log(np.maximum(values[row, targets], 1e-12)))

        def of_numbers(values: Array) -> float:
            variance = weight @ (values[:, 0] - targets) ** 2 / len(row)
            return float(-len(row) / 2 * np.log(np.maximum(variance, 1e-12)))

        return of_numbers

    list_of = np.unique(examples["query_id"].to_numpy(np.int64), return_inverse=True)[1]  # (rows,)

    def share_of_list(gain: Array) -> Array:
        total = np.maximum(np.bincount(list_of, weights=gain), 1e-12)  # (lists,)
        return gain / total[list_of]

    truth = share_of_list(task.labels.gain(examples["label"]))

    def likelihood(values: Array) -> float:
        share = share_of_list(np.maximum(_outputs(task, values)[:, 0], 0.0))
        return float(truth @ np.log(np.maximum(share, 1e-12)))

    return likelihood


def _fit(models: _RegressionsByFolds, members: Names, learn: Positions, seed: int) -> Regression:
    """Return the most probable weights, given the labels of the rows at `learn` and a normal prior."""
    rows, classes = models.rows, models.classes
    query = rows.train["query_id"].to_numpy(np.int64)[learn]
    learn = learn[sample_queries(query, _MAX_FIT_ROWS, seed)]
    features = models.train.read(members, learn)  # (rows, features)
    targets = models.targets[learn]
    weight = row_weights(rows.task, rows.train.iloc[learn])
    if classes == 1:
        # In units of the numbers' deviation, of which all is taken for noise. scikit-learn minimises
        # loss + alpha * |w|^2: alpha is the variance of the noise over the prior's.
        deviation = max(float(targets.std()), 1e-12)
        ridge = Ridge(alpha=1 / _VARIANCE, solver="cholesky")
        ridge.fit(features, targets / deviation, sample_weight=weight)
        return Regression(ridge.coef_[None] * deviation, np.array([ridge.intercept_ * deviation]))

    # A class without rows gets no weights and never a probability.
    present = np.unique(targets)
    weights = np.zeros((classes, features.shape[1]))
    constant = np.full(classes, _NEVER)
    if len(present) == 1:
        constant[present] = 0.0
        return Regression(weights, constant)

    # scikit-learn minimises |w|^2 / 2 + C * loss: C is the variance of the prior.
    model = LogisticRegression(C=_VARIANCE, tol=_TOLERANCE, max_iter=_ITERATIONS)
    model.fit(features, targets, sample_weight=weight)
    if len(present) == 2:
        # One set of weights is the log odds of the second class.
        weights[present] = np.vstack([0 * model.coef_, model.coef_])
        constant[present] = np.r_[0.0, model.intercept_]
    else:
        weights[present] = model.coef_
        constant[present] = model.intercept_
    return Regression(weights, constant)


def _shares(model: Regression, design: Design, members: Names, at: Positions) -> dict[str, float]:
    """Return how much of the log odds text and each member move: deviations over the rows, as shares of all."""
    blocks = {TEXT: design.base[at]} | {name: design.members[name][at] for name in members}
    moved = dict.fromkeys([TEXT, *design.members], 0.0)

    # The model's features are those of the blocks, one block after the other.
    start = 0
    for name, block in blocks.items():
        end = start + block.shape[1]
        log_odds = block @ model.weights[:, start:end].T  # (rows, classes)
        # Log odds of classes count up to a constant.
        several = log_odds.shape[1] > 1
        centred = log_odds - log_odds.mean(axis=1, keepdims=True) if several else log_odds
        moved[name] = float(np.sqrt(centred.var(axis=0).mean()))
        start = end

    # Without text, the base is lists and locales alone, which nothing is said of.
    if not design.text:
        del moved[TEXT]
    total = max(sum(moved.values()), 1e-12)
    return {name: size / total for name, size in moved.items()}
