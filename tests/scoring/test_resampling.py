"""Resampled sums: those of draws that are made once, kept for who asks again."""

import numpy as np
import pytest

from competition.scoring import resampling
from competition.scoring.intervals import bootstrap, paired_difference
from competition.scoring.metrics import macro_f1, mean
from competition.scoring.resampling import draw, resampled_sums

QUERIES = 60


@pytest.fixture(autouse=True)
def nothing_kept() -> None:
    """Forget what other tests have left."""
    resampling._sums.clear()
    resampling._draws.cache_clear()


def counts(seed: int, columns: int = 2) -> np.ndarray:
    """What each query adds."""
    return np.random.default_rng(seed).integers(0, 9, (QUERIES, columns)).astype(np.float64)


def test_sums_are_those_of_the_queries_that_are_drawn() -> None:
    values = counts(1)
    drawn = np.random.default_rng(7).integers(0, QUERIES, (5, QUERIES))  # as `draw` draws
    expected = values[drawn].sum(1)
    np.testing.assert_array_equal(resampled_sums(values, 7, 5), expected)
    times = draw(np.random.default_rng(7), QUERIES, 5)
    assert times.sum(1).tolist() == [QUERIES] * 5
    np.testing.assert_array_equal(times @ values, expected)


def test_chunks_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = resampled_sums(counts(1), 7, 20)
    resampling._sums.clear()
    resampling._draws.cache_clear()
    monkeypatch.setattr(resampling, "CHUNK", 3 * QUERIES)
    np.testing.assert_array_equal(resampled_sums(counts(1), 7, 20), whole)


def test_sums_are_kept_by_what_they_are_of(monkeypatch: pytest.MonkeyPatch) -> None:
    first = resampled_sums(counts(1), 7, 20)
    assert resampled_sums(counts(1), 7, 20) is first
    others = [
        resampled_sums(counts(2), 7, 20),
        resampled_sums(counts(1), 8, 20),
        resampled_sums(counts(1), 7, 19),
        resampled_sums(counts(1, 3)[:, :2], 7, 20),
    ]
    assert not any(other is first for other in others)
    with pytest.raises(ValueError, match="read-only"):
        first[0] = 0

    monkeypatch.setattr(resampling, "_KEPT_SUMS", 5)
    resampled_sums(counts(3), 7, 20)  # the sixth
    assert len(resampling._sums) == 5
    assert resampled_sums(counts(1), 7, 20) is not first


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
