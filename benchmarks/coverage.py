"""How often the 95 % intervals of scores and of paired differences cover the truth, by number of queries.

    python -m benchmarks.coverage [trials]

Two made-up models answer 8,000 queries, whose scores are the truth. Each trial draws a few of the
queries and asks whether the interval holds it. The standard error of a share of .95 over 1,000
trials is .007.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from competition.core.arrays import Array, Codes
from competition.scoring import intervals, metrics
from competition.scoring.intervals import Estimate, Statistic

QUERIES = (10, 25, 80, 800, 20_000)
POPULATION = 8_000
DEPTHS = (10, 40)  # judged products of a query
_LABELS = (
    2.2,
    1.1,
    0.25,
    0.9,
)  # a Dirichlet distribution of the shares of E, S, C and I in a query's list
_GAINS = np.array([1.0, 0.1, 0.01, 0.0])
_APART = 0.7  # the correlation of what the two models get wrong


@dataclass(frozen=True)
class Population:
    """What each query adds to a metric by two models, `(queries, m)` each."""

    metric: str
    statistic: Statistic
    one: Array
    other: Array


def make_populations(queries: int = POPULATION, seed: int = 1) -> list[Population]:
    """Make queries whose gains two models know but for noise: their nDCG, and micro- and macro-F1 of four classes."""
    rng = np.random.default_rng(seed)
    depth = rng.integers(*DEPTHS, queries)
    query = np.repeat(np.arange(queries), depth)
    shares = rng.dirichlet(_LABELS, queries).cumsum(axis=1)[query]
    label = (rng.random(len(query))[:, None] > shares).sum(axis=1).clip(0, 3)
    gain = _GAINS[label]
    noise = rng.normal(size=(2, len(query)))
    noise[1] = _APART * noise[0] + np.sqrt(1 - _APART**2) * noise[1]
    ranked = [
        metrics.ndcg_per_query(query, gain, gain + size * each)[1]
        for size, each in zip((1, 1.1), noise, strict=True)
    ]
    graded = ~np.isnan(ranked[0])
    lists = [np.column_stack([each[graded], np.ones(graded.sum())]) for each in ranked]
    known = np.eye(4)[label]
    answers = [(known + rng.gumbel(0, size, known.shape)).argmax(axis=1) for size in (0.45, 0.5)]
    classes = [metrics.confusion_per_query(query, label, each, 4)[1] for each in answers]
    return [
        Population("nDCG", metrics.mean, *lists),
        Population("micro-F1", metrics.micro_f1, *classes),
        Population("macro-F1", metrics.macro_f1, *classes),
    ]


def coverage(
    population: Population, queries: int, trials: int, seed: int = 0
) -> tuple[float, float]:
    """Return how often intervals over drawn queries hold the truth: those of a score, and of a paired difference."""
    one, other, statistic = population.one, population.other, population.statistic
    rng = np.random.default_rng([seed, queries])
    score, minus = (float(statistic(each.sum(axis=0))) for each in (one, other))
    drawn = [rng.integers(0, len(one), queries) for _ in range(trials)]
    alone = _share(drawn, score, lambda at: intervals.bootstrap(one[at], statistic, within=(0, 1)))
    paired = _share(
        drawn, score - minus, lambda at: intervals.paired_difference(one[at], other[at], statistic)
    )
    return alone, paired


def _share(drawn: Sequence[Codes], truth: float, estimate: Callable[[Codes], Estimate]) -> float:
    found = [estimate(at) for at in drawn]
    return float(np.mean([each.low <= truth <= each.high for each in found]))


def main(trials: int) -> None:
    """Simulate and print a table."""
    print(
        "| metric | interval of | "
        + " | ".join(f"{queries:,} queries" for queries in QUERIES)
        + " |"
    )
    print("|---" * (2 + len(QUERIES)) + "|")
    for population in make_populations():
        shares = [coverage(population, queries, trials) for queries in QUERIES]
        for name, found in zip(
            ("a score", "a paired difference"), zip(*shares, strict=True), strict=True
        ):
            print(
                f"| {population.metric} | {name} | "
                + " | ".join(f"{share:.3f}" for share in found)
                + " |"
            )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000)
