"""Gains and numbers of labels."""

import numpy as np
import pandas as pd
import pytest

from competition.scoring.labels import PAPER, Labels, number_text
from tests.esci import CONTEST


def test_expected_gain_weighs_every_class() -> None:
    probabilities = np.array([[0.49, 0.51, 0.0, 0.0], [0.2, 0.3, 0.1, 0.4]])
    assert CONTEST.labels.expected_gain(probabilities).tolist() == pytest.approx(
        [0.49 * 1 + 0.51 * 0.1, 0.2 * 1 + 0.3 * 0.1 + 0.1 * 0.01]
    )


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


def test_unknown_and_missing_labels_have_no_code_no_gain_and_no_number() -> None:
    labels = Labels(("bad", "good"), (1.0, 5.0), gains={PAPER: (0.0, 1.0)})
    given = ["good", None, "bad", "other", "good"]
    for column in (
        pd.Series(given),
        pd.Series(given, dtype="string"),
        pd.Series(given, dtype="category"),
    ):
        assert labels.codes(column).tolist() == [1, -1, 0, -1, 1]
        np.testing.assert_array_equal(labels.gain(column), [1.0, np.nan, 0.0, np.nan, 1.0])
        np.testing.assert_array_equal(labels.numbers(column), [5.0, np.nan, 1.0, np.nan, 5.0])
    assert labels.codes(pd.Series([], dtype=object)).tolist() == []
