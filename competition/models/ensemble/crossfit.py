"""Ensembles that are scored on rows that they never saw: what answers a fold is learned from the other folds.

The way of an ensemble: `EnsembleRows` sorts members and rows; the recipe's method combines the
members, fold by fold, into one `FoldResult` each; decisions (CAN, thresholds and cut-points) then
change the outputs of that result where they help. Whatever is learned for a fold, members' weights,
trees, numbers of trees, factors of classes or cuts between levels, comes from graded rows of the
others.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from competition.config.recipe import EnsembleRecipe
from competition.core.arrays import Array
from competition.core.errors import CompError
from competition.models.ensemble.blending import cross_fit_average
from competition.models.ensemble.combinations import Decided, Decisions, FittedMixture, mixture
from competition.models.ensemble.cut_points import decides_levels, learn_cuts
from competition.models.ensemble.logistic import cross_fit_logistic
from competition.models.ensemble.members import (
    ALL_LOCALES,
    TEXT,
    EnsembleRows,
    Member,
    answer_values,
)
from competition.models.ensemble.results import Answered, FoldResult
from competition.models.ensemble.stacking import cross_fit_trees
from competition.models.ensemble.thresholds import (
    alternating_normalization,
    confident_mass,
    learn_factors,
)
from competition.scoring.task import Kind, Task


@dataclass(frozen=True)
class CrossFitted:
    """The outputs of an ensemble, and what it learned; a list has an entry per fold."""

    held_out: list[pd.DataFrame]  # example_id and outputs of the fold's rows
    test: list[pd.DataFrame]  # example_id and outputs of the test rows
    results: list[FoldResult]


def cross_fit(
    task: Task,
    kind: Kind,
    members: list[Member],
    examples: pd.DataFrame,
    fold: pd.Series,
    recipe: EnsembleRecipe,
    text: pd.DataFrame | None = None,
    tasks: Sequence[str] = (),
) -> CrossFitted:
    """Fit an ensemble for one task, cross-fitted over folds of queries.

    Args:
        task: what it answers.
        kind: of its outputs, that which answers just this task.
        members: complete runs; all must answer the task unless the method is a stacker, which
            reads members of any kind. Their order changes nothing.
        examples: all examples.
        fold: the fold of each example, with its index.
        recipe: how the members are combined.
        text: features of text by example_id, for stackers.
        tasks: the names of all tasks, for recipes that are leaky.

    Raises:
        CompError: no member answers the task, members cover other rows, or a fold leaves too little
            to learn from.
    """
    if not members:
        raise CompError(f"No member of the ensemble answers {task.name}.")

    rows = EnsembleRows(task, kind, members, examples, fold, recipe, tasks)
    combined = _combine(rows, text)
    results = [_decide(rows, k, result) for k, result in zip(rows.folds, combined, strict=True)]

    train_ids = rows.train["example_id"].to_numpy()
    test_ids = rows.test["example_id"].to_numpy()
    held_out = [
        _frame(kind, train_ids[rows.held_out(k)], result.held_out)
        for k, result in zip(rows.folds, results, strict=True)
    ]
    test = [_frame(kind, test_ids, result.test) for result in results]
    return CrossFitted(held_out, test, results)


def _combine(rows: EnsembleRows, text: pd.DataFrame | None) -> list[FoldResult]:
    """Return the result of each fold by the recipe's method."""
    match rows.recipe.method:
        case "lightgbm" | "lambdarank":
            return cross_fit_trees(rows, text)
        case "logistic":
            return cross_fit_logistic(rows, text)
        case "mixed":
            # Without text there are no trees to mix in.
            return cross_fit_logistic(rows, text) if text is None else _mix(rows, text)
        case _:
            return cross_fit_average(rows)


def _mix(rows: EnsembleRows, text: pd.DataFrame) -> list[FoldResult]:
    """Return half the regression on members and text, half the trees on text alone.

    The two err in different ways. Trees on members gained nothing over trees on text, and the steps
    in which they read a member would make rounding into decisions. Where a member is made of trees
    on text, too, it is half of the trees: it weighs all rows alike, and the paired difference of an
    ensemble to it, as the lexical baseline, varies less if the ensemble contains it.
    """
    answering = (member for member in rows.members if rows.task.name in member.kind.tasks)
    lexical = next((member for member in answering if member.lexical), None)
    regressions = cross_fit_logistic(rows, text)
    forests = cross_fit_trees(rows.without_members(), text)
    answered = Answered.tests(rows, text)

    mixed = []
    for fold, regression, trees in zip(rows.folds, regressions, forests, strict=True):
        # Weights say how much each member and text move; trees on text alone count as text.
        weights = {name: w / 2 for name, w in regression.weights[ALL_LOCALES].items()}
        training, held_out = (
            [regression.training, trees.training],
            [regression.held_out, trees.held_out],
        )
        if lexical is None:
            weights[TEXT] += 1 / 2
        else:
            # Its own answers, with nothing learned.
            own = answer_values(rows.task, rows.kind, lexical.kind, lexical.seen[fold])
            training.append(own[rows.graded_outside(fold)])
            held_out.append(own[rows.held_out(fold)])
            weights[TEXT] += 1 / 4
            weights[lexical.name] += 1 / 4

        fitted = FittedMixture(regression.fitted, trees.fitted, lexical.name if lexical else None)
        mixed.append(
            FoldResult(
                training=mixture(training),
                held_out=mixture(held_out),
                test=fitted.answer(answered),
                fitted=fitted,
                weights={ALL_LOCALES: weights},
                importance=trees.importance,
                rounds=trees.rounds,
            )
        )
    return mixed


def _decide(rows: EnsembleRows, fold: int, result: FoldResult) -> FoldResult:
    """Apply the decisions that the recipe or the metric asks for to the result of a fold.

    All learn from the other folds alone.
    """
    task = rows.task
    recipe = rows.recipe
    learned_from = rows.train.iloc[rows.graded_outside(fold)]
    training = result.training
    decisions = Decisions()

    if recipe.can and task.kind == "classify" and task.positive is None:
        counts = np.bincount(task.truth(learned_from), minlength=len(task.classes))
        prior = counts / len(learned_from)  # (classes,)
        mass = confident_mass(training)  # (classes,)
        training = alternating_normalization(training, prior, mass)
        decisions = replace(decisions, prior=prior.tolist(), mass=mass.tolist())

    if recipe.thresholds != "none" and task.kind == "classify":
        factors = learn_factors(task, recipe.thresholds, training, learned_from, rows.seed(fold))
        decisions = replace(decisions, factors=factors.tolist())

    if decides_levels(task):
        cuts = learn_cuts(task, training[:, 0], learned_from, rows.seed(fold))
        decisions = replace(decisions, cuts=cuts.tolist())

    return replace(
        result,
        training=training,
        held_out=decisions.apply(task, result.held_out),
        test=decisions.apply(task, result.test),
        fitted=Decided(result.fitted, decisions),
        factors=decisions.factors,
        cuts=decisions.cuts,
    )


def _frame(kind: Kind, ids: NDArray[np.int64], values: Array) -> pd.DataFrame:
    """Return example_id and the outputs of a kind."""
    frame = pd.DataFrame(values, columns=list(kind.outputs))
    frame.insert(0, "example_id", ids)
    return frame
