"""Trees on the members' outputs, cross-fitted: each fold by the mean of the models that left it and another one out."""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from competition.core.console import progress
from competition.core.errors import CompError
from competition.models.ensemble.gbdt import fit_trees
from competition.models.ensemble.members import (
    MAX_ROWS,
    EnsembleRows,
    FoldResult,
    output_values,
    sample_queries,
)
from competition.models.ensemble.meta_features import MemberOutputs, tree_features
from competition.scoring.metrics import Array
from competition.scoring.tasks import ANSWER_KIND, KINDS

Use = tuple[int, int]  # the fold that is scored and the fold that says when to stop
Fit = tuple[Use, ...]  # what one model is used for
_AT_ONCE = 4  # models that are fitted at a time: each holds a copy of what it learns from


@dataclass(frozen=True)
class _Said:
    """What the model of one fit says, for each of its uses: of the rows of the folds that it left out, of test rows."""

    uses: Fit
    at: NDArray[np.int64]  # positions of these rows
    left_out: list[Array]
    tests: list[Array]
    best: tuple[int, ...]
    importance: Array


def cross_fit_trees(rows: EnsembleRows, text: pd.DataFrame | None) -> list[FoldResult]:
    """The stackers of all folds, in order.

    A model that left out j and k scores k with as many trees as are best on j, and j with as many
    as are best on k.

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
    views, fits = _Views(rows, text), _fits(rows)
    cores = min(os.cpu_count() or 1, int(os.environ.get("OMP_NUM_THREADS") or 1024))
    # Models side by side and not threads within one: LightGBM's threads wait for each other at
    # every split.
    with (
        ThreadPoolExecutor(min(_AT_ONCE, cores)) as pool,
        progress(
            f"{rows.recipe.name} {rows.task.name}, trees",
            sum(len(each) for _, each in fits),
            "models",
        ) as work,
    ):
        for view, each in fits:
            names, features, tests = views.of(view)
            for said in pool.map(
                partial(_fit, rows, features, tests, max(1, cores // _AT_ONCE)), each
            ):
                for i, (scored, stopping) in enumerate(said.uses):
                    other, own = rows.graded_in(stopping), rows.held_out(scored)
                    of_train[scored][other] = said.left_out[i][np.searchsorted(said.at, other)]
                    of_train[scored][own] += share * said.left_out[i][np.searchsorted(said.at, own)]
                    of_test[scored] += share * said.tests[i]
                    importance[scored].append(said.importance)
                    rounds[scored].append(said.best[i])
                work.advance(1)
    return [
        FoldResult(
            of_train[k][rows.graded_outside(k)],
            of_train[k][rows.held_out(k)],
            of_test[k],
            importance=dict(zip(names, np.mean(importance[k], axis=0).tolist(), strict=True)),
            rounds=rounds[k],
        )
        for k in rows.folds
    ]


def _fits(rows: EnsembleRows) -> list[tuple[int, list[Fit]]]:
    """The fold whose view of the members is read -> what is fitted on it.

    Nested views differ from fold to fold, so that two folds that are left out take two fits.
    """
    if rows.recipe.nested:
        return [
            (k, [((k, stopping),) for stopping in rows.folds if stopping != k]) for k in rows.folds
        ]
    return [(rows.folds[0], [(pair, pair[::-1]) for pair in combinations(rows.folds, 2)])]


def _fit(
    rows: EnsembleRows,
    features: NDArray[np.float32],
    tests: NDArray[np.float32],
    threads: int,
    uses: Fit,
) -> _Said:
    _check(rows, uses)
    watched, left_out = [rows.graded_in(stopping) for _, stopping in uses], sorted(uses[0])
    learn, seed = rows.graded_outside(*left_out), rows.seed(*left_out)
    learn = learn[sample_queries(rows.train["query_id"].to_numpy(np.int64)[learn], MAX_ROWS, seed)]
    trees = fit_trees(rows.recipe, rows.task, features, rows.train, learn, watched, seed, threads)
    at = np.sort(np.concatenate([rows.held_out(fold) for fold in left_out]))
    return _Said(
        uses, at, trees.predict(features[at]), trees.predict(tests), trees.best, trees.importance()
    )


def _check(rows: EnsembleRows, uses: Fit) -> None:
    one, other = uses[0]
    if not len(rows.graded_outside(one, other)):
        raise CompError(
            f"{rows.task.name}: without the folds {one} and {other} there is no labelled row to learn from."
        )
    for _, stopping in uses:
        if not len(rows.graded_in(stopping)):
            raise CompError(
                f"{rows.task.name}: fold {stopping} has no labelled row to stop training by."
            )


class _Views:
    """Level-2 features as a fold sees them; those of the last fold are kept."""

    def __init__(self, rows: EnsembleRows, text: pd.DataFrame | None) -> None:
        self._rows, self._text = rows, text
        self._made: tuple[int, list[str], NDArray[np.float32], NDArray[np.float32]] | None = None

    def of(self, fold: int) -> tuple[list[str], NDArray[np.float32], NDArray[np.float32]]:
        """Names, and values of the training and of the test rows, `(rows, features)`."""
        if self._made is None or self._made[0] != fold:
            self._made = None  # free the old ones first
            names, train = self._features(
                [m.seen[fold] for m in self._rows.members], self._rows.train
            )
            _, test = self._features([m.test for m in self._rows.members], self._rows.test)
            self._made = (fold, names, train, test)
        return self._made[1:]

    def _features(
        self, outputs: list[pd.DataFrame], examples: pd.DataFrame
    ) -> tuple[list[str], NDArray[np.float32]]:
        said = zip(self._rows.members, outputs, strict=True)
        members = [
            MemberOutputs(member.name, member.kind, output_values(member.kind, frame))
            for member, frame in said
        ]
        return tree_features(
            self._rows.task, members, examples, self._text, self._rows.recipe.leaky
        )
