"""What the best of several results shows by luck, and the interval that holds for it."""

import numpy as np
import pytest

from competition.scoring.comparison import Comparison
from competition.scoring.intervals import Estimate
from competition.scoring.luck import expected_maximum, interval_of_best


def test_the_mean_of_the_largest_draw() -> None:
    assert expected_maximum(1) == pytest.approx(0, abs=1e-6)
    assert expected_maximum(2) == pytest.approx(np.pi**-0.5, abs=1e-6)
    assert expected_maximum(3) == pytest.approx(1.5 * np.pi**-0.5, abs=1e-6)
    drawn = np.random.default_rng(1).normal(size=(20_000, 50)).max(axis=1)
    assert expected_maximum(50) == pytest.approx(drawn.mean(), abs=4 * drawn.std() / 20_000**0.5)


def test_the_interval_holds_for_the_best_of_all() -> None:
    alone = Estimate(0.03, 0.0104, 0.0496, 1_000)
    comparison = Comparison(alone, alone, "seeds", 0.0, error=0.01, freedom=np.inf)
    one = interval_of_best(comparison, 1)
    assert (one.low, one.high) == pytest.approx((0.03 - 0.0196, 0.03 + 0.0196), abs=1e-4)

    # All twenty intervals of this level hold at once with .95.
    best = interval_of_best(comparison, 20)
    drawn = np.abs(np.random.default_rng(2).normal(0, 0.01, (20_000, 20))).max(axis=1)
    assert (drawn < best.high - best.value).mean() == pytest.approx(0.95, abs=0.01)
    assert best.value - best.low == pytest.approx(best.high - best.value)


def test_the_interval_is_no_narrower_than_the_comparisons_and_none_where_that_has_none() -> None:
    wide = Estimate(0.03, -0.2, 0.05, 1_000)
    found = interval_of_best(Comparison(wide, wide, "seeds", 0.0, 0.01, np.inf), 2)
    assert found.low == -0.2
    assert found.high > 0.05
    unknown = Estimate(0.03, np.nan, np.nan, 9)
    assert not interval_of_best(Comparison(unknown, unknown, "seeds", 0.0), 2).has_interval
