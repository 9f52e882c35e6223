"""The weighted average of members for one fold, its weights from the rows of the others."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from competition.core.fingerprint import derive_seed
from competition.models.ensemble.members import EnsembleRows, FoldResult, Positions, output_values
from competition.models.ensemble.meta_features import QueryLists
from competition.models.ensemble.weighted_average import (
    ENOUGH_QUERIES,
    learn_weights,
    paper_weights,
)
from competition.scoring.metrics import Array
from competition.scoring.tasks import ANSWER_KIND, LOCALES, Task, answers

ALL = "all"  # the weights of rows whose locale has none of its own


def blend(rows: EnsembleRows, fold: int) -> FoldResult:
    """The average of the members' answers: scores for ranking, else probabilities."""
    values = _values(rows, [member.seen[fold] for member in rows.members], rows.train)
    tests = _values(rows, [member.test for member in rows.members], rows.test)
    learn, held = rows.graded_outside(fold), rows.held_out(fold)
    weights = _weights(rows, fold, values, learn)
    of_learn, of_held = (
        _weighted(weights, values[:, at], rows.train.iloc[at]) for at in (learn, held)
    )
    names = [member.name for member in rows.members]
    shown = {
        locale: dict(zip(names, map(float, each), strict=True)) for locale, each in weights.items()
    }
    return FoldResult(of_learn, of_held, _weighted(weights, tests, rows.test), shown)


def _values(rows: EnsembleRows, outputs: list[pd.DataFrame], examples: pd.DataFrame) -> Array:
    """What of each member is averaged, `(members, rows, outputs)`."""
    values = np.stack(
        [_answer(rows.task, m.kind, frame) for m, frame in zip(rows.members, outputs, strict=True)]
    )
    if rows.task.metric == "nDCG" and rows.recipe.space == "rank":
        lists = QueryLists(examples, rows.task)
        values = np.stack([lists.statistics(value[:, 0])["rank"][:, None] for value in values])
    return values


def _answer(task: Task, kind: str, outputs: pd.DataFrame) -> Array:
    if task.metric == "nDCG":
        return answers(task, kind, outputs)[:, None]
    return output_values(ANSWER_KIND[task.name], outputs)


def _weights(rows: EnsembleRows, fold: int, values: Array, learn: Positions) -> dict[str, Array]:
    """Locale or ALL -> weights, `(members,)`."""
    recipe, task = rows.recipe, rows.task
    if recipe.method == "paper":
        return {ALL: paper_weights(task, [member.kind for member in rows.members])}

    def learned(at: Positions, *name: str) -> Array:
        return learn_weights(
            recipe, task, values[:, at], rows.train.iloc[at], derive_seed(rows.seed(fold), *name)
        )

    weights = {ALL: learned(learn)}
    for name in LOCALES if recipe.per_locale else ():
        at = learn[(rows.train["locale"].iloc[learn] == name).to_numpy()]
        if rows.train["query_id"].iloc[at].nunique() >= ENOUGH_QUERIES:
            weights[name] = learned(at, name)
    return weights


def _weighted(weights: Mapping[str, Array], values: Array, examples: pd.DataFrame) -> Array:
    """The average of members, `(rows, outputs)`, by the weights of each row's locale."""
    result = np.tensordot(weights[ALL], values, 1)
    for locale in weights:
        of_locale = (examples["locale"] == locale).to_numpy()
        result[of_locale] = np.tensordot(weights[locale], values[:, of_locale], 1)
    return result
