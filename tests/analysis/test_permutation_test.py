"""Shuffled labels: what they keep, that honest fits score as chance on them, and that fits in-sample are caught."""

import numpy as np
import pandas as pd
import pytest

from competition.analysis import permutation_test
from competition.config.recipe import EnsembleRecipe
from competition.models.ensemble.crossfit import cross_fit
from competition.models.ensemble.members import EnsembleRows
from competition.scoring.contest import Found
from competition.scoring.definition import load_contest
from competition.scoring.task import Kind, Task
from tests.esci import ANSWER_KIND, CONTEST, KINDS, LABELS, TASKS, gains
from tests.models.ensemble.made import folds_of, make_examples, make_members, recipe_of

SHUFFLES = 2
TREES = [
    ("task1", "lightgbm"),
    ("task1", "lambdarank"),
    ("task2", "lightgbm"),
    ("task3", "lightgbm"),
]
CASES = [
    *TREES,
    ("task2", "logistic"),
]  # a regression with a prior learns too little of single rows to be caught by them


@pytest.fixture(scope="module")
def examples() -> pd.DataFrame:
    """100 training queries of 8 products."""
    return make_examples()


def labels(rows: pd.DataFrame) -> pd.Series:
    """The labels by example_id."""
    return rows.set_index("example_id")["label"].sort_index()


def trial(
    task: str, recipe: EnsembleRecipe, examples: pd.DataFrame
) -> permutation_test.PermutationTest:
    """The permutation test of an ensemble of three members that know the true labels well."""
    members, fold = make_members(task, examples), folds_of(examples)

    def refit(shuffled: pd.DataFrame) -> pd.DataFrame:
        fitted = cross_fit(TASKS[task], ANSWER_KIND[task], members, shuffled, fold, recipe)
        return pd.concat(fitted.held_out, ignore_index=True)

    return permutation_test.permutation_test(
        TASKS[task], ANSWER_KIND[task], examples, refit, SHUFFLES, 2, CONTEST.positives
    )


# --- shuffling
# ---------------------------------------------------------------------------------------------------


def test_labels_are_shuffled_within_the_query_for_ranking(examples: pd.DataFrame) -> None:
    shuffled = permutation_test.shuffle_labels(TASKS["task1"], examples, seed=1)
    assert (shuffled["label"] != examples["label"]).mean() > 0.2
    of_query = [rows.groupby(["query_id", "label"]).size() for rows in (examples, shuffled)]
    pd.testing.assert_series_equal(*of_query)


@pytest.mark.parametrize("task", ["task2", "task3"])
def test_labels_are_shuffled_over_all_rows_for_classes(task: str, examples: pd.DataFrame) -> None:
    shuffled = permutation_test.shuffle_labels(TASKS[task], examples, 1, CONTEST.positives)
    train = examples["split"] == "train"
    counts = [rows.loc[train, "label"].value_counts().sort_index() for rows in (examples, shuffled)]
    pd.testing.assert_series_equal(*counts)
    of_query = [
        rows.groupby("query_id")["label"].agg(lambda each: tuple(sorted(each)))
        for rows in (examples, shuffled)
    ]
    assert (of_query[0] != of_query[1]).mean() > 0.5
    assert (
        shuffled["substitute"] == (shuffled["label"] == "substitute")
    ).all()  # the two go together


@pytest.mark.parametrize("task", TASKS)
def test_test_rows_keep_their_labels(task: str, examples: pd.DataFrame) -> None:
    test = examples["split"] == "test"
    shuffled = permutation_test.shuffle_labels(TASKS[task], examples, seed=1)
    assert (shuffled.loc[test, "label"] == examples.loc[test, "label"]).all()


def test_rows_of_a_task_and_others_keep_their_labels_apart(examples: pd.DataFrame) -> None:
    inside = examples.assign(task2=examples["query_id"] % 2 == 0)
    shuffled = permutation_test.shuffle_labels(TASKS["task2"], inside, seed=1)
    train = inside["split"] == "train"
    for part in (inside["task2"], ~inside["task2"]):
        counts = [
            rows.loc[train & part, "label"].value_counts().sort_index()
            for rows in (inside, shuffled)
        ]
        pd.testing.assert_series_equal(*counts)


@pytest.mark.parametrize("task", TASKS)
def test_the_order_of_rows_changes_no_shuffle(task: str, examples: pd.DataFrame) -> None:
    mixed = examples.sample(frac=1, random_state=3)
    one, other = (
        permutation_test.shuffle_labels(TASKS[task], rows, seed=1) for rows in (examples, mixed)
    )
    pd.testing.assert_series_equal(labels(one), labels(other))
    assert (
        labels(one) != labels(permutation_test.shuffle_labels(TASKS[task], examples, seed=2))
    ).any()


