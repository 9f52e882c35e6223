"""The weighted average of members, cross-fitted: the weights of a fold come from the rows of the others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from competition.core.arrays import Array
from competition.core.console import progress
from competition.core.fingerprint import derive_seed
from competition.core.threads import side_by_side
from competition.models.ensemble.members import (
    ALL_LOCALES,
    MAX_ROWS,
    EnsembleRows,
    Positions,
    answer_values,
    sample_queries,
)
from competition.models.ensemble.meta_features import QueryLists
from competition.models.ensemble.results import Answered, FoldResult
from competition.models.ensemble.weighted_average import (
    ENOUGH_QUERIES,
    learn_weights,
    paper_weights,
)

Weights = dict[
    str, Array
]  # locale, or ALL_LOCALES for those without weights of their own -> (members,)


@dataclass(frozen=True)
class FittedAverage:
    """The weights of a fold."""

    weights: Weights

    def answer(self, rows: Answered) -> Array:
        """Return the average of the members, `(rows, outputs)`."""
        values = _member_values(rows, [member.test for member in rows.members], rows.examples)
        return _average(self.weights, values, rows.examples["locale"])


def cross_fit_average(rows: EnsembleRows) -> list[FoldResult]:
    """Return the weighted averages of all folds, in order; several folds are learned at a time."""
    results = []
    with progress(f"{rows.recipe.name} {rows.task.name}", len(rows.folds), "folds") as work:
        for result in side_by_side(partial(average_fold, rows), rows.folds):
            results.append(result)
            work.advance(1)
    return results


def average_fold(rows: EnsembleRows, fold: int) -> FoldResult:
    """Learn the weights of one fold and average the members: probabilities to classify, else scores or ratings."""
    seen = [member.seen[fold] for member in rows.members]
    values = _member_values(rows, seen, rows.train)  # (members, training rows, outputs)

    learned_from = rows.graded_outside(fold)
    held_out = rows.held_out(fold)
    weights = _learn_weights(rows, fold, values, learned_from)

    names = [member.name for member in rows.members]
    locale = rows.train["locale"]
    fitted = FittedAverage(weights)
    return FoldResult(
        training=_average(weights, values[:, learned_from], locale.iloc[learned_from]),
        held_out=_average(weights, values[:, held_out], locale.iloc[held_out]),
        test=fitted.answer(Answered.tests(rows, text=None)),
        fitted=fitted,
        weights={
            locale: dict(zip(names, of_locale.tolist(), strict=True))
            for locale, of_locale in weights.items()
        },
    )


def _member_values(
    rows: EnsembleRows | Answered, outputs: Sequence[pd.DataFrame], examples: pd.DataFrame
) -> Array:
    """Return what is averaged of each member for some examples, `(members, rows, outputs)`."""
    task = rows.task
    values = [
        answer_values(task, rows.kind, member.kind, frame)
        for member, frame in zip(rows.members, outputs, strict=True)
    ]
    if task.ranks and rows.recipe.space == "rank":
        lists = QueryLists(examples, task)
        values = [lists.statistics(score[:, 0])["rank"][:, None] for score in values]
    return np.stack(values)


def _learn_weights(
    rows: EnsembleRows, fold: int, values: Array, learned_from: Positions
) -> Weights:
    """Return the weights of a fold, for all rows and for each locale with enough queries of its own."""
    recipe = rows.recipe
    task = rows.task
    if recipe.method == "paper":
        return {ALL_LOCALES: paper_weights(task, [member.kind for member in rows.members])}

    query = rows.train["query_id"].to_numpy(np.int64)

    def learn(at: Positions, *name: str) -> Array:
        seed = derive_seed(rows.seed(fold), *name)
        # Drawn before their values and texts are copied.
        at = at[sample_queries(query[at], MAX_ROWS, seed)]
        return learn_weights(recipe, task, values[:, at], rows.train.iloc[at], seed)

    weights = {ALL_LOCALES: learn(learned_from)}
    if recipe.per_locale:
        locale = rows.train["locale"].iloc[learned_from]
        for name in task.locales:
            at = learned_from[(locale == name).to_numpy()]
            if rows.train["query_id"].iloc[at].nunique() >= ENOUGH_QUERIES:
                weights[name] = learn(at, name)
    return weights


def _average(weights: Mapping[str, Array], values: Array, locale: pd.Series) -> Array:
    """Return the average of members, `(rows, outputs)`, by the weights of each row's locale."""
    average = np.tensordot(weights[ALL_LOCALES], values, 1)  # (rows, outputs)
    for name in weights.keys() - {ALL_LOCALES}:
        in_locale = (locale == name).to_numpy()  # (rows,)
        average[in_locale] = np.tensordot(weights[name], values[:, in_locale], 1)
    return average
