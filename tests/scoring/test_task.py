"""Targets and truths of kinds and tasks."""

import numpy as np
import pandas as pd

from competition.scoring.contest import Found
from competition.scoring.definition import load_contest
from tests.esci import KINDS, TASKS

EXAMPLES = pd.DataFrame(
    {
        "label": ["exact", "irrelevant", None],
        "substitute": pd.array([False, False, True], "boolean"),
    }
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


def test_ratings_are_learned_in_0_to_1_and_answered_in_their_own_unit() -> None:
    contest = load_contest("ratings").completed(Found(("1", "2", "4"), fields=("title",)))
    kind = contest.kinds["rating"]
    rows = pd.DataFrame({"label": ["1", "2", "4", None]})
    # (2 - 1) / (4 - 1)
    np.testing.assert_allclose(kind.numeric_target(rows), [0, 1 / 3, 1, np.nan])
    np.testing.assert_allclose(kind.from_unit(np.array([0.0, 1 / 3, 1.0])), [1, 2, 4])
    np.testing.assert_allclose(contest.labels.gain(rows["label"]), [1 / 15, 3 / 15, 1, np.nan])
