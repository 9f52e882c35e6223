"""Intervals against standard errors, percentiles and Student's quantiles, and how often they hold the truth."""

import math

import numpy as np
import pytest

from benchmarks import coverage
from competition.scoring import intervals, metrics


def test_interval_of_a_mean_is_that_of_its_standard_error() -> None:
    values = np.random.default_rng(1).normal(0.8, 0.1, 400)
    estimate = intervals.bootstrap(np.column_stack([values, np.ones(400)]), metrics.mean)
    half = 1.96 * values.std() / math.sqrt(400)
    assert estimate.value == pytest.approx(values.mean())
    assert estimate.low == pytest.approx(values.mean() - half, abs=0.25 * half)
    assert estimate.high == pytest.approx(values.mean() + half, abs=0.25 * half)


def test_bootstrap_in_chunks_is_the_bootstrap_in_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = np.column_stack([np.random.default_rng(2).random(50), np.ones(50)])
    whole = intervals.bootstrap(counts, metrics.mean)
    monkeypatch.setattr(intervals, "CHUNK", 120)
    pieces = intervals.bootstrap(counts, metrics.mean)
    assert (pieces.value, pieces.low, pieces.high) == pytest.approx(
        (whole.value, whole.low, whole.high), rel=1e-12
    )


def test_paired_difference_is_narrow_where_both_vary_together() -> None:
    rng = np.random.default_rng(3)
    hard, noise = rng.normal(0.8, 0.2, 300), rng.normal(0, 0.01, 300)
    ones = np.ones(300)
    one, other = np.column_stack([hard + 0.01 + noise, ones]), np.column_stack([hard, ones])
    paired = intervals.paired_difference(one, other, metrics.mean)
    alone = intervals.bootstrap(one, metrics.mean)
    assert 0 < paired.low < 0.01 + noise.mean() < paired.high
    assert paired.high - paired.low < (alone.high - alone.low) / 5


def test_no_queries_is_nan() -> None:
    estimate = intervals.bootstrap(np.empty((0, 2)), metrics.mean)
    assert math.isnan(estimate.value)
    assert estimate.queries == 0


@pytest.mark.parametrize(("queries", "has"), [(1, False), (9, False), (10, True), (80, True)])
def test_below_ten_queries_there_is_no_interval_and_no_verdict(queries: int, has: bool) -> None:
    counts = np.column_stack([np.linspace(0.5, 0.7, queries), np.ones(queries)])
    estimate = intervals.bootstrap(counts, metrics.mean)
    assert estimate.value == pytest.approx(counts[:, 0].mean())
    assert estimate.queries == queries
    assert estimate.has_interval == estimate.differs == has == (estimate.low < estimate.high)
    if not has:
        assert f"{estimate:+}" == f"{estimate.value:+.4f} –"
    assert intervals.Estimate.from_json(estimate.as_json()).as_json() == estimate.as_json()


def test_what_is_unknown_is_null_in_json() -> None:
    assert intervals.Estimate(0.5, math.nan, math.nan, 3).as_json() == {
        "value": 0.5, "low": None, "high": None, "queries": 3
    }  # fmt: skip


def test_from_80_queries_on_the_interval_is_that_of_the_percentiles() -> None:
    values = np.random.default_rng(4).random(80)
    drawn = np.random.default_rng(0).integers(0, 80, (1_000, 80))
    expected = np.percentile(values[drawn].mean(axis=1), (2.5, 97.5))
    estimate = intervals.bootstrap(np.column_stack([values, np.ones(80)]), metrics.mean)
    assert (estimate.low, estimate.high) == pytest.approx(expected)


def test_few_queries_have_at_least_student_s_interval() -> None:
    values = np.random.default_rng(5).normal(0.5, 0.1, 40)
    estimate = intervals.bootstrap(np.column_stack([values, np.ones(40)]), metrics.mean)
    half = 2.0227 * values.std(ddof=1) / math.sqrt(40)  # Student's t with 39 degrees of freedom
    assert estimate.low <= values.mean() - 0.999 * half
    assert estimate.high >= values.mean() + 0.999 * half


@pytest.mark.parametrize(
    ("z", "freedom", "expected"), [(1.959964, 9, 2.2622), (1.644854, 29, 1.6991)]
)
def test_student_s_quantiles(z: float, freedom: int, expected: float) -> None:
    assert intervals.student_quantile(z, freedom) == pytest.approx(expected, abs=5e-4)


def test_equal_queries_leave_nothing_open_and_an_interval_stays_within_its_range() -> None:
    same = intervals.bootstrap(np.ones((12, 2)), metrics.mean)
    assert (same.low, same.high) == (1, 1)
    values = np.r_[np.ones(14), 0.2]
    counts = np.column_stack([values, np.ones(15)])
    assert (
        intervals.bootstrap(counts, metrics.mean).high
        > 1
        == intervals.bootstrap(counts, metrics.mean, within=(0, 1)).high
    )


def test_nine_in_ten_intervals_and_more_cover_the_truth_at_ten_queries() -> None:
    """`benchmarks/coverage.py` in small: 200 trials know a share of .95 to 0.015."""
    (lists, *_) = coverage.make_populations(queries=2_000)
    assert min(coverage.coverage(lists, 10, trials=200)) > 0.9
    assert not intervals.Estimate(0.1, -0.1, 0.3, 9).differs
    assert not intervals.Estimate(*(float("nan"),) * 3, queries=0).differs
