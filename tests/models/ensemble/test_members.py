"""EnsembleRows come in the order of their ids, and a fold learns from graded rows outside it alone."""

import numpy as np
import pandas as pd
import pytest

from competition.core.errors import CompError
from competition.data.folds import first_queries
from competition.models.ensemble.members import (
    EnsembleRows,
    row_weights,
    sample_queries,
    split_queries,
    stacker_targets,
    task_outputs,
)
from tests.esci import ANSWER_KIND, TASKS
from tests.models.ensemble.made import folds_of, make_examples, make_member, make_members, recipe_of


def partly_labelled() -> pd.DataFrame:
    """Examples of which every seventh has no label."""
    rows = make_examples(train=20, test=2)
    known = rows["example_id"] % 7 > 0
    return rows.assign(label=rows["label"].where(known), substitute=rows["substitute"].where(known))


@pytest.mark.parametrize("task", TASKS)
def test_what_is_learned_from_is_graded_in_the_task_and_outside_the_folds(task: str) -> None:
    examples = partly_labelled()
    rows = EnsembleRows(
        TASKS[task],
        ANSWER_KIND[task],
        make_members(task, make_examples(20, 2)),
        examples,
        folds_of(examples),
        recipe_of("greedy"),
    )
    graded = (examples["split"] == "train") & examples["label"].notna() & examples[task]
    for folds in ((2,), (0, 3)):
        expected = examples.loc[graded & ~folds_of(examples).isin(folds), "example_id"]
        assert (
            rows.train["example_id"].iloc[rows.graded_outside(*folds)].tolist() == expected.tolist()
        )
    of_fold = examples.loc[graded & (folds_of(examples) == 2), "example_id"]
    assert rows.train["example_id"].iloc[rows.graded_in(2)].tolist() == of_fold.tolist()


def test_all_rows_of_a_fold_are_held_out_also_without_a_label_and_outside_the_task() -> None:
    examples = partly_labelled()
    rows = EnsembleRows(
        TASKS["task1"], ANSWER_KIND["task1"], [], examples, folds_of(examples), recipe_of("greedy")
    )
    held = [rows.train["example_id"].iloc[rows.held_out(k)].tolist() for k in rows.folds]
    assert held == [examples.loc[folds_of(examples) == k, "example_id"].tolist() for k in range(5)]
    assert (
        sorted(np.concatenate(held))
        == examples.loc[examples["split"] == "train", "example_id"].tolist()
    )


def test_fewer_training_queries_are_learned_from_and_all_are_held_out() -> None:
    examples = partly_labelled()
    examples["query"] = "query " + examples["query_id"].astype("str")
    whole, few = (
        EnsembleRows(
            TASKS["task2"],
            ANSWER_KIND["task2"],
            [],
            examples,
            folds_of(examples),
            recipe_of("greedy", train_queries=count),
        )
        for count in (0, 8)
    )
    chosen = np.flatnonzero(first_queries(whole.train, 8))
    assert 0 < len(chosen) < len(whole.train)
    for fold in whole.folds:
        assert (
            few.graded_outside(fold).tolist()
            == np.intersect1d(whole.graded_outside(fold), chosen).tolist()
        )
        assert (
            few.graded_in(fold).tolist() == np.intersect1d(whole.graded_in(fold), chosen).tolist()
        )
        assert few.held_out(fold).tolist() == whole.held_out(fold).tolist()


def test_order_of_rows_and_members_changes_nothing() -> None:
    examples = partly_labelled()
    members = make_members("task1", make_examples(20, 2))
    shuffled = examples.sample(frac=1, random_state=1)
    one = EnsembleRows(
        TASKS["task1"],
        ANSWER_KIND["task1"],
        members,
        examples,
        folds_of(examples),
        recipe_of("greedy"),
    )
    other = EnsembleRows(
        TASKS["task1"],
        ANSWER_KIND["task1"],
        members[::-1],
        shuffled,
        folds_of(shuffled),
        recipe_of("greedy"),
    )
    assert [m.name for m in one.members] == [m.name for m in other.members]
    pd.testing.assert_frame_equal(one.train, other.train)
    pd.testing.assert_frame_equal(one.test, other.test)
    assert one.graded_outside(1).tolist() == other.graded_outside(1).tolist()


def test_seeds_are_those_of_the_recipe_the_task_and_the_folds() -> None:
    examples = make_examples(10, 1)

    def seed(task: str, *folds: int, **keys: object) -> int:
        return EnsembleRows(
            TASKS[task],
            ANSWER_KIND[task],
            [],
            examples,
            folds_of(examples),
            recipe_of("greedy", **keys),
        ).seed(*folds)

    seeds = [
        seed("task1", 0),
        seed("task1", 1),
        seed("task1", 0, 1),
        seed("task2", 0),
        seed("task1", 0, seed=1),
    ]
    assert len(set(seeds)) == len(seeds)
    assert seed("task1", 0) == seed("task1", 0, name="another")