# --- the test
# ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(("task", "method"), CASES)
def test_a_cross_fitted_stacker_scores_as_chance(
    task: str, method: str, examples: pd.DataFrame
) -> None:
    found = trial(task, recipe_of(method, thresholds="micro-F1"), examples)
    assert found.passed, found


@pytest.mark.slow
@pytest.mark.parametrize(("task", "method"), TREES[:3])  # task 3 is caught as task 2 is
def test_a_stacker_fitted_on_the_rows_that_it_scores_is_caught(
    task: str, method: str, examples: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    graded = EnsembleRows.graded_outside
    monkeypatch.setattr(
        EnsembleRows, "graded_outside", lambda rows, *without: graded(rows)
    )  # every row, whatever is held out
    found = trial(
        task, recipe_of(method, n_estimators=10, num_leaves=15, learning_rate=0.3), examples
    )
    assert not found.passed, found
    assert found.significant, found
    assert found.above_chance.value > found.detectable, found


def test_chance_of_ranking_is_a_random_order_and_of_classes_the_same_answers_at_random() -> None:
    """Two queries of two rows. All answers are `exact`, and two of four labels are: half are right by chance."""
    rows = pd.DataFrame(
        {"example_id": [1, 2, 3, 4], "query_id": [1, 1, 2, 2], "product_id": list("abcd")}
    )
    rows = rows.assign(locale="us", split="train", task1=True, task2=True, task3=True)
    rows["label"] = ["exact", "irrelevant", "exact", "irrelevant"]
    rows["substitute"] = pd.array([False] * 4, "boolean")
    outputs = pd.DataFrame({"example_id": [1, 2, 3, 4], "p_exact": 1.0})
    outputs = outputs.assign(p_substitute=0.0, p_complement=0.0, p_irrelevant=0.0)
    found = permutation_test.permutation_test(
        TASKS["task2"], KINDS["classes"], rows, lambda shuffled: outputs, shuffles=4
    )
    assert found.score.value == 2 / 4
    assert found.above_chance.value == 0
    assert not found.conclusive
    # A list of gains 1 and 0 has the nDCG 1 in the better order, 1 / log2(3) in the other.
    gains = pd.DataFrame({"example_id": [1, 2, 3, 4], "gain": 0.0})
    found = permutation_test.permutation_test(
        TASKS["task1"], KINDS["gain"], rows, lambda shuffled: gains, shuffles=4
    )
    chance = (1 + 1 / np.log2(3)) / 2
    assert found.score.value - found.above_chance.value == pytest.approx(chance)


def test_bad_luck_is_tried_once_more_on_fresh_shuffles() -> None:
    """The first shuffle is answered as if its labels were known, later ones as if all were exact."""
    rows = make_examples(40, 0)
    shuffles: list[pd.DataFrame] = []

    def refit(shuffled: pd.DataFrame) -> pd.DataFrame:
        shuffles.append(shuffled)
        told = shuffled["label"] if len(shuffles) <= lucky else "exact"
        return rows[["example_id"]].assign(
            **{f"p_{label}": np.where(told == label, 1.0, 0.0) for label in LABELS}
        )

    lucky = 1
    assert permutation_test.permutation_test(
        TASKS["task2"], KINDS["classes"], rows, refit, shuffles=1
    ).passed
    assert len(shuffles) == 2
    assert (labels(shuffles[0]) != labels(shuffles[1])).any()
    lucky = 4
    assert not permutation_test.permutation_test(
        TASKS["task2"], KINDS["classes"], rows, refit, shuffles=1
    ).passed


def ranking(depths: list[int], seed: int) -> pd.DataFrame:
    """Queries with so many products each, all of task 1, of random labels."""
    rng = np.random.default_rng(seed)
    query = np.repeat(np.arange(len(depths)), depths)
    label = rng.choice(LABELS, len(query), p=[0.5, 0.25, 0.05, 0.2])
    rows = pd.DataFrame(
        {"example_id": np.arange(len(query)), "query_id": query, "query": "q", "label": label}
    )
    rows = rows.assign(
        product_id=[f"P{i:05}" for i in range(len(query))], locale="us", split="train"
    )
    rows["substitute"] = pd.array(label == "substitute", "boolean")
    return rows.assign(task1=True, task2=True, task3=True)


def rank(rows: pd.DataFrame, leak: float, seed: int) -> permutation_test.PermutationTest:
    """The test of scores that know so much of the gains of the labels, however these are shuffled."""
    noise = np.random.default_rng([seed, 1]).normal(size=len(rows))

    def refit(shuffled: pd.DataFrame) -> pd.DataFrame:
        return shuffled[["example_id"]].assign(gain=noise + leak * gains(shuffled["label"]))

    return permutation_test.permutation_test(TASKS["task1"], KINDS["gain"], rows, refit, 2, seed)


@pytest.mark.parametrize("deep", [1, 2, 3])
def test_few_queries_cannot_say(deep: int) -> None:
    found = rank(ranking([12] * deep, 0), leak=0.0, seed=deep)
    assert not found.conclusive
    assert found.passed
    assert np.isnan(found.detectable)
    assert found.above_chance.queries <= deep


@pytest.mark.parametrize("deep", [1, 10, 25])
def test_honest_scores_raise_no_alarm(deep: int) -> None:
    """Nominal is 1 in 2,000; `benchmarks/leaks.py` counts them."""
    alarms = [
        rank(ranking([12] * deep + [3] * 20, seed), leak=0.0, seed=seed).significant
        for seed in range(100, 110)
    ]
    assert not any(alarms)


def test_a_score_below_chance_is_no_leak() -> None:
    found = rank(ranking([12] * 40, 0), leak=-2.0, seed=0)
    assert found.above_chance.high < 0
    assert found.passed


def test_a_small_leak_is_seen_and_what_could_be_seen_is_said() -> None:
    found = rank(ranking([12] * 200, 0), leak=0.25, seed=0)
    assert found.significant
    assert 0.01 < found.detectable < 0.03
    assert found.above_chance.value > found.detectable


def test_there_are_as_many_shuffles_as_a_small_leak_takes() -> None:
    rows = ranking([12] * 100, 0)
    seen = []

    def refit(shuffled: pd.DataFrame) -> pd.DataFrame:
        seen.append(shuffled)
        return shuffled[["example_id"]].assign(gain=0.5)

    found = permutation_test.permutation_test(TASKS["task1"], KINDS["gain"], rows, refit)
    assert len(seen) == found.shuffles == permutation_test.MOST_SHUFFLES
    assert found.detectable > permutation_test.TARGET_LEAK


# --- counts
# ------------------------------------------------------------------------------------------------------


def test_a_pair_that_is_judged_twice_is_counted() -> None:
    rows = pd.DataFrame(
        {
            "query": ["Red Shoe", "red shoe", "red shoe", "red shoe"],
            "product_id": ["a", "a", "b", "a"],
        }
    )
    rows = rows.assign(locale=["us", "us", "us", "es"], split="train")
    assert permutation_test.count_repeated_pairs(rows) == 1
    assert (
        permutation_test.count_repeated_pairs(
            rows.assign(split=["train", "test", "train", "train"])
        )
        == 0
    )


def rated(seed: int) -> tuple[Task, Kind, pd.DataFrame]:
    """A task that rates, its kind of prediction, and 60 queries of five rows with random grades."""
    contest = load_contest("ratings").completed(Found(("0", "1", "2", "3"), fields=("title",)))
    rng = np.random.default_rng(seed)
    rows = pd.DataFrame({"example_id": np.arange(300), "query_id": np.arange(300) // 5})
    rows = rows.assign(
        query=rows["query_id"].astype("str"), locale="", split="train", ranking=True, rating=True,
        product_id=rows["example_id"].astype("str"), label=rng.integers(0, 4, 300).astype("str"),
    )  # fmt: skip
    return contest.tasks["rating"], contest.kinds["rating"], rows


@pytest.mark.parametrize(("leak", "passed"), [(0.0, True), (1.0, False)])
def test_a_leak_into_ratings_is_a_correlation_with_shuffled_labels(
    leak: float, passed: bool
) -> None:
    task, kind, rows = rated(3)
    noise = np.random.default_rng(4).random(300)

    def refit(shuffled: pd.DataFrame) -> pd.DataFrame:
        rating = noise + leak * shuffled["label"].astype(float)
        return shuffled[["example_id"]].assign(rating=rating)

    result = permutation_test.permutation_test(task, kind, rows, refit, shuffles=4)
    assert result.passed is passed
    assert result.chance == "no correlation"
    # Grades 0 to 3 have the variance 15 / 12, the noise 1 / 12.
    expected = np.sqrt(15 / 16) if leak else 0.0
    assert result.above_chance.value == pytest.approx(expected, abs=0.06)
