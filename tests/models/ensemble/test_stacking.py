"""Each fold is scored by the mean of four models, each of which left it and another fold out."""

from collections.abc import Callable
from dataclasses import replace
from itertools import combinations, permutations
from typing import Any

import numpy as np
import pandas as pd
import pytest

from competition.config.recipe import EnsembleRecipe
from competition.core.arrays import Array
from competition.core.errors import CompError
from competition.models.ensemble import stacking, training_table
from competition.models.ensemble.gbdt import fit_trees
from competition.models.ensemble.members import EnsembleRows, Member, MemberOutputs
from competition.models.ensemble.meta_features import tree_features
from competition.models.ensemble.results import FoldResult
from competition.models.ensemble.stacking import cross_fit_trees
from competition.models.ensemble.training_table import TrainingTable
from tests.esci import ANSWER_KIND, TASKS
from tests.models.ensemble.made import (
    FOLDS,
    folds_of,
    make_examples,
    make_members,
    nested_members,
    recipe_of,
    spoil,
)

FIVE_TREES = recipe_of("lightgbm", n_estimators=5)  # one look alone, so that no part has a choice
NESTED = recipe_of("lightgbm", n_estimators=5, nested=True)


def rows_of(
    task: str, examples: pd.DataFrame, members: list[Member], recipe: EnsembleRecipe
) -> EnsembleRows:
    """Members and examples of one task."""
    return EnsembleRows(
        TASKS[task], ANSWER_KIND[task], members, examples, folds_of(examples), recipe
    )


def features_of(
    rows: EnsembleRows, outputs: Callable[[Member], pd.DataFrame], examples: pd.DataFrame
) -> Array:
    """Tree features of some rows."""
    said = [
        MemberOutputs(member.name, member.kind, member.kind.values(outputs(member)))
        for member in rows.members
    ]
    return tree_features(rows.task, said, examples, None)[1]


def four_models(rows: EnsembleRows, k: int) -> tuple[Array, Array]:
    """What fold `k` and the test rows are told by the mean of four models, as fold `k` sees the members."""
    train = features_of(rows, lambda member: member.seen[k], rows.train)
    test = features_of(rows, lambda member: member.test, rows.test)
    table = TrainingTable(rows.task, rows.train, train)
    held_out, tests = [], []
    for j in set(rows.folds) - {k}:
        seed = rows.seed(*sorted((j, k)))
        trees = fit_trees(rows.recipe, table, rows.graded_outside(j, k), [rows.graded_in(j)], seed)
        held_out.append(trees.predict(train[rows.held_out(k)]))
        tests.append(trees.predict(test))
    return np.mean(held_out, axis=0), np.mean(tests, axis=0)


@pytest.mark.parametrize(("task", "nested"), [("task1", False), ("task2", True), ("task3", False)])
def test_a_fold_is_scored_by_the_mean_of_the_models_that_left_it_out(
    task: str, nested: bool
) -> None:
    examples = make_examples(25, 5)
    members = nested_members(task, examples) if nested else make_members(task, examples)
    rows = rows_of(task, examples, members, NESTED if nested else FIVE_TREES)
    for k, combined in zip(rows.folds, cross_fit_trees(rows, None), strict=True):
        held_out, tests = four_models(rows, k)
        np.testing.assert_allclose(combined.held_out, held_out, atol=1e-12)
        np.testing.assert_allclose(combined.test, tests, atol=1e-12)


