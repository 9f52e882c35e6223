"""A search finds what is planted and reports no gain where there is none; nothing is trained here."""

import sys
from collections import deque
from dataclasses import replace
from random import Random

import numpy as np
import pytest

from benchmarks.search import FOLDS, SPACE, Made, studies
from competition.analysis.confirmation import confirm
from competition.analysis.search import Training, Trial, best_trial, search
from competition.cli.tune import describe_confirmation
from competition.core.errors import Diverged, InputError
from competition.scoring.intervals import Estimate
from tests.conftest import needs_optuna


def run(made: Made, trials: int, seed: int = 0) -> list[Trial]:
    return search(SPACE, made, trials, seed, lambda *_: None)


@pytest.mark.slow
@needs_optuna
def test_pure_noise_is_no_gain() -> None:
    """Most of it is of queries, which fresh seeds meet again; `benchmarks/search.py` has other noise."""
    found = studies(100, trials=10, training=0.003)
    assert len(found) > 60  # in the others, no trial was better
    reports = sum(each.found for each in found)
    assert reports <= 5
    # An interval that forgets the search would report more.
    assert sum(each.fresh.difference.low > 0 for each in found) > reports

    # What the best shows without any difference is what was said, or less.
    shown, luck = (
        np.mean(each)
        for each in zip(*((s.searched.difference.value, s.luck) for s in found), strict=True)
    )
    assert 0.4 * luck < shown < 1.2 * luck


@needs_optuna
def test_a_planted_optimum_is_found() -> None:
    found, rates = [], []
    for seed in range(10):
        made = Made(seed, planted=0.04)
        trials = run(made, 20)
        best = best_trial(trials)
        assert best is not None
        found.append(confirm(made, trials, best, 2).found)
        rates.append(best.changes["rate"])
    assert sum(found) >= 9
    assert 0.03 < np.median(rates) < 0.3


@needs_optuna
def test_a_search_is_a_function_of_its_seed_and_goes_on_where_it_was() -> None:
    long, short = run(Made(1), 12), run(Made(1), 7)
    assert long[:7] == short
    assert run(Made(1), 12) == long
    assert [trial.changes for trial in run(Made(1), 12, seed=1)] != [t.changes for t in long]


class Diverging(Made):
    """Trains nothing at high rates: some trials diverge in their first fold, others in their third."""

    def diverged(self, training: Training) -> Diverged | None:
        rate = training.changes.get("rate", 0.0)
        if rate > 0.5 or (rate > 0.1 and training.fold == 2):
            return Diverged("the loss of step 3 of 9 is nan")
        return None


@needs_optuna
def test_a_search_goes_on_behind_trainings_that_diverge() -> None:
    made = Diverging(2, planted=0.04)
    trials = run(made, 20)
    assert len(trials) == 20
    diverged = [trial for trial in trials if trial.diverged]
    assert {len(trial.gains) for trial in diverged} == {0, 2}
    assert not any(trial.complete for trial in diverged)
    assert {trial.gain for trial in diverged if not trial.gains} == {None}
    best = best_trial(trials)
    assert best is not None
    assert not best.diverged
    assert run(Diverging(2, planted=0.04), 20) == trials


class Beside(Diverging):
    """Several trials at a time, whose trainings end in any order."""

    def __init__(self, seed: int, at_a_time: int, order: int) -> None:
        super().__init__(seed, planted=0.04)
        self.at_a_time = at_a_time
        self._order = Random(order)

    def next(self, waiting: deque[Training]) -> Training:
        waiting.rotate(self._order.randrange(len(waiting)))
        return waiting.popleft()


@needs_optuna
def test_the_order_in_which_trainings_end_changes_nothing() -> None:
    for at_a_time in (2, 3):
        first, *others = (Beside(2, at_a_time, order) for order in range(4))
        trials = run(first, 20)
        assert len({repr(sorted(trial.changes.items())) for trial in trials}) > 15
        assert any(not trial.complete for trial in trials)
        assert any(trial.diverged for trial in trials)
        assert all(run(other, 20) == trials for other in others)
        assert run(Beside(2, at_a_time, 9), 11) == trials[:11]
        # Each is drawn without those beside it, so another number is another search.
        assert trials != run(Diverging(2, planted=0.04), 20)
    assert run(Beside(2, 1, 0), 20) == run(Diverging(2, planted=0.04), 20)


