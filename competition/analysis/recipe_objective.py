"""What recipes with changed keys score on a workspace: each is one as `comp train --set` would make it.

They leave the files that any training leaves, but no recipe file. The seeds that confirm a winner are
keys of recipes, too.
"""

import shutil
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from competition.analysis.compare import fold_of_queries
from competition.analysis.search import Then, Training, Trial
from competition.analysis.trainings import Fold, Trainer
from competition.config.encoder_recipe import EncoderRecipe
from competition.config.loading import change_recipe, vary_recipe
from competition.config.recipe import LexicalRecipe
from competition.config.search_space import Changes, Choice, Range, SearchSpace, nest
from competition.config.settings import recipe_names
from competition.config.variants import find_variant
from competition.core.arrays import Array, Codes
from competition.core.console import warn
from competition.core.errors import Diverged, InputError, join_names
from competition.core.parquet import read_table
from competition.pipeline.steps import Pipeline
from competition.scoring import evaluation
from competition.scoring.evaluation import Counts
from competition.scoring.intervals import Statistic
from competition.scoring.metric_table import LOWER
from competition.scoring.task import Task

# Keys that change which rows are scored, or in how many seeds: trials could not be compared.
_FIXED = ("kind", "rows", "scheme", "seed", "seeds")


class RecipeObjective:
    """What changed recipes score out-of-fold on a task; an `Objective`."""

    def __init__(self, trainer: Trainer, recipe: str, task: str | None) -> None:
        """Search from a recipe.

        Args:
            trainer: of the workspace.
            recipe: its name.
            task: that trials are scored on; None for the one that the recipe is made for.

        Raises:
            InputError: the recipe is not trained on folds, does not answer the task, or the data
                have no labelled row of it.
        """
        self._trainer = trainer
        self.pipeline: Pipeline = trainer.pipeline
        base = self.pipeline.recipes.run(recipe)
        if not isinstance(base, EncoderRecipe | LexicalRecipe):
            raise InputError(
                f"{recipe!r} is not trained on folds, so it has no keys to tune: name another recipe."
            )
        kind = self.pipeline.recipes.kind_of(base)
        name = task or kind.primary
        self.task: Task = self.pipeline.plan.contest.task(name)
        if name not in kind.tasks:
            raise InputError(
                f"The recipe {recipe!r} does not answer {name}, only {', '.join(kind.tasks)}."
            )

        self.base: EncoderRecipe | LexicalRecipe = base
        examples = self.pipeline.tables.examples
        self._train = examples[examples["split"] == "train"]
        if evaluation.graded_rows(self.task, self._train).empty:
            raise InputError(
                f"The data have no labelled training row of {name} to score trials on."
            )
        self._known: dict[tuple[str, tuple[int, ...]], Counts] = {}

    @property
    def folds(self) -> tuple[int, ...]:
        """The folds of the recipe."""
        return tuple(self.base.folds)

    @property
    def statistic(self) -> Statistic:
        """The task's metric, turned round where lower is better."""
        of_task = self.task.metric.statistic
        return (lambda sums: -of_task(sums)) if self.task.metric.better == LOWER else of_task

    def label_paths(self, trials: Sequence[Trial]) -> tuple[str, ...]:
        """Return the ways by which labels that are scored reach the recipe or trials."""
        runs = [self.base.name, *(self.run(trial.changes) for trial in trials)]
        found = (path for run in runs for path in self.pipeline.plan.run(run).label_paths)
        return tuple(dict.fromkeys(found))

    def check(self, space: SearchSpace) -> None:
        """Refuse values that the recipe cannot take, and warn of keys that change nothing.

        Keys that fit one by one may not fit together, so pairs are tried, too.
        """
        source = str(space.source)
        if "description" in space.keys:
            raise InputError(f"{source}: a description changes no result: leave it out.")
        fixed = sorted({key.partition(".")[0] for key in space.keys} & set(_FIXED))
        if fixed:
            raise InputError(
                f"{source}: {join_names(fixed)} would change what trials are scored on: leave it out."
            )
        plan = self.pipeline.plan
        held_out = not plan.paths_to(self.base)
        used: set[str] = set()
        for changes in [*space.corners, *space.pairs]:
            varied = change_recipe(
                plan.workspace, plan.settings, plan.contest, self.base.name, self.base.name,
                nest(changes), source,
            )  # fmt: skip
            assert isinstance(varied, EncoderRecipe | LexicalRecipe)
            used |= changes.keys() - varied.unused_keys()

            for key in changes:
                _check_numbers(varied, key, space.keys[key], source)
            if held_out and (paths := plan.paths_to(varied)):
                raise InputError(
                    f"{source}: with {describe_changes(changes)}, labels that score a trial would reach it through "
                    f"{' and '.join(paths)}, which looks like a gain: leave it out."
                )
        if idle := sorted(space.keys.keys() - used):
            warn(f"{join_names(idle)} changes nothing: what it belongs to is switched off.")

    def run(self, changes: Changes, repeat: int = 0) -> str:
        """Return the name of the recipe with some changes, and of its run."""
        plan = self.pipeline.plan
        changes = nest(changes) | (self._fresh_seeds(repeat) if repeat else {})
        if not changes:
            return self.base.name
        varied = vary_recipe(
            plan.workspace, plan.settings, plan.contest, self.base.name, changes, "comp tune"
        )
        name = varied.recipe.name
        # Nothing differs from the recipe as it is, or somebody has trained the same by `comp train --set`.
        if name != self.base.name and not find_variant(
            plan.workspace, name, varied.base, varied.changes
        ):
            self.pipeline.recipes.add(varied.recipe)
        return name

    def _fresh_seeds(self, repeat: int) -> dict[str, Any]:
        """Return seeds that neither the search nor another repeat has."""
        seeds = self.base.all_seeds
        first = max(seeds) + 1 + (repeat - 1) * len(seeds)
        if isinstance(self.base, EncoderRecipe) and self.base.seeds:
            return {"seeds": list(range(first, first + len(seeds)))}
        return {"seed": first}

    @property
    def at_a_time(self) -> int:
        """The trainings that run side by side."""
        return self._trainer.at_a_time

    def train(self, first: Iterable[Training], then: Then) -> None:
        """Train what is missing of some folds, and of those that `then` asks for."""
        asked: dict[Fold, list[Training]] = {}

        def folds(trainings: Iterable[Training]) -> list[Fold]:
            found = []
            for training in trainings:
                fold = Fold(self.run(training.changes, training.repeat), training.fold)
                asked.setdefault(fold, []).append(training)
                found.append(fold)
            return found

        def ended(fold: Fold, diverged: Diverged | None) -> list[Fold]:
            # Trials that do not differ have one run.
            return [
                following
                for training in asked.pop(fold, [])
                for following in folds(then(training, diverged))
            ]

        self._trainer.train(folds(first), ended)

    def count(self, changes: Changes, repeat: int, folds: Sequence[int]) -> Array:
        """Return what each query that is held out in some folds, which are trained, adds to the metric."""
        run, part = self.run(changes, repeat), tuple(folds)
        if (run, part) in self._known:
            return self._known[run, part].values

        counts = self._count(run, part)
        # Of trials, parts are asked for once; there may be many.
        if run == self.base.name or part == self.folds:
            self._known[run, part] = counts
        return counts.values

    def _count(self, run: str, folds: Sequence[int]) -> Counts:
        space, plan = self.pipeline.workspace, self.pipeline.plan.run(run)
        outputs = pd.concat([read_table(space.oof_fold(run, k), plan.parts[k][0]) for k in folds])
        rows = self._train[self._train["example_id"].isin(outputs["example_id"])]
        return evaluation.count_outputs(self.task, plan.kind, outputs, rows)

    def fold_of_queries(self) -> Codes:
        """Return the fold of `five` of each query that is graded."""
        counts = self._known[self.base.name, self.folds]
        return fold_of_queries(self.pipeline, self.task, counts.queries)

    def remove_models(self, changes: Changes, repeat: int = 0) -> None:
        """Remove the models of a run that no recipe file names; its outputs stay."""
        run = self.run(changes, repeat)
        if run not in recipe_names(self.pipeline.workspace):
            shutil.rmtree(self.pipeline.workspace.models / run, ignore_errors=True)


def _check_numbers(
    recipe: EncoderRecipe | LexicalRecipe, key: str, values: Range | Choice, source: str
) -> None:
    """Refuse a range of integers for a key that takes any number, and one of any for a key that takes integers."""
    value: Any = recipe
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else getattr(value, part, None)
    if not isinstance(values, Range) or isinstance(value, bool):
        return

    if isinstance(value, int) and not values.integers:
        raise InputError(
            f"{source}: {key} takes integers: write low, high and step without a point."
        )
    if isinstance(value, float) and values.integers and values.step is None:
        raise InputError(
            f"{source}: {key} takes any number: write low = {float(values.low)}, or name a step."
        )


def describe_changes(changes: Changes) -> str:
    """Return changes in a line."""
    return ", ".join(f"{key}={value}" for key, value in changes.items())
