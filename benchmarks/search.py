"""How often `comp tune` reports a gain: where no recipe differs from another, and where one key has a planted optimum.

Scores are drawn, nothing is trained: each query has a score, to which the values of a trial add an
effect of their own, each training one that all queries of its fold share, and one for each query.
The search, the fresh seeds and the verdict are those of the command.

Run it by `OMP_NUM_THREADS=1 python -m benchmarks.search`.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from competition.analysis.confirmation import Confirmation, confirm
from competition.analysis.search import Then, Training, best_trial, search
from competition.config.search_space import Changes, Choice, Range, SearchSpace
from competition.core.arrays import Array, Codes
from competition.core.errors import Diverged
from competition.core.fingerprint import derive_seed
from competition.scoring import metrics

QUERIES, FOLDS = 200, 5
SPACE = SearchSpace(
    Path("made.toml"),
    {"rate": Range(low=1e-3, high=1.0, log=True), "leaves": Choice((7, 15, 31))},
)


class Made:
    """An objective whose scores are drawn: each query's own, what changes do to it, and the noise of trainings.

    `recipe` is the deviation over queries of what changes do, `training` that of what all queries of a training share,
    `planted` the gain at the optimum.
    """

    at_a_time = 1
    folds = tuple(range(FOLDS))
    statistic = staticmethod(metrics.mean)

    def __init__(
        self, seed: int, planted: float = 0.0, recipe: float = 0.05, training: float = 0.006
    ) -> None:
        self.planted, self.recipe, self.training = planted, recipe, training
        self._seed = seed
        self._base = np.random.default_rng(seed).beta(4, 1.5, QUERIES)
        self._known: dict[tuple[str, int], Array] = {}
        self.asked: list[tuple[str, int, int]] = []  # changes, repeat, number of folds

    def fold_of_queries(self) -> Codes:
        """Return the fold of each query, `(QUERIES,)`."""
        return np.arange(QUERIES) % FOLDS

    def train(self, first: Iterable[Training], then: Then) -> None:
        """Train nothing: say at once what has diverged."""
        waiting = deque(first)
        while waiting:
            training = self.next(waiting)
            waiting.extend(then(training, self.diverged(training)))

    def next(self, waiting: deque[Training]) -> Training:
        """Return the training that ends next."""
        return waiting.popleft()

    def diverged(self, training: Training) -> Diverged | None:
        """Return why a training diverged; None where it did not."""
        return None

    def count(self, changes: Changes, repeat: int, folds: Sequence[int]) -> Array:
        """Return what each query of some folds adds to the mean score, `(queries, 2)`."""
        name = repr(sorted(changes.items()))
        self.asked.append((name, repeat, len(folds)))
        if (name, repeat) not in self._known:
            self._known[name, repeat] = self._draw(changes, name, repeat)
        scores = self._known[name, repeat][np.isin(self.fold_of_queries(), folds)]
        return np.column_stack([scores, np.ones(len(scores))])

    def _draw(self, changes: Changes, name: str, repeat: int) -> Array:
        of_changes = np.random.default_rng(derive_seed(self._seed, name))
        of_seed = np.random.default_rng(derive_seed(self._seed, name, repeat))

        own = of_changes.normal(0, self.recipe, QUERIES) if changes else np.zeros(QUERIES)
        if changes and self.planted:
            far = np.log10(changes["rate"] / 0.1)  # the optimum is at .1
            own = own + self.planted * (1 - far**2)
        shared = of_seed.normal(0, self.training, FOLDS)[self.fold_of_queries()]
        return self._base + own + shared + of_seed.normal(0, 0.03, QUERIES)


def studies(number: int, trials: int, training: float, planted: float = 0.0) -> list[Confirmation]:
    """Return what searches find that have a trial better than the recipe as it is."""
    found = []
    for seed in range(number):
        made = Made(seed, planted=planted, training=training)
        tried = search(SPACE, made, trials, 0, lambda *_: None)
        best = best_trial(tried)
        if best is not None:
            found.append(confirm(made, tried, best, 2))
    return found


def main(number: int = 200) -> None:
    """Print the shares of searches that report a gain."""
    print("trials | of trainings | planted | reported | by an interval for one | shown | said luck")
    for trials in (10, 30):
        for training in (0.0, 0.006, 0.012):
            for planted in (0.0, 0.02, 0.04):
                all_of_them = studies(number, trials, training, planted)
                found = sum(each.found for each in all_of_them) / number
                naive = sum(each.fresh.difference.low > 0 for each in all_of_them) / number
                shown = np.mean([each.searched.difference.value for each in all_of_them])
                luck = np.mean([each.luck for each in all_of_them])
                rates = f"{found:.1%} | {naive:.1%}"
                print(f"{trials} | {training} | {planted} | {rates} | {shown:+.4f} | {luck:+.4f}")


if __name__ == "__main__":
    main()