@needs_optuna
def test_a_trial_behind_the_median_of_earlier_ones_is_stopped() -> None:
    made = Made(3)
    trials = run(made, 20)
    for trial in trials:
        for step, gain in enumerate(trial.gains):
            earlier = [t.gains[step] for t in trials[: trial.number] if len(t.gains) > step]
            behind = len(earlier) >= 4 and step < FOLDS - 1 and gain < np.median(earlier)
            assert behind == (not trial.complete and step == len(trial.gains) - 1)
    stopped = [trial for trial in trials if not trial.complete]
    assert stopped
    # Nothing behind that fold was trained.
    name = repr(sorted(stopped[0].changes.items()))
    assert max(folds for each, _, folds in made.asked if each == name) == len(stopped[0].gains)


@needs_optuna
def test_gains_are_over_all_folds_so_far_and_fresh_seeds_are_fresh() -> None:
    made = Made(4)
    trials = run(made, 6)
    trial = next(trial for trial in trials if trial.complete)
    ours, base = (made.count(each, 0, (0, 1)) for each in (trial.changes, {}))
    assert trial.gains[1] == pytest.approx(ours[:, 0].mean() - base[:, 0].mean())
    assert {repeat for _, repeat, _ in made.asked} == {0}

    made.asked.clear()
    found = confirm(made, trials, trial, 3)
    assert {repeat for _, repeat, _ in made.asked} == {0, 1, 2, 3}
    means = [
        np.mean([made.count(each, repeat, made.folds)[:, 0].mean() for repeat in (1, 2, 3)])
        for each in (trial.changes, {})
    ]
    assert found.gain.value == pytest.approx(means[0] - means[1])
    assert found.optimism == pytest.approx(trial.gains[-1] - found.gain.value)


def test_equal_trials_are_one_draw_of_luck() -> None:
    made = Made(5)
    trial = Trial(0, {"rate": 0.1, "leaves": 7}, (0.1,), complete=True)
    assert confirm(made, [trial, trial], trial, 1).draws == 1
    assert confirm(made, [trial], trial, 1).luck == pytest.approx(0, abs=1e-6)


def test_without_a_better_trial_there_is_no_best() -> None:
    behind = Trial(0, {}, (0.1, -0.1), complete=True)
    stopped = Trial(1, {}, (0.2,), complete=False)
    assert best_trial([behind, stopped]) is None


def test_a_missing_extra_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(InputError, match=r"`pip install comp-relevance\[tune\]`"):
        run(Made(1), 1)


def test_a_gain_is_told_by_what_there_is_to_say() -> None:
    """Of one trial there is no best, and nobody was too optimistic by less than nothing."""
    made, trial = Made(1), Trial(0, {"rate": 0.1, "leaves": 7}, (0.01,), complete=True)
    told = []
    for number, draws in ((1, [trial]), (2, [trial, Trial(1, {"rate": 0.2}, (0.0,), True)])):
        found = confirm(made, draws, trial, 1)
        high, low = (
            replace(found, fresh=replace(found.fresh, difference=Estimate(value, -1, 1, 9)))
            for value in (9.0, -9.0)
        )
        told += [" ".join(describe_confirmation(each, 1)) for each in (high, low)]
        assert found.draws == number
    one, _, several, optimistic = told
    assert one.startswith("The only different trial showed ")
    assert "best of" not in one
    assert "too optimistic by +" in optimistic
    for sentences in (one, several):
        assert sentences.endswith(", not less than the search showed.")
    assert several.startswith("By luck alone, the best of 2 different trials would show about +")
    assert "an interval that holds for the best of all, not less" in several
