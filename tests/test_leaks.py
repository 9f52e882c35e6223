"""Shuffled labels: what they keep, that honest fits score as chance on them, and that fits in-sample are caught."""

import numpy as np
import pandas as pd
import pytest

from competition import leaks
from competition.ensemble.crossfit import cross_fit
from competition.ensemble.rows import Rows
from competition.recipe import EnsembleRecipe
from competition.tasks import ANSWER_KIND, LABELS, TASKS
from tests.ensemble.made import folds_of, make_examples, make_members, recipe_of

SHUFFLES = 2
CASES = [
    ("task1", "lightgbm"),
    ("task1", "lambdarank"),
    ("task2", "lightgbm"),
    ("task3", "lightgbm"),
    ("task2", "logistic"),
]


@pytest.fixture(scope="module")
def examples() -> pd.DataFrame:
    """100 training queries of 8 products."""
    return make_examples()


def labels(rows: pd.DataFrame) -> pd.Series:
    """The labels by example_id."""
    return rows.set_index("example_id")["label"].sort_index()


def trial(task: str, recipe: EnsembleRecipe, examples: pd.DataFrame) -> leaks.Trial:
    """The permutation test of an ensemble of three members that know the true labels well."""
    members, fold = make_members(task, examples), folds_of(examples)

    def refit(shuffled: pd.DataFrame) -> pd.DataFrame:
        fitted = cross_fit(TASKS[task], members, shuffled, fold, recipe)
        return pd.concat(fitted.held_out, ignore_index=True)

    return leaks.permutation_test(TASKS[task], ANSWER_KIND[task], examples, refit, SHUFFLES, seed=2)


# --- shuffling ---------------------------------------------------------------------------------------------------


def test_labels_are_shuffled_within_the_query_for_ranking(examples: pd.DataFrame) -> None:
    shuffled = leaks.shuffle_labels(TASKS["task1"], examples, seed=1)
    assert (shuffled["label"] != examples["label"]).mean() > 0.2
    of_query = [rows.groupby(["query_id", "label"]).size() for rows in (examples, shuffled)]
    pd.testing.assert_series_equal(*of_query)


@pytest.mark.parametrize("task", ["task2", "task3"])
def test_labels_are_shuffled_over_all_rows_for_classes(task: str, examples: pd.DataFrame) -> None:
    shuffled = leaks.shuffle_labels(TASKS[task], examples, seed=1)
    train = examples["split"] == "train"
    counts = [rows.loc[train, "label"].value_counts().sort_index() for rows in (examples, shuffled)]
    pd.testing.assert_series_equal(*counts)
    of_query = [
        rows.groupby("query_id")["label"].agg(lambda each: tuple(sorted(each))) for rows in (examples, shuffled)
    ]
    assert (of_query[0] != of_query[1]).mean() > 0.5
    assert (shuffled["substitute"] == (shuffled["label"] == "substitute")).all()  # the two go together


@pytest.mark.parametrize("task", TASKS)
def test_test_rows_keep_their_labels(task: str, examples: pd.DataFrame) -> None:
    test = examples["split"] == "test"
    shuffled = leaks.shuffle_labels(TASKS[task], examples, seed=1)
    assert (shuffled.loc[test, "label"] == examples.loc[test, "label"]).all()


def test_rows_of_a_task_and_others_keep_their_labels_apart(examples: pd.DataFrame) -> None:
    inside = examples.assign(task2=examples["query_id"] % 2 == 0)
    shuffled = leaks.shuffle_labels(TASKS["task2"], inside, seed=1)
    train = inside["split"] == "train"
    for part in (inside["task2"], ~inside["task2"]):
        counts = [rows.loc[train & part, "label"].value_counts().sort_index() for rows in (inside, shuffled)]
        pd.testing.assert_series_equal(*counts)


