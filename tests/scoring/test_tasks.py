"""From outputs to answers."""

import numpy as np
import pandas as pd
import pytest

from competition.scoring.answers import answers
from tests.esci import KINDS, LABELS, TASKS

OUTPUTS = pd.DataFrame(
    {
        "example_id": [1, 2],
        "p_exact": [0.49, 0.2],
        "p_substitute": [0.51, 0.3],
        "p_complement": [0.0, 0.1],
        "p_irrelevant": [0.0, 0.4],
    }
)


def test_expected_gain_weighs_every_class() -> None:
    values = OUTPUTS[list(KINDS["classes"].outputs)].to_numpy()
    assert expected_gain(values).tolist() == pytest.approx(
        [0.49 * 1 + 0.51 * 0.1, 0.2 * 1 + 0.3 * 0.1 + 0.1 * 0.01]
    )


def test_four_classes_answer_every_task() -> None:
    assert answers(TASKS["task1"], "classes", OUTPUTS).tolist() == pytest.approx([0.541, 0.231])
    assert answers(TASKS["task2"], "classes", OUTPUTS).tolist() == [
        LABELS.index("substitute"),
        LABELS.index("irrelevant"),
    ]
    assert answers(TASKS["task3"], "classes", OUTPUTS).tolist() == [1, 0]


def test_a_regressor_answers_ranking_alone() -> None:
    outputs = pd.DataFrame({"example_id": [1], "gain": [0.7]})
    assert answers(TASKS["task1"], "gain", outputs).tolist() == [0.7]
    with pytest.raises(ValueError, match="do not answer task2"):
        answers(TASKS["task2"], "gain", outputs)


def test_targets_and_truth() -> None:
    examples = pd.DataFrame(
        {
            "label": ["exact", "irrelevant", None],
            "substitute": pd.array([False, False, True], "boolean"),
        }
    )
    np.testing.assert_array_equal(numeric_target("classes", examples), [0, 3, np.nan])
    np.testing.assert_array_equal(numeric_target("gain", examples), [1.0, 0.0, np.nan])
    np.testing.assert_array_equal(numeric_target("substitute", examples), [0, 0, 1])
    assert TASKS["task2"].truth(examples).tolist() == [0, 3, -1]