def test_members_of_other_rows_are_refused() -> None:
    examples = make_examples(10, 1)
    short = make_member("short", "gain", np.zeros((85, 1)), examples.iloc[3:])
    members = [*make_members("task1", examples), short]
    with pytest.raises(
        CompError, match="'short' does not cover the same rows as the others: 3 ids differ"
    ):
        EnsembleRows(
            TASKS["task1"],
            ANSWER_KIND["task1"],
            members,
            examples,
            folds_of(examples),
            recipe_of("greedy"),
        )


def test_a_fold_without_which_nothing_is_labelled_is_named() -> None:
    examples = make_examples(10, 1)
    examples["label"] = examples["label"].where(folds_of(examples) == 3)
    with pytest.raises(
        CompError, match="task2: without fold 3 there is no labelled row to learn an ensemble from"
    ):
        EnsembleRows(
            TASKS["task2"],
            ANSWER_KIND["task2"],
            [],
            examples,
            folds_of(examples),
            recipe_of("search"),
        )
    EnsembleRows(
        TASKS["task2"], ANSWER_KIND["task2"], [], examples, folds_of(examples), recipe_of("paper")
    )  # learns nothing


def test_whole_queries_are_drawn_where_there_are_more_than_enough_rows() -> None:
    query = np.repeat(np.arange(40), np.arange(40) % 5 + 1)  # 120 rows
    for seed in range(5):
        chosen = sample_queries(query, 50, seed)
        assert 45 < chosen.sum() <= 50  # with one more query of at most 5 rows it would be over
        assert not set(query[chosen]) & set(query[~chosen])
    assert sample_queries(query, 120, 0).all()
    assert sample_queries(query, 50, 0).tolist() != sample_queries(query, 50, 1).tolist()
    assert sample_queries(np.array([7, 7, 7]), 2, 0).all()  # one query at least


def test_the_queries_that_are_drawn_do_not_depend_on_the_order_of_rows() -> None:
    query = np.repeat(np.arange(30), 3)
    order = np.random.default_rng(0).permutation(len(query))
    assert (
        sample_queries(query[order], 40, 1).tolist() == sample_queries(query, 40, 1)[order].tolist()
    )


def test_parts_are_whole_queries_of_equal_number_whatever_the_order() -> None:
    query = np.repeat(np.arange(20), [1, 5] * 10)
    part = split_queries(query, 5, seed=3)
    of_query = pd.Series(part).groupby(query).unique()
    assert (of_query.map(len) == 1).all()
    assert of_query.map(lambda each: each[0]).value_counts().tolist() == [4] * 5
    order = np.random.default_rng(0).permutation(len(query))
    assert split_queries(query[order], 5, seed=3).tolist() == part[order].tolist()
    assert split_queries(query, 5, seed=4).tolist() != part.tolist()


def test_rows_of_a_query_share_a_weight_that_grows_with_the_root_of_their_number() -> None:
    rows = pd.DataFrame({"query_id": [4, 7, 7, 7, 7]})
    weights = row_weights(TASKS["task2"], rows)
    mean = (1 + 4 * 4**-0.5) / 5
    assert weights.tolist() == pytest.approx([1 / mean, *[4**-0.5 / mean] * 4])
    assert weights.mean() == pytest.approx(1)
    assert (
        row_weights(TASKS["task1"], rows).tolist() == [1] * 5
    )  # the order within a query knows no query


def test_stackers_learn_labels_where_all_have_one_and_else_the_answers_of_task_3() -> None:
    rows = pd.DataFrame({"label": ["exact", "substitute", "irrelevant", None]})
    rows["substitute"] = pd.array([False, True, False, None], "boolean")
    assert [
        (codes.tolist(), n) for codes, n in (stacker_targets(TASKS[task], rows) for task in TASKS)
    ] == [([0, 1, 3, -1], 4)] * 3
    answered = rows.assign(substitute=pd.array([False, True, False, True], "boolean"))
    codes, classes = stacker_targets(TASKS["task3"], answered)
    assert (codes.tolist(), classes) == ([0, 1, 0, 1], 2)


def test_what_answers_a_task_of_four_classes_and_of_two() -> None:
    four = np.array([[0.5, 0.2, 0.2, 0.1]])
    assert task_outputs(TASKS["task1"], four).tolist() == [
        [pytest.approx(0.5 * 1 + 0.2 * 0.1 + 0.2 * 0.01)]
    ]
    assert task_outputs(TASKS["task2"], four).tolist() == four.tolist()
    assert task_outputs(TASKS["task3"], four).tolist() == [[0.2]]
    assert task_outputs(TASKS["task3"], np.array([[0.7, 0.3]])).tolist() == [[0.3]]
