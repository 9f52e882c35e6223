"""The interval of a paired difference that covers queries and trainings."""

import numpy as np
import pytest

from benchmarks.comparisons import simulate
from competition.core.arrays import Array
from competition.scoring import metrics
from competition.scoring.comparison import compare_seeds

QUIET = {"queries": 200, "single": 0.03}


def counts(values: Array) -> Array:
    """What queries of these scores add to their mean."""
    return np.column_stack([values, np.ones(len(values))])


@pytest.mark.parametrize("seeds", [1, 2])
def test_runs_that_differ_by_their_seed_get_few_verdicts(seeds: int) -> None:
    rng = np.random.default_rng(1)
    results = [simulate(rng, seeds, training=0.006, **QUIET) for _ in range(200)]
    assert sum(each.differs for each in results) <= 0.05 * 200
    # Queries alone would find differences that are none.
    assert sum(each.over_queries.differs for each in results) > 0.15 * 200


def test_a_planted_difference_is_found() -> None:
    rng = np.random.default_rng(2)
    results = [
        simulate(rng, 1, training=0.006, effect=0.02, recipe=0.02, **QUIET) for _ in range(100)
    ]
    assert sum(each.differs and each.difference.value > 0 for each in results) >= 80


def test_folds_give_students_interval_where_trainings_vary_most() -> None:
    # All queries of a fold share one difference, so that the folds are five values.
    of_folds = np.array([0.1, 0.2, 0.0, 0.3, 0.4])
    fold = np.repeat(np.arange(5), 20)
    result = compare_seeds(
        [counts(0.5 + of_folds[fold])], [counts(np.full(100, 0.5))], fold, metrics.mean
    )
    # t of 4 degrees of freedom at 97.5 %, times the standard error of a mean of five.
    reach = 2.7764451 * np.std(of_folds, ddof=1) / 5**0.5
    assert result.noise == "folds"
    assert result.difference.value == pytest.approx(0.2)
    assert result.difference.low == pytest.approx(0.2 - reach, abs=1e-6)
    assert result.difference.high == pytest.approx(0.2 + reach, abs=1e-6)
    assert result.difference.low < result.over_queries.low


def test_seeds_give_the_variance_between_trainings() -> None:
    rng = np.random.default_rng(3)
    queries, fold = 5_000, np.arange(5_000) % 5
    base = rng.normal(0, 0.1, queries)
    shared = rng.normal(0, 0.01, (8, 5))
    runs = [counts(base + each[fold]) for each in shared]
    result = compare_seeds(runs[:4], runs[4:], fold, metrics.mean)

    # Nothing a training does is of a single query: the variance of the mean of 4 x 5 trainings of each recipe.
    of_each = [
        shared[:4].var(axis=0, ddof=1).mean() / 20,
        shared[4:].var(axis=0, ddof=1).mean() / 20,
    ]
    assert result.noise == "seeds"
    assert result.seed_error == pytest.approx(sum(of_each) ** 0.5, rel=0.01)


def test_what_cannot_be_told_has_no_interval() -> None:
    rng = np.random.default_rng(4)
    values = [counts(rng.random(40)), counts(rng.random(40))]
    one_fold = compare_seeds(values[:1], values[1:], np.zeros(40, np.int64), metrics.mean)
    assert not one_fold.difference.has_interval
    assert one_fold.over_queries.has_interval

    few = [each[:9] for each in values]
    assert not compare_seeds(few[:1], few[1:], np.arange(9) % 5, metrics.mean).differs
    same = compare_seeds(values[:1], values[:1], np.arange(40) % 5, metrics.mean)
    assert not same.differs
    assert same.difference.low == same.difference.high == 0


def test_statistics_that_are_no_means_are_compared_too() -> None:
    rng = np.random.default_rng(5)
    query, truth = np.arange(600) // 2, rng.integers(0, 3, 600)
    right = [np.where(rng.random(600) < share, truth, 0) for share in (0.8, 0.5)]
    ours, others = (metrics.confusion_per_query(query, truth, each, 3)[1] for each in right)
    result = compare_seeds([ours], [others], np.arange(300) % 5, metrics.macro_f1)
    expected = metrics.macro_f1(ours.sum(axis=0)) - metrics.macro_f1(others.sum(axis=0))
    assert result.difference.value == pytest.approx(expected)
    assert result.differs
