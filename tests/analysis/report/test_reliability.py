"""Arithmetic on answers, with small numbers."""

import numpy as np
import pandas as pd
import pytest

from competition.analysis.report.reliability import (
    agreement,
    confusion_matrix,
    disagreement,
    ranked,
    reliability,
)


def test_bins_hold_equally_many_rows_by_expected_value() -> None:
    expected = np.array([0.9, 0.1, 0.3, 0.7])
    observed = np.array([1.0, 0.0, 1.0, 1.0])
    bins = reliability(expected, observed, bins=2)
    assert bins.expected.tolist() == [(0.1 + 0.3) / 2, (0.9 + 0.7) / 2]
    assert bins.observed.tolist() == [1 / 2, 2 / 2]
    assert bins.rows.tolist() == [2, 2]
    assert np.isclose(bins.error, (2 * (0.5 - 0.2) + 2 * (1 - 0.8)) / 4)


@pytest.mark.parametrize("distinct", [2, 7, 10_000])
def test_bins_part_rows_as_a_stable_sort_does(distinct: int) -> None:
    rng = np.random.default_rng(distinct)
    expected = rng.integers(0, distinct, 1_003) / distinct
    observed = rng.random(1_003)
    bins = reliability(expected, observed)
    parts = np.array_split(np.argsort(expected, kind="stable"), 10)
    assert bins.rows.tolist() == [len(part) for part in parts]
    assert np.allclose(bins.expected, [expected[part].mean() for part in parts], atol=1e-14)
    assert np.allclose(bins.observed, [observed[part].mean() for part in parts], atol=1e-14)


def test_few_rows_have_few_bins() -> None:
    bins = reliability(np.array([0.5]), np.array([1.0]))
    assert bins.rows.tolist() == [1]
    assert np.isclose(bins.error, 0.5)


def test_confusion_has_labels_by_answers() -> None:
    truth, predicted = np.array([0, 0, 1, 2]), np.array([0, 2, 1, 0])
    assert confusion_matrix(truth, predicted, 3).tolist() == [[1, 0, 1], [0, 1, 0], [1, 0, 0]]


def test_disagreement_counts_different_answers() -> None:
    answers = {"a": np.array([0, 1, 1, 0]), "b": np.array([0, 1, 0, 1])}
    assert disagreement(answers).tolist() == [[0, 2 / 4], [2 / 4, 0]]
    truth = np.array([0, 0, 1, 2])
    assert agreement(answers, truth) == (
        1 / 4,
        2 / 4,
    )  # all right on the first; none on the second and the fourth


def test_products_are_ranked_by_score_then_by_id() -> None:
    rows = pd.DataFrame({"query_id": [7, 7, 3, 3], "product_id": ["b", "a", "x", "y"]})
    best_first = ranked(rows, np.array([1.0, 1.0, 0.2, 0.4]))
    assert best_first["product_id"].tolist() == ["y", "x", "a", "b"]
