"""Ensembles that are scored on what they never saw: whatever a fold is predicted by comes from the other folds."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from competition.config.recipe import EnsembleRecipe
from competition.core.console import progress
from competition.core.errors import CompError
from competition.models.ensemble.blending import ALL, blend
from competition.models.ensemble.logistic import TEXT, cross_fit_logistic
from competition.models.ensemble.members import (
    EnsembleRows,
    FoldResult,
    Member,
    output_values,
    task_outputs,
)
from competition.models.ensemble.stacking import cross_fit_trees
from competition.models.ensemble.thresholds import (
    alternating_normalization,
    apply_factors,
    confident_mass,
    learn_factors,
)
from competition.scoring.metrics import Array
from competition.scoring.tasks import ANSWER_KIND, KINDS, LABELS, Task, label_codes


@dataclass(frozen=True)
class CrossFitted:
    """Per fold: the held-out rows' outputs, the test rows' outputs, and what was learned from the other folds."""

    held_out: list[pd.DataFrame]
    test: list[pd.DataFrame]
    results: list[FoldResult]


def cross_fit(
    task: Task,
    members: list[Member],
    examples: pd.DataFrame,
    fold: pd.Series,
    recipe: EnsembleRecipe,
    text: pd.DataFrame | None = None,
) -> CrossFitted:
    """An ensemble for one task, cross-fitted over folds of queries.

    Args:
        task: what it answers.
        members: complete runs; all must answer the task unless the method learns trees. Their order
            changes nothing.
        examples: all examples.
        fold: the fold of each example, with its index.
        recipe: how the members are combined.
        text: features of text by example_id, for methods that learn trees.

    Raises:
        CompError: no member answers the task, members cover other rows, or a fold leaves too little
            to learn from.
    """
    if not members:
        raise CompError(f"No member of the ensemble answers {task.name}.")
    rows = EnsembleRows(task, members, examples, fold, recipe)
    combined = _combined(rows, text)
    learned = [_decided(rows, k, each) for k, each in zip(rows.folds, combined, strict=True)]
    ids, tests = rows.train["example_id"].to_numpy(), rows.test["example_id"].to_numpy()
    held_out = [
        _frame(task, ids[rows.held_out(k)], each.held_out)
        for k, each in zip(rows.folds, learned, strict=True)
    ]
    return CrossFitted(held_out, [_frame(task, tests, each.test) for each in learned], learned)


def _combined(rows: EnsembleRows, text: pd.DataFrame | None) -> list[FoldResult]:
    """What the method says, fold by fold."""
    method = rows.recipe.method
    if method in ("lightgbm", "lambdarank"):
        return cross_fit_trees(rows, text)
    if method == "logistic" or (method == "mixed" and text is None):
        return cross_fit_logistic(rows, text)
    return _mixed(rows, text) if method == "mixed" else _blends(rows)


def _mixed(rows: EnsembleRows, text: pd.DataFrame | None) -> list[FoldResult]:
    """Half the regression on members and text, half trees on text alone.

    The two err in different ways. Trees on members gained nothing over trees on text, and the steps
    in which they read a member would make rounding into decisions. Where a member is made of trees
    on text, too, it is half of the trees: it takes all rows alike, and what is nearer to it differs
    from it by less luck.
    """
    mixed = []
    lexical = next((member for member in rows.members if member.lexical), None)
    for fold, regression, trees in zip(
        rows.folds,
        cross_fit_logistic(rows, text),
        cross_fit_trees(rows.without_members(), text),
        strict=True,
    ):
        told = {name: share / 2 for name, share in regression.weights[ALL].items()}
        if lexical is None:
            parts = [(regression, 1 / 2), (trees, 1 / 2)]
            told[TEXT] += 1 / 2
        else:
            parts = [(regression, 1 / 2), (trees, 1 / 4), (_as_it_is(rows, lexical, fold), 1 / 4)]
            told[TEXT] += 1 / 4
            told[lexical.name] += 1 / 4
        learn, held_out, test = (
            np.sum([share * getattr(part, each) for part, share in parts], axis=0)
            for each in ("training", "held_out", "test")
        )
        mixed.append(FoldResult(learn, held_out, test, {ALL: told}, trees.importance, trees.rounds))
    return mixed


def _as_it_is(rows: EnsembleRows, member: Member, fold: int) -> FoldResult:
    """What a classifier among the members answers for the rows of a fold, with nothing learned."""
    seen, test = (
        task_outputs(rows.task, output_values(member.kind, outputs))
        for outputs in (member.seen[fold], member.test)
    )
    return FoldResult(seen[rows.graded_outside(fold)], seen[rows.held_out(fold)], test)


def _blends(rows: EnsembleRows) -> list[FoldResult]:
    """The averages of all folds, in order."""
    combined = []
    with progress(f"{rows.recipe.name} {rows.task.name}", len(rows.folds), "folds") as work:
        for fold in rows.folds:
            combined.append(blend(rows, fold))
            work.advance(1)
    return combined


def _decided(rows: EnsembleRows, fold: int, combined: FoldResult) -> FoldResult:
    """CAN and thresholds, as far as the recipe asks for them; both look at labels of the other folds alone."""
    task, recipe = rows.task, rows.recipe
    learn = rows.train.iloc[rows.graded_outside(fold)]
    if recipe.can and task.name == "task2":
        prior = np.bincount(label_codes(learn["label"]), minlength=len(LABELS)) / len(learn)
        mass = confident_mass(combined.training)
        moved = [
            alternating_normalization(values, prior, mass)
            for values in (combined.training, combined.held_out, combined.test)
        ]
        combined = replace(combined, training=moved[0], held_out=moved[1], test=moved[2])
    if recipe.thresholds != "none" and task.classes:
        factors = learn_factors(task, recipe.thresholds, combined.training, learn, rows.seed(fold))
        held_out, test = (
            apply_factors(factors, values) for values in (combined.held_out, combined.test)
        )
        combined = replace(combined, held_out=held_out, test=test, factors=factors.tolist())
    return combined


def _frame(task: Task, ids: np.ndarray, values: Array) -> pd.DataFrame:
    frame = pd.DataFrame(values, columns=list(KINDS[ANSWER_KIND[task.name]].outputs))
    frame.insert(0, "example_id", ids)
    return frame
