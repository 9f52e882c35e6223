"""Errors, correlations and weighted kappa against scikit-learn and SciPy."""

import math
from typing import Any

import numpy as np
import pytest
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import cohen_kappa_score, mean_absolute_error, root_mean_squared_error

from competition.scoring import intervals
from competition.scoring.metric_table import Rows, find_metric
from competition.scoring.rating_metrics import correlation, spearman_per_query

NUMBERS = ("rmse", "mae", "pearson", "spearman")
LEVELS = ("linear-kappa", "quadratic-kappa")


def value(name: str, *columns: Any, **more: Any) -> float:
    """The value over all queries of query, truth and answer."""
    metric = find_metric(name)
    _, counts = metric.count(Rows(*columns, **more))
    return float(metric.statistic(counts.sum(0)))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_numbers_agree_with_scikit_learn_and_scipy(seed: int, offset: float) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.choice([1.0, 4 / 3, 2.0, 7 / 3, 3.0], 900)
    predicted = np.round(truth + rng.normal(0, 1, 900), 1) + offset
    query, weight = rng.integers(-50, 50, 900), rng.random(900)

    expected = {
        "rmse": root_mean_squared_error(truth, predicted),
        "mae": mean_absolute_error(truth, predicted),
        "pearson": pearsonr(truth, predicted).statistic,
        "spearman": spearmanr(truth, predicted).statistic,
    }
    found = {name: value(name, query, truth, predicted) for name in NUMBERS}
    # The last digits of an answer of a million are at 1e-10.
    assert found == pytest.approx(expected, rel=1e-12, abs=1e-12 if offset == 0 else 1e-10)

    assert value("rmse", query, truth, predicted, weight=weight) == pytest.approx(
        root_mean_squared_error(truth, predicted, sample_weight=weight), rel=1e-12
    )
    assert value("mae", query, truth, predicted, weight=weight) == pytest.approx(
        mean_absolute_error(truth, predicted, sample_weight=weight), rel=1e-12
    )


@pytest.mark.parametrize("levels", [2, 3, 4, 9])
@pytest.mark.parametrize("weighted", [False, True])
def test_kappa_agrees_with_scikit_learn(levels: int, weighted: bool) -> None:
    for seed in range(5):
        rng = np.random.default_rng(seed)
        truth = rng.integers(0, levels, 500)
        predicted = np.clip(truth + rng.integers(-1, 2, 500), 0, levels - 1)
        query, weight = rng.integers(0, 60, 500), rng.random(500) if weighted else None
        for name in LEVELS:
            expected = cohen_kappa_score(
                truth,
                predicted,
                labels=range(levels),
                weights=name.split("-")[0],
                sample_weight=weight,
            )
            found = value(name, query, truth, predicted, classes=levels, weight=weight)
            assert found == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", [*NUMBERS, *LEVELS])
def test_weights_are_repetitions(name: str) -> None:
    rng = np.random.default_rng(8)
    truth, predicted, times = rng.integers(0, 4, (3, 300))
    query = rng.integers(0, 20, 300)
    repeated = (np.repeat(column, times) for column in (query, truth, predicted))
    assert value(name, query, truth, predicted, classes=4, weight=times.astype(float)) == (
        pytest.approx(value(name, *repeated, classes=4), abs=1e-12)
    )


@pytest.mark.parametrize("name", ["rmse", "mae", "pearson", *LEVELS])
def test_sums_of_drawn_queries_have_the_value_of_their_rows(name: str) -> None:
    rng = np.random.default_rng(9)
    truth, predicted = rng.integers(0, 4, (2, 300))
    metric = find_metric(name)
    queries, counts = metric.count(Rows(np.arange(300) // 5, truth, predicted, 4))
    times = rng.integers(0, 3, len(queries))
    weight = np.repeat(times, 5).astype(float)
    assert float(metric.statistic(times @ counts)) == pytest.approx(
        value(name, np.arange(300) // 5, truth, predicted, classes=4, weight=weight), abs=1e-12
    )


@pytest.mark.parametrize("strength", [0.0, 0.5, 3.0])
def test_spearman_varies_over_resamples_as_it_does_when_rows_are_ranked_again(
    strength: float,
) -> None:
    rng = np.random.default_rng(10)
    truth = np.round(rng.normal(size=2_000), 1)
    predicted = np.round(strength * truth + rng.normal(size=2_000), 1)
    query = np.arange(2_000) // 10
    _, counts = spearman_per_query(query, truth, predicted)

    drawn = rng.integers(0, 200, (300, 200))
    times = np.array([np.bincount(one, minlength=200) for one in drawn])
    rows = [np.repeat(np.arange(2_000), one[query]) for one in times]
    exact = [spearmanr(truth[one], predicted[one]).statistic for one in rows]
    approximate = correlation(times @ counts)
    assert np.corrcoef(approximate, exact)[0, 1] > 0.99
    assert approximate.std() == pytest.approx(np.std(exact), rel=0.05)


@pytest.mark.parametrize("name", ["pearson", "spearman"])
def test_a_constant_answer_has_no_correlation_in_any_resample(name: str) -> None:
    metric = find_metric(name)
    truth = np.random.default_rng(11).random(100)
    _, counts = metric.count(Rows(np.arange(100), truth, np.full(100, 0.1)))
    estimate = intervals.bootstrap(counts, metric.statistic, within=metric.within)
    assert (estimate.value, estimate.low, estimate.high) == (0, 0, 0)


def test_kappa_by_hand_and_where_it_is_undefined() -> None:
    def kappa(name: str, truth: list[int], predicted: list[int]) -> float:
        return value(name, np.arange(len(truth)), np.array(truth), np.array(predicted), classes=3)

    # Distances 0, 1, 2; of all nine pairs of truth and answer: 0 1 2, 1 0 1 and 2 1 0.
    assert kappa("linear-kappa", [0, 1, 0], [0, 2, 2]) == pytest.approx(
        1 - (0 + 1 + 2) / ((2 * (0 + 2 + 2) + (1 + 1 + 1)) / 3)
    )
    assert kappa("quadratic-kappa", [0, 1, 2], [0, 1, 2]) == 1
    assert kappa("quadratic-kappa", [0, 2], [2, 0]) == -1
    assert kappa("quadratic-kappa", [0, 1, 2], [1, 1, 1]) == 0
    assert math.isnan(kappa("quadratic-kappa", [1, 1], [1, 1]))


@pytest.mark.parametrize("queries", [12, 300])
@pytest.mark.parametrize("name", [*NUMBERS, *LEVELS])
def test_the_bootstrap_has_the_plain_value_within_its_interval(name: str, queries: int) -> None:
    rng = np.random.default_rng(12)
    query = rng.permutation(np.repeat(np.arange(queries), 5))
    truth = rng.integers(0, 4, len(query))
    predicted = np.clip(truth + rng.integers(-1, 2, len(query)), 0, 3)
    metric = find_metric(name)
    _, counts = metric.count(Rows(query, truth, predicted, 4))
    estimate = intervals.bootstrap(counts, metric.statistic, within=metric.within)
    assert estimate.value == value(name, query, truth, predicted, classes=4)
    assert metric.least <= estimate.low < estimate.value < estimate.high <= metric.greatest
