"""A search for better values of a recipe's keys: draw, score fold by fold, stop what is behind, confirm the best.

What is searched is an `Objective`, which says what each query adds to a metric; nothing here trains
or reads a file. A trial is a function of the seed and of the trials before it, so a search that was
cut off goes on by being repeated, with all scores that there are already.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Protocol

from competition.config.search_space import Changes, Range, SearchSpace
from competition.core.arrays import Array, Codes
from competition.core.errors import Diverged, InputError
from competition.core.fingerprint import derive_seed
from competition.scoring.comparison import Comparison, compare_seeds
from competition.scoring.intervals import Estimate, Statistic
from competition.scoring.luck import expected_maximum, interval_of_best

_ENOUGH = 4  # earlier trials at a fold, from which on their median stops others
_RANDOM = 8  # trials that are drawn at random, before those by what is known


class Objective(Protocol):
    """What a recipe with some changed keys scores."""

    @property
    def folds(self) -> tuple[int, ...]:
        """The folds, in the order in which they are trained."""

    @property
    def statistic(self) -> Statistic:
        """The metric, from sums `(…, m)` to values; higher is better."""

    def count(self, changes: Changes, repeat: int, folds: Sequence[int]) -> Array:
        """Return what each query that is held out in some folds adds to the metric, `(queries, m)`.

        Args:
            changes: of the recipe, none for the recipe as it is.
            repeat: 0 is the recipe's own seed, others are seeds that no search has used.
            folds: a part of all, or all.

        Raises:
            Diverged: a training has diverged.
        """

    def fold_of_queries(self) -> Codes:
        """Return the fold of each query that is held out in any, `(queries,)`."""


@dataclass(frozen=True)
class Trial:
    """A draw from the search space."""

    number: int
    changes: dict[str, Any]
    gains: tuple[float, ...]  # over the recipe as it is, on all rows held out so far, fold by fold
    complete: bool  # False: it was stopped, since it was behind the median of earlier trials
    diverged: bool = False  # or since its training has diverged

    @property
    def gain(self) -> float | None:
        """The gain over all folds that were trained; None where the first has diverged."""
        return self.gains[-1] if self.gains else None


def search(
    space: SearchSpace,
    objective: Objective,
    trials: int,
    seed: int,
    ended: Callable[[list[Trial]], None],
) -> list[Trial]:
    """Return the trials of a search by TPE (Bergstra et al. 2011), in order.

    Args:
        space: what is drawn from.
        objective: that scores.
        trials: their number.
        seed: of the draws.
        ended: is called behind each trial, with all so far.

    Raises:
        InputError: the extra `tune` is not installed.
    """
    optuna = _import_optuna()
    study = optuna.create_study(direction="maximize")
    distributions = _distributions(optuna, space)

    found: list[Trial] = []
    for number in range(trials):
        # A sampler of its own for each trial, so that a search that is repeated draws the same.
        study.sampler = optuna.samplers.TPESampler(
            n_startup_trials=_RANDOM, seed=derive_seed(seed, "trial", number)
        )
        asked = study.ask(distributions)
        trial = _score(objective, number, _values(space, asked.params), found)
        for step, gain in enumerate(trial.gains):
            asked.report(gain, step)

        states = optuna.trial.TrialState
        if trial.complete:
            study.tell(asked, trial.gain)
        else:
            study.tell(asked, state=states.PRUNED)
        found.append(trial)
        ended(found)
    return found


def _import_optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise InputError(
            "Tuning needs optuna, which is not installed: `pip install comp-relevance[tune]`."
        ) from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _distributions(optuna: Any, space: SearchSpace) -> dict[str, Any]:
    """Return the space as Optuna has it; of a list, the places are drawn, since its values may be tables."""
    of_numbers = optuna.distributions
    found = {}
    for key, values in space.keys.items():
        if not isinstance(values, Range):
            found[key] = of_numbers.CategoricalDistribution(range(len(values.values)))
        elif values.integers:
            found[key] = of_numbers.IntDistribution(
                values.low, values.high, values.log, values.step or 1
            )
        else:
            found[key] = of_numbers.FloatDistribution(
                values.low, values.high, values.log, values.step
            )
    return found


def _values(space: SearchSpace, drawn: dict[str, Any]) -> dict[str, Any]:
    """Return what a recipe gets for what was drawn."""
    return {
        key: values.value(drawn[key]) if isinstance(values, Range) else values.values[drawn[key]]
        for key, values in space.keys.items()
    }


def _score(
    objective: Objective, number: int, changes: dict[str, Any], earlier: Sequence[Trial]
) -> Trial:
    """Score a trial fold by fold, up to the first fold where it is behind the median of earlier trials."""
    gains: list[float] = []
    for step in range(len(objective.folds)):
        folds = objective.folds[: step + 1]
        base = objective.count({}, 0, folds).sum(axis=0)
        try:
            ours = objective.count(changes, 0, folds).sum(axis=0)
        except Diverged:
            return Trial(number, changes, tuple(gains), complete=False, diverged=True)
        gains.append(float(objective.statistic(ours) - objective.statistic(base)))

        others = [trial.gains[step] for trial in earlier if len(trial.gains) > step]
        is_last = len(folds) == len(objective.folds)
        if not is_last and len(others) >= _ENOUGH and gains[-1] < median(others):
            return Trial(number, changes, tuple(gains), complete=False)
    return Trial(number, changes, tuple(gains), complete=True)


def best_trial(trials: Sequence[Trial]) -> Trial | None:
    """Return the trial with the highest gain over all folds, the first of equal ones; None where none has one."""
    complete = [trial for trial in trials if trial.complete]
    best = max(complete, key=lambda trial: trial.gains[-1], default=None)
    return best if best is not None and best.gains[-1] > 0 else None


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
    """Score the best of some trials, and the recipe that it started from, on `repeats` fresh seeds."""
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
