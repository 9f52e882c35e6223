"""Labels, kinds of prediction and targets of a contest."""

import numpy as np
import pandas as pd
import pytest

from competition.core.errors import InputError
from competition.scoring.contest import Found, Labels, number_text
from competition.scoring.definition import load_contest
from tests.esci import CONTEST, KINDS, LABELS, TASKS

EXAMPLES = pd.DataFrame(
    {
        "label": ["exact", "irrelevant", None],
        "substitute": pd.array([False, False, True], "boolean"),
    }
)


def test_expected_gain_weighs_every_class() -> None:
    probabilities = np.array([[0.49, 0.51, 0.0, 0.0], [0.2, 0.3, 0.1, 0.4]])
    assert CONTEST.labels.expected_gain(probabilities).tolist() == pytest.approx(
        [0.49 * 1 + 0.51 * 0.1, 0.2 * 1 + 0.3 * 0.1 + 0.1 * 0.01]
    )


def test_targets_and_truth() -> None:
    np.testing.assert_array_equal(KINDS["classes"].numeric_target(EXAMPLES), [0, 3, np.nan])
    np.testing.assert_array_equal(KINDS["gain"].numeric_target(EXAMPLES), [1.0, 0.0, np.nan])
    np.testing.assert_array_equal(KINDS["substitute"].numeric_target(EXAMPLES), [0, 0, 1])
    assert TASKS["task2"].truth(EXAMPLES).tolist() == [0, 3, -1]
    assert TASKS["task3"].truth(EXAMPLES).tolist() == [0, 0, 1]


def test_hard_targets_are_distributions_or_numbers() -> None:
    known = EXAMPLES.iloc[:2]
    assert KINDS["classes"].hard_target(known).tolist() == [[1, 0, 0, 0], [0, 0, 0, 1]]
    assert KINDS["gain"].hard_target(known).tolist() == [[1.0], [0.0]]
    assert KINDS["substitute"].hard_target(known).tolist() == [[1, 0], [1, 0]]


def test_probabilities_of_all_labels_become_the_target_of_each_kind() -> None:
    probabilities = np.array([[0.5, 0.3, 0.2, 0.0]])
    gain = KINDS["gain"].targets_from_classes(probabilities)
    np.testing.assert_allclose(gain, [[0.5 * 1 + 0.3 * 0.1 + 0.2 * 0.01]])
    positive = KINDS["substitute"].targets_from_classes(probabilities)
    np.testing.assert_allclose(positive, [[0.7, 0.3]])


def test_esci_has_the_columns_of_its_files() -> None:
    assert CONTEST.example_columns == (
        "example_id", "query_id", "query", "locale", "product_id", "label", "substitute", "split",
        "task1", "task2", "task3",
    )  # fmt: skip
    assert CONTEST.product_columns[:3] == ("locale", "product_id", "title")
    assert list(KINDS) == ["classes", "gain", "substitute", "score"]
    assert KINDS["classes"].outputs == tuple(f"p_{label}" for label in LABELS)
    assert [CONTEST.answer_kind(name).name for name in TASKS] == ["score", "classes", "substitute"]


def test_ratings_are_learned_in_0_to_1_and_answered_in_their_own_unit() -> None:
    contest = load_contest("ratings").completed(Found(("1", "2", "4"), fields=("title",)))
    kind = contest.kinds["rating"]
    rows = pd.DataFrame({"label": ["1", "2", "4", None]})
    # (2 - 1) / (4 - 1)
    np.testing.assert_allclose(kind.numeric_target(rows), [0, 1 / 3, 1, np.nan])
    np.testing.assert_allclose(kind.from_unit(np.array([0.0, 1 / 3, 1.0])), [1, 2, 4])
    np.testing.assert_allclose(contest.labels.gain(rows["label"]), [1 / 15, 3 / 15, 1, np.nan])


def test_numbers_of_a_range_have_gains_between_0_and_1() -> None:
    labels = Labels((), lowest=1.0, highest=3.0)
    np.testing.assert_allclose(labels.gain(pd.Series(["1", "2.33", "3"])), [0, 1.33 / 2, 1])
    steep = Labels((), lowest=0.0, highest=2.0, exponential=True)
    # (2^1 - 1) / (2^2 - 1)
    np.testing.assert_allclose(steep.gain(pd.Series(["0", "1", "2"])), [0, 1 / 3, 1])


@pytest.mark.parametrize(
    ("value", "text"), [(3.0, "3"), (2.33, "2.33"), (-1.0, "-1"), (0.5, "0.5")]
)
def test_a_number_is_one_label_however_it_is_written(value: float, text: str) -> None:
    assert number_text(value) == text


def test_what_the_contest_lacks_is_refused_by_name() -> None:
    with pytest.raises(InputError, match=r"no task 'task4' \(did you mean 'task"):
        CONTEST.task("task4")
    with pytest.raises(InputError, match="no kind 'rating' of prediction: it has classes, gain"):
        CONTEST.kind("rating")
    assert CONTEST.split_run("blend-task1") == ("blend", "task1")
    assert CONTEST.split_run("blend-task9") == ("blend-task9", "")


@pytest.mark.parametrize(
    ("role", "name"), [("rank", "task1"), ("classify", "task2"), ("positive", "task3")]
)
def test_a_role_is_taken_by_the_first_task_that_fits(role: str, name: str) -> None:
    task = CONTEST.representative(role)
    assert task is not None
    assert task.name == name


def test_a_contest_without_the_role_has_nobody_for_it() -> None:
    assert load_contest("ratings").representative("positive") is None
