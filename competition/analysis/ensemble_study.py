"""A study of one ensemble: every method, every decision rule, and every member left out, compared in pairs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import get_args

from competition.config.loading import WITHOUT
from competition.config.recipe import EnsembleRecipe, Method
from competition.core.atomic import write_text
from competition.core.lazy import pd
from competition.core.parquet import read_table
from competition.pipeline.execute import Step, in_order
from competition.pipeline.steps import Pipeline
from competition.scoring.counted_runs import CountedRuns
from competition.scoring.optimism import read_optimism
from competition.scoring.predictions import RunPlan
from competition.scoring.scoreboard import best_runs, scoreboard

METHODS: tuple[str, ...] = get_args(Method)


@dataclass(frozen=True)
class EnsembleStudy:
    """The variants of one ensemble that are compared."""

    pipeline: Pipeline
    recipe: EnsembleRecipe
    leave_out: bool = False  # with each member left out, too
    every_method: bool = True

    @cached_property
    def variants(self) -> list[EnsembleRecipe]:
        """The recipe itself, its other methods, decisions on top of it, and it without each of its members."""
        name, recipe = self.recipe.name, self.recipe
        names: list[str] = []
        if self.every_method:
            names += [f"{name}.{method}" for method in METHODS if method != recipe.method]
            mixed = name if recipe.method == "mixed" else f"{name}.mixed"
            for base in dict.fromkeys([name, mixed]):
                names += [f"{base}.can", f"{base}.thresholds"]

        members = [member.name for member in self.pipeline.recipes.members_of(recipe)]
        if self.leave_out and len(members) > 1:
            names += [f"{name}.{WITHOUT}{member}" for member in members]
        return [recipe, *(self.pipeline.recipes.ensemble(each) for each in names)]

    def tasks_of(self, variant: EnsembleRecipe) -> list[str]:
        """Return the tasks whose answers the variant may change."""
        tasks = self.pipeline.recipes.tasks_of(variant)
        # Without a member that has no part in a task, the answers are the same.
        if variant.members != self.recipe.members:
            members_of = self.pipeline.recipes.members_of
            return [
                task
                for task in tasks
                if len(members_of(variant, task)) < len(members_of(self.recipe, task))
            ]
        # CAN changes answers in all labels alone, thresholds those of every class.
        known = self.pipeline.plan.contest.tasks
        if variant.can != self.recipe.can:
            return [name for name in tasks if known[name].classes and known[name].positive is None]
        if variant.thresholds != self.recipe.thresholds:
            return [name for name in tasks if known[name].classes]
        return tasks

    def steps(self) -> list[Step]:
        """Return what the comparison needs beside the members, in order."""
        steps: list[Step] = []
        for variant in self.variants:
            steps += self.pipeline.ensemble_steps(variant.name, self.tasks_of(variant))
        return in_order(steps)

    def tables(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Return two scoreboards.

        The first has the members and variants, minus the best member of each task (that of
        `best_runs`); the second the ensembles without a member, minus the whole ensemble.
        """
        tables = self.pipeline.tables
        members = [
            self.pipeline.plan.run(each.name)
            for each in self.pipeline.recipes.members_of(self.recipe)
        ]
        whole = self._runs(self.recipe)
        methods: list[RunPlan] = []
        without_member: list[RunPlan] = []
        for variant in self.variants[1:]:
            left_out = f".{WITHOUT}" in variant.name.removeprefix(self.recipe.name)
            plans = without_member if left_out else methods
            plans += self._runs(variant)

        everything = [*members, *whole, *methods, *without_member]
        counted = CountedRuns(self.pipeline.plan.contest.tasks.values(), tables.examples)
        for plan in everything:
            counted.add(plan, tables.read_run(plan))
        optimism = read_optimism(self.pipeline.workspace, everything)

        # The best member is chosen among the members, not among the ensembles.
        best = best_runs(scoreboard(counted, members, {}))
        compared = [*members, *whole, *methods]
        first = scoreboard(counted, compared, best, optimism)

        whole_of_task = {plan.tasks[0]: plan.name for plan in whole}
        parts = [*whole, *without_member]
        second = scoreboard(counted, parts, whole_of_task, optimism)
        return first, second[second["run"] != second["floor"]]

    def _runs(self, variant: EnsembleRecipe) -> list[RunPlan]:
        """Return the runs of a variant, one per task."""
        return [self.pipeline.plan.ensemble_run(variant, task) for task in self.tasks_of(variant)]

    @property
    def path(self) -> Path:
        """The file that `write` writes."""
        return self.pipeline.workspace.stack_table(self.recipe.name)

    def write(self, *tables: pd.DataFrame) -> None:
        """Write the tables as one CSV file."""
        write_text(self.path, str(pd.concat(tables).to_csv(index=False, lineterminator="\n")))


def mean_importance(pipeline: Pipeline, run: str, task: str) -> pd.Series:
    """Return each feature's share of the gain of an ensemble's trees, mean over the folds, largest first."""
    table = read_table(pipeline.workspace.importance(run), pipeline.plan.run(run, task).fingerprint)
    mean = table.groupby("feature")["importance"].mean()
    return mean.sort_values(ascending=False, kind="stable")


def mean_weights(by_fold: Mapping[str, Mapping[str, Mapping[str, float]]]) -> dict[str, float]:
    """Return each member's weight from an ensemble's card, mean over the folds; nothing for trees."""
    folds = [fold["all"] for fold in by_fold.values() if fold]
    if not folds:
        return {}
    return {member: sum(fold[member] for fold in folds) / len(folds) for member in folds[0]}
