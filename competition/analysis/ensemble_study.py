"""One ensemble by every method that it could have: which runs there are, and how they compare with the best model."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import get_args

import pandas as pd

from competition.config.recipe import EnsembleRecipe, Method
from competition.config.settings import WITHOUT
from competition.core.atomic import write_text
from competition.core.parquet import read_table
from competition.pipeline.execute import Step
from competition.pipeline.steps import Pipeline
from competition.scoring.optimism import read_optimism
from competition.scoring.scoreboard import best_runs, scoreboard

METHODS: tuple[str, ...] = get_args(Method)


@dataclass(frozen=True)
class EnsembleStudy:
    """The variants of one ensemble that are compared."""

    pipeline: Pipeline
    recipe: EnsembleRecipe
    leave_out: bool = False  # whether each member is left out, too
    every_method: bool = True

    @cached_property
    def variants(self) -> list[EnsembleRecipe]:
        """The recipe itself, its other methods, decisions on top of it, and it without each of its members."""
        name, recipe = self.recipe.name, self.recipe
        found: list[str] = []
        if self.every_method:
            found += [f"{name}.{method}" for method in METHODS if method != recipe.method]
            decided = dict.fromkeys([name, name if recipe.method == "mixed" else f"{name}.mixed"])
            found += [
                f"{base}.{decision}" for base in decided for decision in ("can", "thresholds")
            ]
        members = [member.name for member in self.pipeline.members_of(recipe)]
        if self.leave_out and len(members) > 1:
            found += [f"{name}.{WITHOUT}{member}" for member in members]
        return [recipe, *map(self.pipeline.ensemble, found)]

    def tasks_of(self, variant: EnsembleRecipe) -> list[str]:
        """The tasks that a variant answers and that it says something new about."""
        tasks = self.pipeline.tasks_of(variant)
        if variant.members != self.recipe.members:
            whole, left = (
                partial(self.pipeline.members_of, recipe) for recipe in (self.recipe, variant)
            )
            return [task for task in tasks if len(left(task)) < len(whole(task))]
        if variant.can != self.recipe.can:
            return [task for task in tasks if task == "task2"]
        if variant.thresholds != self.recipe.thresholds:
            return [task for task in tasks if task != "task1"]
        return tasks

    def steps(self) -> list[Step]:
        """What the comparison needs, in order; not the members."""
        steps: list[Step] = []
        for variant in self.variants:
            steps += self.pipeline.ensemble_steps(variant.name, self.tasks_of(variant))
        return list({step.name: step for step in steps}.values())

    def tables(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Scoreboards: members and variants beside the best member of each task; what is left without each member
        beside the whole.

        The best is that of `best_runs`.
        """
        maker = self.pipeline.maker
        members = [
            self.pipeline.run(member.name) for member in self.pipeline.members_of(self.recipe)
        ]
        whole = [
            self.pipeline.ensemble_run(self.recipe, task) for task in self.tasks_of(self.recipe)
        ]
        others = [
            self.pipeline.ensemble_run(v, task)
            for v in self.variants[1:]
            for task in self.tasks_of(v)
        ]
        partial = [
            plan for plan in others if f".{WITHOUT}" in plan.name.removeprefix(self.recipe.name)
        ]
        methods = [plan for plan in others if plan not in partial]
        runs = {plan.name: maker.read_run(plan) for plan in [*members, *whole, *others]}
        flattery = read_optimism(self.pipeline.workspace, [*members, *whole, *others])
        best = best_runs(scoreboard(maker.examples, members, runs, {}))
        compared = scoreboard(maker.examples, [*members, *whole, *methods], runs, best, flattery)
        of_task = {plan.tasks[0]: plan.name for plan in whole}
        left = scoreboard(maker.examples, [*whole, *partial], runs, of_task, flattery)
        return compared, left[left["run"] != left["floor"]]

    @property
    def path(self) -> Path:
        """Where the table is written."""
        return self.pipeline.workspace.stack_table(self.recipe.name)

    def write(self, *tables: pd.DataFrame) -> None:
        """Write the tables as one CSV file."""
        write_text(self.path, str(pd.concat(tables).to_csv(index=False, lineterminator="\n")))


def mean_importance(pipeline: Pipeline, run: str, task: str) -> pd.Series:
    """The share of the gain of each feature of an ensemble that learns trees, mean over the folds, largest first."""
    table = read_table(pipeline.workspace.importance(run), pipeline.run(run, task).fingerprint)
    return table.groupby("feature")["importance"].mean().sort_values(ascending=False, kind="stable")


def mean_weights(by_fold: Mapping[str, Mapping[str, Mapping[str, float]]]) -> dict[str, float]:
    """The weight of each member of an ensemble's card, mean over the folds; empty where trees were learned."""
    folds = [fold["all"] for fold in by_fold.values() if fold]
    return (
        {member: sum(fold[member] for fold in folds) / len(folds) for member in folds[0]}
        if folds
        else {}
    )
