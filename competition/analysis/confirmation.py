"""The best trial of a search on seeds that the search has not used, and how much of what it showed was luck."""

from collections.abc import Sequence
from dataclasses import dataclass

from competition.analysis.search import Objective, Training, Trial, train_all
from competition.scoring.comparison import Comparison, compare_seeds
from competition.scoring.intervals import Estimate
from competition.scoring.luck import expected_maximum, interval_of_best


def compare_trial(objective: Objective, trial: Trial, repeats: Sequence[int] = (0,)) -> Comparison:
    """Compare a complete trial with the recipe as it is, over some repeats of both."""
    ours, others = (
        [objective.count(changes, repeat, objective.folds) for repeat in repeats]
        for changes in (trial.changes, {})
    )
    return compare_seeds(ours, others, objective.fold_of_queries(), objective.statistic)


@dataclass(frozen=True)
class Confirmation:
    """The best trial on seeds that the search has not used, beside what luck alone would have shown."""

    searched: Comparison  # by the folds and seeds that chose it
    fresh: Comparison
    gain: Estimate  # on fresh seeds, with an interval that holds for the best of `draws`
    draws: int  # different trials of the search
    luck: float  # what the best of as many would show without any difference, about

    @property
    def found(self) -> bool:
        """True where the gain is more than noise, and more than the luck of the best of all trials."""
        return self.gain.low > 0

    @property
    def optimism(self) -> float:
        """By how much the search showed more than fresh seeds did."""
        return self.searched.difference.value - self.fresh.difference.value


def confirm(
    objective: Objective, trials: Sequence[Trial], best: Trial, repeats: int
) -> Confirmation:
    """Score the best of some trials, and the recipe that it started from, on `repeats` fresh seeds.

    Raises:
        Diverged: one of their trainings has diverged.
    """
    train_all(
        objective,
        [
            Training(changes, fold, repeat)
            for changes in (best.changes, {})
            for repeat in range(1, repeats + 1)
            for fold in objective.folds
        ],
    )
    draws = len({repr(sorted(trial.changes.items())) for trial in trials})
    fresh = compare_trial(objective, best, range(1, repeats + 1))
    # A trial has one seed, whose noise the mean over fresh seeds has halved, or more.
    of_seeds = 0.0 if fresh.noise == "folds" else (repeats - 1) * fresh.seed_error**2
    noise = (fresh.error**2 + of_seeds) ** 0.5
    return Confirmation(
        searched=compare_trial(objective, best),
        fresh=fresh,
        gain=interval_of_best(fresh, draws),
        draws=draws,
        luck=expected_maximum(draws) * noise,
    )
