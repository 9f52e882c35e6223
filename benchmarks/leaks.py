"""How often `comp audit-leaks` raises a false alarm, and how often it finds a planted leak.

    python -m benchmarks.leaks [trials]

Rankings that know nothing of the labels, on few lists of full depth (with shallow ones beside them,
or none), and rankings of 200 lists that know a little. Each trial is the permutation test of
`competition.analysis.permutation_test` with as many shuffles as it asks for; that labels are
shuffled is simulated by shuffling the order, which is the same to nDCG.
"""

import sys
from collections.abc import Callable

import numpy as np

from competition.analysis import permutation_test
from competition.core.arrays import Array
from competition.scoring import metrics
from competition.scoring.evaluation import DEEP, FULL_DEPTH, MOVABLE, Counts
from tests.esci import GAINS, LABELS, TASKS

DEPTHS = (
    (1, 0),
    (2, 0),
    (3, 0),
    (10, 0),
    (25, 0),
    (1, 60),
    (3, 60),
    (25, 60),
)  # lists of full depth, shallow ones
# How much of a gain enters a score whose noise is 1; the last adds .02 nDCG.
LEAKS = (0.04, 0.06, 0.09, 0.17)
PLANTED = 200
_GAINS = np.array([GAINS["paper"][label] for label in LABELS])
_LABELS = (
    2.2,
    1.1,
    0.25,
    0.9,
)  # a Dirichlet distribution of the shares of E, S, C and I in a query's list


class Lists:
    """Made-up lists, and what rankings of them score."""

    def __init__(self, deep: int, shallow: int, rng: np.random.Generator) -> None:
        """Draw `deep` lists of 10 to 29 products and `shallow` ones of 1 to 3."""
        depth = np.r_[rng.integers(FULL_DEPTH, 30, deep), rng.integers(1, 4, shallow)]
        query = np.repeat(np.arange(len(depth)), depth)
        shares = rng.dirichlet(_LABELS, len(depth)).cumsum(axis=1)[query]
        self.gain = _GAINS[(rng.random(len(query))[:, None] > shares).sum(axis=1).clip(0, 3)]
        self._lists = metrics.RankedLists(query, self.gain)
        chance = self._lists.random_ndcg()
        self._graded = ~np.isnan(chance)
        groups = {
            "all": chance > -1,
            DEEP: depth >= FULL_DEPTH,
            MOVABLE: self._lists.movable(),
        }
        self._groups = {name: members[self._graded] for name, members in groups.items()}
        self.chance = self._counts(chance)

    def score(self, score: Array) -> Counts:
        """Rank by `score`."""
        return self._counts(self._lists.ndcg(score))

    def _counts(self, values: Array) -> Counts:
        values = values[self._graded]
        pairs = np.column_stack([values, np.ones(len(values))])
        return Counts(TASKS["task1"], self._lists.queries[self._graded], pairs, self._groups)


def trial(lists: Lists, leak: float, rng: np.random.Generator) -> permutation_test.PermutationTest:
    """Test rankings by noise and, times `leak`, the gains."""

    def draw(_: int) -> tuple[Counts, Counts]:
        return lists.score(leak * lists.gain + rng.normal(size=len(lists.gain))), lists.chance

    return permutation_test.confirm(TASKS["task1"], draw, None)


def _shares(
    trials: int, make: Callable[[], permutation_test.PermutationTest]
) -> tuple[float, float, float]:
    """Return the shares of alarms and of conclusive trials, and the mean score above chance."""
    tests = [make() for _ in range(trials)]
    alarms = float(np.mean([test.significant for test in tests]))
    conclusive = float(np.mean([test.conclusive for test in tests]))
    return alarms, conclusive, float(np.mean([test.above_chance.value for test in tests]))


def main(trials: int) -> None:
    """Simulate and print two tables."""
    rng = np.random.default_rng(0)
    print("| full-depth lists | shallow lists | can say | false alarms |\n|---|---|---|---|")
    for deep, shallow in DEPTHS:
        alarms, says, _ = _shares(trials, lambda: trial(Lists(deep, shallow, rng), 0.0, rng))  # noqa: B023
        print(f"| {deep} | {shallow} | {says:.2f} | {alarms:.4f} |", flush=True)
    print(f"\n| planted leak at {PLANTED} lists, nDCG | found |\n|---|---|")
    for leak in LEAKS:
        alarms, _, above = _shares(trials, lambda: trial(Lists(PLANTED, 0, rng), leak, rng))  # noqa: B023
        print(f"| {above:.4f} | {alarms:.3f} |", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 400)
