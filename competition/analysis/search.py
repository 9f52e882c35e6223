"""A search for better values of a recipe's keys: draw, score fold by fold, stop what is behind.

What is searched is an `Objective`, which trains, and says what each query adds to a metric; nothing
here reads a file. A trial is a function of the seed and of the trials before it, so a search that was
cut off goes on by being repeated, with all scores that there are already.

Of several trials side by side, N at a time, trial n begins once all trials up to n - N have ended. It
is drawn by what these scored, with those between them known as begun, and stopped by what these
scored, whichever of the others have ended in the meantime: so the order in which trainings end
changes nothing.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Protocol

from competition.config.search_space import Changes, Range, SearchSpace
from competition.core.arrays import Array, Codes
from competition.core.errors import Diverged, InputError
from competition.core.fingerprint import derive_seed
from competition.scoring.intervals import Statistic

_ENOUGH = 4  # earlier trials at a fold, from which on their median stops others
_RANDOM = 8  # trials that are drawn at random, before those by what is known


@dataclass(frozen=True)
class Training:
    """The training of one fold of the recipe with some changed keys."""

    changes: Changes
    fold: int
    repeat: int = 0  # 0 is the recipe's own seed, others are seeds that no search has used
    trial: int = -1  # its number; below 0 of none


# Hears what has been trained, and why where it diverged; returns what is to be trained next.
Then = Callable[[Training, Diverged | None], Iterable[Training]]


class Objective(Protocol):
    """What a recipe with some changed keys scores."""

    @property
    def at_a_time(self) -> int:
        """The trials that are trained side by side."""

    @property
    def folds(self) -> tuple[int, ...]:
        """The folds, in the order in which they are trained."""

    @property
    def statistic(self) -> Statistic:
        """The metric, from sums `(…, m)` to values; higher is better."""

    def train(self, first: Iterable[Training], then: Then) -> None:
        """Train what is asked for at first, and what `then` asks for behind each, until there is nothing left.

        Whatever `then` raises is raised, behind the trainings that have begun.
        """

    def count(self, changes: Changes, repeat: int, folds: Sequence[int]) -> Array:
        """Return what each query that is held out in some folds adds to the metric, `(queries, m)`.

        Args:
            changes: of the recipe, none for the recipe as it is.
            repeat: of the trainings.
            folds: a part of all, or all; they are trained.
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
    ended: Callable[[list[Trial], list[Changes]], None],
) -> list[Trial]:
    """Return the trials of a search by TPE (Bergstra et al. 2011), in order.

    Args:
        space: what is drawn from.
        objective: that trains and scores.
        trials: their number.
        seed: of the draws.
        ended: is called behind each trial in order, with all so far, and the changes of those that have begun.

    Raises:
        InputError: the extra `tune` is not installed.
        Diverged: the recipe as it is has diverged.
    """
    run = _Search(space, objective, trials, seed, ended)
    train_all(objective, [Training({}, fold) for fold in objective.folds])
    first = [run.begin() for _ in range(min(trials, objective.at_a_time))]
    objective.train(first, run.hear)
    return run.told


class _Search:
    """A search that is under way."""

    def __init__(
        self,
        space: SearchSpace,
        objective: Objective,
        trials: int,
        seed: int,
        ended: Callable[[list[Trial], list[Changes]], None],
    ) -> None:
        self.told: list[Trial] = []  # in order; what the next draw knows
        self._optuna = _import_optuna()
        self._study = self._optuna.create_study(direction="maximize")
        self._distributions = _distributions(self._optuna, space)
        self._space = space
        self._objective = objective
        self._trials = trials
        self._seed = seed
        self._told_of = ended
        self._begun: dict[int, _Begun] = {}
        self._ended: dict[
            int, Trial
        ] = {}  # that are not told yet, since one before them has not ended

    def begin(self) -> Training:
        """Draw the next trial, and return its first training."""
        number = len(self.told) + len(self._begun)
        # A sampler of its own for each trial, so that a search that is repeated draws the same. Beside
        # others, it takes those that have begun for bad ones, so as not to draw their neighbours.
        self._study.sampler = self._optuna.samplers.TPESampler(
            n_startup_trials=_RANDOM,
            seed=derive_seed(self._seed, "trial", number),
            constant_liar=self._objective.at_a_time > 1,
        )
        asked = self._study.ask(self._distributions)
        changes = _values(self._space, asked.params)
        self._begun[number] = _Begun(asked, changes, tuple(self.told), [])
        return Training(changes, self._objective.folds[0], trial=number)

    def hear(self, training: Training, diverged: Diverged | None) -> list[Training]:
        """Score a trial up to a fold that was trained; return what follows: its next fold, or other trials."""
        begun = self._begun[training.trial]
        trial = self._score(training.trial, begun, diverged is not None)
        if trial is None:
            fold = self._objective.folds[len(begun.gains)]
            return [Training(begun.changes, fold, trial=training.trial)]

        self._ended[trial.number] = trial
        following = []
        while (first := self._ended.pop(len(self.told), None)) is not None:
            self._tell(first)
            if len(self.told) + len(self._begun) < self._trials:
                following.append(self.begin())
        return following

    def _score(self, number: int, begun: "_Begun", diverged: bool) -> Trial | None:
        """Score the folds that are trained; None where the next one is to be trained.

        A trial ends before its last fold where it is behind the median of earlier ones.
        """
        objective, gains = self._objective, begun.gains
        if diverged:
            return Trial(number, begun.changes, tuple(gains), complete=False, diverged=True)

        step = len(gains)
        folds = objective.folds[: step + 1]
        ours, base = (
            objective.statistic(objective.count(changes, 0, folds).sum(axis=0))
            for changes in (begun.changes, {})
        )
        gains.append(float(ours - base))
        if len(folds) == len(objective.folds):
            return Trial(number, begun.changes, tuple(gains), complete=True)

        others = [trial.gains[step] for trial in begun.earlier if len(trial.gains) > step]
        is_behind = len(others) >= _ENOUGH and gains[-1] < median(others)
        return Trial(number, begun.changes, tuple(gains), complete=False) if is_behind else None

    def _tell(self, trial: Trial) -> None:
        """Let the draws behind this know what a trial scored."""
        asked = self._begun.pop(trial.number).asked
        for step, gain in enumerate(trial.gains):
            asked.report(gain, step)

        if trial.complete:
            self._study.tell(asked, trial.gain)
        else:
            self._study.tell(asked, state=self._optuna.trial.TrialState.PRUNED)
        self.told.append(trial)
        self._told_of(self.told, [each.changes for each in self._begun.values()])


@dataclass(frozen=True)
class _Begun:
    """A trial that has begun."""

    asked: Any  # Optuna's
    changes: dict[str, Any]
    earlier: tuple[Trial, ...]  # that had ended when it began
    gains: list[float]


def train_all(objective: Objective, trainings: Iterable[Training]) -> None:
    """Train what does not depend on how it goes; raises Diverged."""

    def then(training: Training, diverged: Diverged | None) -> Iterable[Training]:
        if diverged is not None:
            raise diverged
        return ()

    objective.train(trainings, then)


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


def best_trial(trials: Sequence[Trial]) -> Trial | None:
    """Return the trial with the highest gain over all folds, the first of equal ones; None where none has one."""
    complete = [trial for trial in trials if trial.complete]
    best = max(complete, key=lambda trial: trial.gains[-1], default=None)
    return best if best is not None and best.gains[-1] > 0 else None
