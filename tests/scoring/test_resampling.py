"""Resampled sums: those of draws that results share, the same bits whichever results are beside them."""

from collections.abc import Iterator

import numpy as np
import pytest

from competition.scoring import resampling
from competition.scoring.intervals import bootstrap, paired_difference
from competition.scoring.metrics import macro_f1, mean
from competition.scoring.resampling import BLOCKS, HUGE, draw, resample

QUERIES = 60


@pytest.fixture(autouse=True)
def nothing_kept() -> Iterator[None]:
    """Forget what other tests have drawn, and what these have."""
    resampling._draws.cache_clear()
    resampling._blocks.cache_clear()
    yield
    resampling._draws.cache_clear()
    resampling._blocks.cache_clear()


def counts(seed: int, columns: int = 2) -> np.ndarray:
    """What each query adds."""
    return np.random.default_rng(seed).integers(0, 9, (QUERIES, columns)).astype(np.float64)


def test_sums_are_those_of_the_queries_that_are_drawn() -> None:
    values = counts(1)
    drawn = np.random.default_rng(7).integers(0, QUERIES, (5, QUERIES))  # as `draw` draws
    expected = values[drawn].sum(1)
    (result,) = resample([values], 7, 5)
    np.testing.assert_array_equal(result.sums, expected)
    assert result.total.tolist() == values.sum(0).tolist()
    assert result.queries == QUERIES
    times = draw(np.random.default_rng(7), QUERIES, 5)
    assert times.sum(1).tolist() == [QUERIES] * 5
    np.testing.assert_array_equal(times @ values, expected)


def test_chunks_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    (whole,) = resample([counts(1)], 7, 20)
    resampling._draws.cache_clear()
    monkeypatch.setattr(resampling, "CHUNK", 3 * QUERIES)
    np.testing.assert_array_equal(resample([counts(1)], 7, 20)[0].sums, whole.sums)


@pytest.mark.parametrize("scale", [1e-9, 1.0, 3e5])
def test_a_result_has_the_same_sums_beside_others_and_in_any_order(scale: float) -> None:
    rng = np.random.default_rng(0)
    values = [np.column_stack([rng.random(QUERIES) * scale, np.ones(QUERIES)]) for _ in range(9)]
    together = resample(values, 7, 20)
    for each, result in zip(values, together, strict=True):
        np.testing.assert_array_equal(resample([each], 7, 20)[0].sums, result.sums)
    for result, back in zip(together, resample(values[::-1], 7, 20)[::-1], strict=True):
        np.testing.assert_array_equal(result.sums, back.sums)
    # What is rounded is less than the last digit of a sum.
    drawn = np.random.default_rng(7).integers(0, QUERIES, (20, QUERIES))
    np.testing.assert_allclose(together[0].sums, values[0][drawn].sum(1), rtol=1e-14)


@pytest.mark.filterwarnings("ignore:invalid value")
def test_values_without_bounds_stay_as_they_are() -> None:
    values = np.column_stack([np.full(QUERIES, np.inf), np.zeros(QUERIES)])
    (result,) = resample([values], 7, 3)
    assert not np.isfinite(result.sums[:, 0]).any()
    assert result.sums[:, 1].tolist() == [0, 0, 0]


def test_many_queries_have_the_intervals_that_few_have(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    one, other = (rng.integers(0, 5, (100, 6)).astype(np.float64) for _ in range(2))
    few = [
        bootstrap(one, macro_f1, within=(0, 1)),
        paired_difference(one, other, macro_f1),
        paired_difference(one[:, :2] + 1, other[:, :2] + 1, mean),
    ]
    monkeypatch.setattr("competition.scoring.intervals.MANY", 100)
    many = [
        bootstrap(one, macro_f1, within=(0, 1)),
        paired_difference(one, other, macro_f1),
        paired_difference(one[:, :2] + 1, other[:, :2] + 1, mean),
    ]
    assert many == few


def test_very_many_queries_are_drawn_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resampling, "HUGE", QUERIES)
    monkeypatch.setattr(resampling, "BLOCKS", 7)
    values = counts(1)
    (result,) = resample([values], 3, 5)
    assert result.total.tolist() == values.sum(0).tolist()

    block = np.random.default_rng(3).permutation(QUERIES) % 7
    assert sorted(np.bincount(block)) == [8] * 3 + [9] * 4  # 60 = 3 * 8 + 4 * 9
    of_block = np.stack([values[block == k].sum(0) for k in range(7)])
    drawn = np.random.default_rng(3).integers(0, 7, (5, 7))  # as `draw` draws
    np.testing.assert_array_equal(result.sums, of_block[drawn].sum(1))


def test_blocks_have_the_standard_error_of_the_mean() -> None:
    values = np.random.default_rng(0).beta(8, 2, HUGE)
    found = bootstrap(np.column_stack([values, np.ones(HUGE)]), mean)
    error = values.std() / np.sqrt(HUGE)
    assert found.value == pytest.approx(values.mean())
    # Of 1,000 resamples and 4,000 blocks: wrong by 2.2 % and 1.1 %, both ends of the interval by more.
    assert found.high - found.low == pytest.approx(2 * 1.96 * error, rel=0.15)
    assert BLOCKS == 4_000


def test_paired_blocks_leave_what_both_results_share() -> None:
    rng = np.random.default_rng(0)
    one = np.column_stack([rng.beta(8, 2, HUGE), np.ones(HUGE)])
    other = one - np.column_stack([rng.normal(0.01, 0.02, HUGE), np.zeros(HUGE)])
    found = paired_difference(one, other, mean)
    assert found.high - found.low == pytest.approx(2 * 1.96 * 0.02 / np.sqrt(HUGE), rel=0.15)
    assert found.value == pytest.approx(0.01, abs=4 * 0.02 / np.sqrt(HUGE))