@pytest.mark.parametrize("nested", [False, True])
def test_no_model_learns_from_a_fold_that_it_scores_or_is_stopped_by(
    nested: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    examples = make_examples(25, 5)
    rows = rows_of(
        "task2", examples, make_members("task2", examples), NESTED if nested else FIVE_TREES
    )
    of_row, fits = folds_of(rows.train), []

    def watch(recipe: Any, table: Any, learn: Any, watched: Any, *others: Any) -> Any:
        fits.append((set(of_row.iloc[learn]), [set(of_row.iloc[part]) for part in watched]))
        return fit_trees(recipe, table, learn, watched, *others)

    monkeypatch.setattr(stacking, "fit_trees", watch)
    cross_fit_trees(rows, None)
    if nested:  # as each fold sees the members
        expected = [(set(FOLDS) - {k, j}, [{j}]) for k, j in permutations(FOLDS, 2)]
    else:  # each model scores two folds, and each of them stops it for the other
        expected = [(set(FOLDS) - {k, j}, [{j}, {k}]) for k, j in combinations(FOLDS, 2)]
    assert len(fits) == len(expected)
    assert all(fit in fits for fit in expected)


@pytest.mark.parametrize(("nested", "shared"), [(False, False), (True, False), (False, True)])
def test_how_many_models_are_fitted_side_by_side_changes_nothing(
    nested: bool, shared: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_table, "SHARED_BINS", 1 if shared else 10**9)
    examples = make_examples(25, 5)
    rows = rows_of(
        "task2", examples, make_members("task2", examples), NESTED if nested else FIVE_TREES
    )
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    found = []
    for cores in ("1", "8"):  # one at a time on one thread; four at a time on two threads each
        monkeypatch.setenv("OMP_NUM_THREADS", cores)
        found.append(cross_fit_trees(rows, None))
    for k in FOLDS:
        for part in ("training", "held_out", "test"):
            one, eight = (getattr(each[k], part) for each in found)
            assert one.tolist() == eight.tolist()


def learned_of(combined: FoldResult, rows: EnsembleRows, k: int, fold: int) -> Array:
    """What fold `k` learns decisions on, of the rows of another fold."""
    return combined.training[np.isin(rows.graded_outside(k), rows.graded_in(fold))]


@pytest.mark.parametrize("recipe", [FIVE_TREES, NESTED], ids=["plain", "nested"])
def test_decisions_are_learned_on_what_models_say_of_rows_that_they_left_out(
    recipe: EnsembleRecipe,
) -> None:
    examples = make_examples(25, 5)
    plain, spoiled = (
        rows_of("task2", each, make_members("task2", examples), recipe)
        for each in (examples, spoil(examples, 3))
    )
    before, after = cross_fit_trees(plain, None), cross_fit_trees(spoiled, None)
    assert before[0].training.shape == (len(plain.graded_outside(0)), 4)
    np.testing.assert_array_equal(
        learned_of(before[0], plain, 0, 3), learned_of(after[0], spoiled, 0, 3)
    )
    assert (learned_of(before[0], plain, 0, 1) != learned_of(after[0], spoiled, 0, 1)).any()


@pytest.mark.parametrize("method", ["lightgbm", "lambdarank"])
def test_shared_bins_tell_a_fold_nothing_of_its_labels(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_table, "SHARED_BINS", 1)
    examples = make_examples(25, 5)
    members = make_members("task1", examples)
    recipe = recipe_of(method, n_estimators=20)
    before, after = (
        cross_fit_trees(rows_of("task1", each, members, recipe), None)
        for each in (examples, spoil(examples, 3))
    )
    same = [
        (one.held_out.tolist(), one.test.tolist()) == (two.held_out.tolist(), two.test.tolist())
        for one, two in zip(before, after, strict=True)
    ]
    assert same == [False, False, False, True, False]


def test_a_nested_fold_reads_its_own_view_of_the_members() -> None:
    examples = make_examples(25, 5)
    members = nested_members("task1", examples)
    noise = np.random.default_rng(0).normal(0, 1, len(members[2].seen[3]))
    blurred = members[2].seen[3].assign(gain=members[2].seen[3]["gain"] + noise)
    other = [*members[:2], replace(members[2], seen={**members[2].seen, 3: blurred})]
    before, after = (
        cross_fit_trees(rows_of("task1", examples, each, NESTED), None) for each in (members, other)
    )
    same = [
        np.array_equal(one.held_out, two.held_out) for one, two in zip(before, after, strict=True)
    ]
    assert same == [True, True, True, False, True]


def test_features_of_text_are_read_where_they_are_given() -> None:
    examples = make_examples(25, 5)
    told = (examples["label"] == "exact").to_numpy(np.float32)
    text = pd.DataFrame({"told": told}, index=pd.Index(examples["example_id"], name="example_id"))
    rows = rows_of("task2", examples, make_members("task2", examples), FIVE_TREES)
    plain, with_text = (
        cross_fit_trees(rows, None)[0],
        cross_fit_trees(rows, text.sample(frac=1, random_state=1))[0],
    )
    assert set(with_text.importance) - set(plain.importance) == {"text_told"}
    assert with_text.importance["text_told"] > 0


def test_shares_of_the_gain_and_numbers_of_trees_are_kept() -> None:
    examples = make_examples(25, 5)
    for combined in cross_fit_trees(
        rows_of("task1", examples, make_members("task1", examples), FIVE_TREES), None
    ):
        assert sum(combined.importance.values()) == pytest.approx(1)
        assert combined.rounds == [5] * 4
        assert not combined.weights


def test_folds_that_leave_nothing_to_learn_from_are_named() -> None:
    examples = make_examples(20, 2)
    examples["label"] = examples["label"].where(folds_of(examples).isin([1, 4]))
    with pytest.raises(CompError, match="task2: fold 0 has no labelled row to stop training by"):
        cross_fit_trees(
            rows_of("task2", examples, make_members("task2", make_examples(20, 2)), FIVE_TREES),
            None,
        )
    examples["label"] = make_examples(20, 2)["label"].where(folds_of(examples) < 2)
    with pytest.raises(
        CompError, match="task2: without the folds 0 and 1 there is no labelled row to learn from"
    ):
        cross_fit_trees(
            rows_of("task2", examples, make_members("task2", make_examples(20, 2)), FIVE_TREES),
            None,
        )


def test_a_model_learns_from_whole_queries_where_there_are_more_than_enough_rows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    examples = make_examples(50, 5)
    rows = rows_of("task2", examples, make_members("task2", examples), FIVE_TREES)
    learned: list[pd.Series] = []

    def watch(recipe: Any, table: Any, learn: Any, *others: Any) -> Any:
        learned.append(examples["query_id"].iloc[learn])
        return fit_trees(recipe, table, learn, *others)

    monkeypatch.setattr(stacking, "fit_trees", watch)
    monkeypatch.setattr(stacking, "MAX_ROWS", 60)
    results = cross_fit_trees(rows, None)
    depth = rows.train.groupby("query_id").size()
    for query in learned:
        assert len(query) <= 60
        assert len(query) == depth[query.unique()].sum()
    assert len({tuple(sorted(set(query))) for query in learned}) > 1  # each draws its own

    # Every row is answered nevertheless.
    for fold, result in zip(rows.folds, results, strict=True):
        assert len(result.held_out) == len(rows.held_out(fold))
        assert np.isfinite(result.held_out).all()
