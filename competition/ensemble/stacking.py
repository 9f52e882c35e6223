"""Trees on the members' outputs, cross-fitted: each fold by the mean of the models that left it and another one out."""

from collections.abc import Iterator
from itertools import combinations, permutations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from competition.ensemble.level2 import Outputs, level2_features
from competition.ensemble.rows import Combined, Rows, outputs_of
from competition.ensemble.stacker import fit_trees
from competition.errors import CompError
from competition.progress import progress
from competition.tasks import ANSWER_KIND, KINDS

Use = tuple[int, int]  # the fold that is scored and the fold that says when to stop
Fit = tuple[int, tuple[Use, ...]]  # the fold whose view of the members is read, and what one fit is used for


def stack(rows: Rows, text: pd.DataFrame | None) -> list[Combined]:
    """The stackers of all folds, in order.

    A model that left out j and k scores k with as many trees as are best on j, and j with as many as are best on k.

    Args:
        rows: members and examples.
        text: features of text by example_id; None leaves them out.

    Raises:
        CompError: two folds leave no labelled row to learn from, or a fold has none to stop by.
    """
    outputs = len(KINDS[ANSWER_KIND[rows.task.name]].outputs)
    of_train = {k: np.zeros((len(rows.train), outputs)) for k in rows.folds}
    of_test = {k: np.zeros((len(rows.test), outputs)) for k in rows.folds}
    names: list[str] = []
    importance: dict[int, list[NDArray[np.float64]]] = {k: [] for k in rows.folds}
    rounds: dict[int, list[int]] = {k: [] for k in rows.folds}
    share = 1 / (len(rows.folds) - 1)
    views = _Views(rows, text)
    fits = list(_fits(rows))
    with progress(f"{rows.recipe.name} {rows.task.name}, models", len(fits)) as work:
        for view, uses in fits:
            names, features, tests = views.of(view)
            _check(rows, uses)
            watched = [rows.graded(stopping) for _, stopping in uses]
            seed = rows.seed(*sorted(uses[0]))
            trees = fit_trees(rows.recipe, rows.task, features, rows.train, rows.learned(*uses[0]), watched, seed)
            both = np.sort(np.concatenate([rows.held(fold) for fold in uses[0]]))
            said = zip(trees.predict(features[both]), trees.predict(tests), strict=True)
            for i, ((scored, stopping), (of_both, of_tests)) in enumerate(zip(uses, said, strict=True)):
                other, own = rows.graded(stopping), rows.held(scored)
                of_train[scored][other] = of_both[np.searchsorted(both, other)]
                of_train[scored][own] += share * of_both[np.searchsorted(both, own)]
                of_test[scored] += share * of_tests
                importance[scored].append(trees.importance())
                rounds[scored].append(trees.best[i])
            work.advance(1)
    return [
        Combined(
            of_train[k][rows.learned(k)],
            of_train[k][rows.held(k)],
            of_test[k],
            importance=dict(zip(names, np.mean(importance[k], axis=0).tolist(), strict=True)),
            rounds=rounds[k],
        )
        for k in rows.folds
    ]


def _fits(rows: Rows) -> Iterator[Fit]:
    """What is fitted. Nested views differ from fold to fold, so that two folds that are left out take two fits."""
    if rows.recipe.nested:
        yield from ((scored, ((scored, stopping),)) for scored, stopping in permutations(rows.folds, 2))
    else:
        yield from ((rows.folds[0], (pair, pair[::-1])) for pair in combinations(rows.folds, 2))


def _check(rows: Rows, uses: tuple[Use, ...]) -> None:
    one, other = uses[0]
    if not len(rows.learned(one, other)):
        raise CompError(
            f"{rows.task.name}: without the folds {one} and {other} there is no labelled row to learn from."
        )
    for _, stopping in uses:
        if not len(rows.graded(stopping)):
            raise CompError(f"{rows.task.name}: fold {stopping} has no labelled row to stop training by.")


class _Views:
    """Level-2 features as a fold sees them; those of the last fold are kept."""

    def __init__(self, rows: Rows, text: pd.DataFrame | None) -> None:
        self._rows, self._text = rows, text
        self._made: tuple[int, list[str], NDArray[np.float32], NDArray[np.float32]] | None = None

    def of(self, fold: int) -> tuple[list[str], NDArray[np.float32], NDArray[np.float32]]:
        """Names, and values of the training and of the test rows, `(rows, features)`."""
        if self._made is None or self._made[0] != fold:
            self._made = None  # free the old ones first
            names, train = self._features([m.seen[fold] for m in self._rows.members], self._rows.train)
            _, test = self._features([m.test for m in self._rows.members], self._rows.test)
            self._made = (fold, names, train, test)
        return self._made[1:]

    def _features(self, outputs: list[pd.DataFrame], examples: pd.DataFrame) -> tuple[list[str], NDArray[np.float32]]:
        said = zip(self._rows.members, outputs, strict=True)
        members = [Outputs(member.name, member.kind, outputs_of(member.kind, frame)) for member, frame in said]
        return level2_features(self._rows.task, members, examples, self._text, self._rows.recipe.leaky)
