"""What the best of several results shows by luck alone, and how much of it is no luck.

Of N recipes that do not differ, the best one looks better than the others by the maximum of N draws
of the noise. Trained again with other seeds, it loses the luck of its trainings and keeps that of
its queries, since it is scored on those that chose it. So its interval has to hold for the best of
N draws: at the level 1 - .95^(1/N) instead of .05 (Šidák 1967), whatever part of the noise is of
queries. That is exact for independent draws, and too wide for those that share something, as the
differences to one recipe do.
"""

import numpy as np

from competition.scoring.comparison import Comparison
from competition.scoring.intervals import Estimate

_LEVEL = 0.95
_FAR = 12.0  # standard deviations behind which nothing is


def expected_maximum(draws: int) -> float:
    """Return the mean of the largest of some independent standard normal draws.

    It is the integral of P(one or more > x) over x > 0, minus that of P(all < x) over x < 0.
    """
    from scipy.special import ndtr

    x = np.linspace(0.0, _FAR, 12_001)
    above, below = 1 - ndtr(x) ** draws, ndtr(-x) ** draws
    return float(np.trapezoid(above - below, x))


def interval_of_best(comparison: Comparison, draws: int) -> Estimate:
    """Return the difference of a recipe that was the best of `draws`, with an interval that holds for it."""
    from scipy.stats import t

    difference = comparison.difference
    if not difference.has_interval:
        return difference

    level = _LEVEL ** (1 / draws)
    reach = float(t.ppf((1 + level) / 2, comparison.freedom)) * comparison.error
    low = min(difference.low, difference.value - reach)
    high = max(difference.high, difference.value + reach)
    return Estimate(difference.value, low, high, difference.queries)
