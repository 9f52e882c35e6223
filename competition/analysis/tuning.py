"""A search on a workspace: it trains trials, keeps the best one's models, and writes a table of all.

Trials leave the files that any training leaves, so a search that was cut off finds what is done,
and the winner is adopted without being trained again. Only their models are removed, except those
of the best trial so far.
"""

from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import pandas as pd

from competition.analysis.confirmation import Confirmation, compare_trial, confirm
from competition.analysis.recipe_objective import RecipeObjective, describe_changes
from competition.analysis.search import Trial, best_trial, search
from competition.analysis.trainings import Trainer
from competition.config.search_space import Changes, load_space
from competition.config.variants import toml_value
from competition.core.atomic import write_text
from competition.core.commands import shell_quoted
from competition.core.console import console
from competition.core.errors import Diverged
from competition.core.fingerprint import fingerprint
from competition.scoring import intervals

_FRESH = ", fresh seeds"  # behind the name of the run that these confirm


class Tuning:
    """A search that starts from a recipe of a workspace."""

    def __init__(
        self, trainer: Trainer, recipe: str, task: str | None, space: Path | None, seed: int
    ) -> None:
        """Plan it; raises InputError where recipe, task or space do not go together.

        Args:
            trainer: of the workspace.
            recipe: to start from.
            task: see `RecipeObjective`.
            space: see `load_space`.
            seed: of the draws.
        """
        self.objective = RecipeObjective(trainer, recipe, task)
        base = self.objective.base
        self.space = load_space(base.model, type(base).model_fields, space)
        self.objective.check(self.space)
        self._seed = seed

        # All that trials are a function of, beside the recipe and the rows.
        keys = {key: repr(values) for key, values in self.space.keys.items()}
        made_from = fingerprint([keys, self.objective.task.name, seed, trainer.at_a_time])
        search_name = f"{self.space.source.stem}-{made_from[:6]}"
        self.path = trainer.pipeline.workspace.tuning(recipe, search_name)

    def run(self, trials: int) -> list[Trial]:
        """Train the recipe as it is, then the trials; return these in order."""
        best: Trial | None = None

        def ended(found: list[Trial], begun: list[Changes]) -> None:
            nonlocal best
            before, best = best, best_trial(found)
            for each in (found[-1], before):
                is_best = each is None or (best is not None and each.changes == best.changes)
                # One that has begun may be the same as one that has ended.
                if each is not None and not is_best and each.changes not in begun:
                    self.objective.remove_models(each.changes)
            console.print(_describe(found[-1], trials))

        return search(self.space, self.objective, trials, self._seed, ended)

    def confirm(self, trials: Sequence[Trial], best: Trial, repeats: int) -> Confirmation | None:
        """Train the best trial and the recipe as it is on fresh seeds, and compare them; None if one diverges."""
        try:
            confirmation = confirm(self.objective, trials, best, repeats)
        except Diverged:
            confirmation = None
        for repeat in range(1, repeats + 1):
            for changes in (best.changes, {}):
                self.objective.remove_models(changes, repeat)
        return confirmation

    def gains(self, trials: Sequence[Trial]) -> dict[int, intervals.Estimate]:
        """Return the gain of each complete trial, with an interval for itself alone."""
        return {
            trial.number: compare_trial(self.objective, trial).difference
            for trial in trials
            if trial.complete
        }

    def command(self, trial: Trial) -> str:
        """Return the command that writes the recipe of a trial, and trains those folds that are missing."""
        options = [
            f"--set {shell_quoted(f'{key}={toml_value(value)}')}"
            for key, value in sorted(trial.changes.items())
        ]
        return " ".join([f"comp train --recipe {shell_quoted(self.objective.base.name)}", *options])

    def write(
        self,
        trials: Sequence[Trial],
        gains: dict[int, intervals.Estimate],
        confirmation: Confirmation | None,
    ) -> int:
        """Write all trials and the confirmation as one CSV.

        Returns:
            The number of trials of an earlier, longer search that stay in it.
        """
        lines: list[dict[str, Any]] = []
        best = best_trial(trials)
        for trial in trials:
            about = {"trial": trial.number + 1, "run": self.objective.run(trial.changes)}
            about |= {"folds": len(trial.gains), "complete": trial.complete}
            about |= {"diverged": trial.diverged}
            estimate = gains.get(trial.number)
            gain = intervals.cells(gain=estimate) | {"gain": trial.gain}
            lines.append(about | trial.changes | gain | {"command": self.command(trial)})
        if best is not None and confirmation is not None:
            about = {
                "trial": best.number + 1,
                "run": f"{self.objective.run(best.changes)}{_FRESH}",
            }
            about |= {"folds": len(best.gains), "complete": True, "diverged": False}
            gain = intervals.cells(gain=confirmation.gain)
            lines.append(about | best.changes | gain | {"command": self.command(best)})

        text = pd.DataFrame(lines).to_csv(index=False, lineterminator="\n")
        table = pd.read_csv(StringIO(text), dtype=str, keep_default_na=False)
        found, confirmed = table[: len(trials)], table[len(trials) :]
        later = _later_lines(self.path, found)
        later = later[~later["run"].isin(confirmed["run"])]

        table = pd.concat([found, later, confirmed])
        write_text(self.path, str(table.to_csv(index=False, lineterminator="\n")))
        return int((~later["run"].str.endswith(_FRESH)).sum())


def _later_lines(path: Path, found: pd.DataFrame) -> pd.DataFrame:
    """Return the lines behind `found` of the table that is there, where it begins with these.

    It does unless recipe or rows have changed since, so that its other trials are those of another search.
    """
    try:
        earlier = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError):  # there is none, or none that can be read
        return found[:0]

    if not earlier[: len(found)].equals(found):
        return found[:0]
    later = earlier[len(found) :]
    # A confirmation alone is of the same trials, and is made again.
    return later if (~later["run"].str.endswith(_FRESH)).any() else later[:0]


def _describe(trial: Trial, trials: int) -> str:
    """Return the line of a trial that has ended."""
    values = describe_changes(trial.changes)
    ended = "" if trial.complete else f", stopped after fold {len(trial.gains) - 1}"
    if trial.diverged:
        ended = f", stopped: fold {len(trial.gains)} has diverged"
    gain = "" if trial.gain is None else f": {trial.gain:+.4f}"
    return f"trial {trial.number + 1} of {trials}, {values}{gain}{ended}"