@pytest.mark.parametrize("task", TASKS)
def test_the_order_of_rows_changes_no_shuffle(task: str, examples: pd.DataFrame) -> None:
    mixed = examples.sample(frac=1, random_state=3)
    one, other = (leaks.shuffle_labels(TASKS[task], rows, seed=1) for rows in (examples, mixed))
    pd.testing.assert_series_equal(labels(one), labels(other))
    assert (labels(one) != labels(leaks.shuffle_labels(TASKS[task], examples, seed=2))).any()


# --- the test ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("task", "method"), CASES)
def test_a_cross_fitted_stacker_scores_as_chance(task: str, method: str, examples: pd.DataFrame) -> None:
    found = trial(task, recipe_of(method, thresholds="micro-F1"), examples)
    assert found.passed, found


@pytest.mark.parametrize(("task", "method"), CASES)
def test_a_stacker_fitted_on_the_rows_that_it_scores_is_caught(
    task: str, method: str, examples: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    graded = Rows.learned
    monkeypatch.setattr(Rows, "learned", lambda rows, *without: graded(rows))  # every row, whatever is held out
    found = trial(task, recipe_of(method, trees=60, leaves=15), examples)
    assert not found.passed and found.above_chance.low > 0, found


def test_chance_of_ranking_is_a_random_order_and_of_classes_the_same_answers_at_random() -> None:
    """Two queries of two rows. All answers are `exact`, and two of four labels are: half are right by chance."""
    rows = pd.DataFrame({"example_id": [1, 2, 3, 4], "query_id": [1, 1, 2, 2], "product_id": list("abcd")})
    rows = rows.assign(locale="us", split="train", task1=True, task2=True, task3=True)
    rows["label"] = ["exact", "irrelevant", "exact", "irrelevant"]
    rows["substitute"] = pd.array([False] * 4, "boolean")
    outputs = pd.DataFrame({"example_id": [1, 2, 3, 4], "p_exact": 1.0})
    outputs = outputs.assign(p_substitute=0.0, p_complement=0.0, p_irrelevant=0.0)
    found = leaks.permutation_test(TASKS["task2"], "classes", rows, lambda shuffled: outputs, shuffles=4)
    assert found.score.value == 2 / 4 and found.above_chance.value == 0 and found.passed
    # A list of gains 1 and 0 has the nDCG 1 in the better order, 1 / log2(3) in the other.
    gains = pd.DataFrame({"example_id": [1, 2, 3, 4], "gain": 0.0})
    found = leaks.permutation_test(TASKS["task1"], "gain", rows, lambda shuffled: gains, shuffles=4)
    chance = (1 + 1 / np.log2(3)) / 2
    assert found.score.value - found.above_chance.value == pytest.approx(chance)


def test_bad_luck_is_tried_once_more_on_fresh_shuffles() -> None:
    """The first shuffle is answered as if its labels were known, later ones as if all were exact."""
    rows = make_examples(40, 0)
    shuffles: list[pd.DataFrame] = []

    def refit(shuffled: pd.DataFrame) -> pd.DataFrame:
        shuffles.append(shuffled)
        told = shuffled["label"] if len(shuffles) <= lucky else "exact"
        return rows[["example_id"]].assign(**{f"p_{label}": np.where(told == label, 1.0, 0.0) for label in LABELS})

    lucky = 1
    assert leaks.permutation_test(TASKS["task2"], "classes", rows, refit, shuffles=1).passed
    assert len(shuffles) == 2 and (labels(shuffles[0]) != labels(shuffles[1])).any()
    lucky = 4
    assert not leaks.permutation_test(TASKS["task2"], "classes", rows, refit, shuffles=1).passed


# --- counts ------------------------------------------------------------------------------------------------------


def test_a_pair_that_is_judged_twice_is_counted() -> None:
    rows = pd.DataFrame({"query": ["Red Shoe", "red shoe", "red shoe", "red shoe"], "product_id": ["a", "a", "b", "a"]})
    rows = rows.assign(locale=["us", "us", "us", "es"], split="train")
    assert leaks.repeated_pairs(rows) == 1
    assert leaks.repeated_pairs(rows.assign(split=["train", "test", "train", "train"])) == 0
