"""Two runs of a workspace compared, each with the runs of the same recipe and other seeds beside it."""

import csv
from dataclasses import dataclass

import numpy as np

from competition.config.encoder_recipe import EncoderRecipe
from competition.config.recipe import EnsembleRecipe, LexicalRecipe, MemberRecipe, RunRecipe
from competition.config.settings import recipe_names
from competition.core.arrays import Codes
from competition.core.errors import CompError, InputError
from competition.core.workspace import Workspace
from competition.pipeline.keys import PAIRED
from competition.pipeline.recipe_types import type_of
from competition.pipeline.steps import Pipeline
from competition.scoring import evaluation
from competition.scoring.comparison import Comparison, compare_seeds
from competition.scoring.evaluation import Counts
from competition.scoring.metric_table import LOWER
from competition.scoring.predictions import RunPlan
from competition.scoring.task import Task


@dataclass(frozen=True)
class ComparedTask:
    """Two recipes on one task."""

    task: Task
    runs: tuple[tuple[str, ...], tuple[str, ...]]  # of each recipe, one per seed
    scores: tuple[float, float]  # the mean over the seeds
    result: Comparison
    label_paths: tuple[str, ...]  # by which labels reached either score
    has_seeds: bool  # whether both are recipes that other seeds train again

    @property
    def better(self) -> int | None:
        """Return 0 where the first is better, 1 where the second is; None where noise could be all."""
        if not self.result.differs:
            return None
        higher = self.result.difference.value > 0
        return int(higher == (self.task.metric.better == LOWER))


def compare_runs(workspace: Workspace, first: str, second: str) -> list[ComparedTask]:
    """Compare two runs on each task that both answer.

    Raises:
        InputError: they are one run, or answer no task in common; or one is a trial of a search, which
            has no recipe file.
        CompError: one of them is not complete and up to date.
    """
    pipeline = Pipeline(workspace)
    names = (first, second)
    if first == second:
        raise InputError(f"{first!r} cannot be compared with itself: name two runs.")

    known = recipe_names(workspace)
    for name in names:
        command = "" if name in known else _command_of_trial(workspace, name)
        if command:
            raise InputError(
                f"{name!r} is a trial of a search, which has no recipe file: `{command}` writes one, and trains those "
                "folds alone that the search has left out."
            )

    repeats = tuple(_repeats(pipeline, name) for name in names)
    if set(repeats[0]) & set(repeats[1]):
        # Two seeds of one recipe: a check that nothing differs.
        repeats = ((first,), (second,))

    has_seeds = all(
        isinstance(_recipe(pipeline, name), EncoderRecipe | LexicalRecipe) for name in names
    )
    examples = pipeline.tables.examples
    train = examples[examples["split"] == "train"]
    compared = []
    for task in pipeline.plan.contest.tasks.values():
        plans = [[_plan(pipeline, run, task.name) for run in runs] for runs in repeats]
        graded = evaluation.graded_rows(task, train)
        if graded.empty or any(plan is None for each in plans for plan in each):
            continue

        kept = [[plan for plan in each if plan is not None] for each in plans]
        counts = [[_count(pipeline, plan, task) for plan in each] for each in kept]
        if not all(np.array_equal(one.queries, counts[0][0].queries) for c in counts for one in c):
            raise ValueError("paired results must have the same queries")

        values = [[one.values for one in each] for each in counts]
        statistic = counts[0][0].statistic
        fold = fold_of_queries(pipeline, task, counts[0][0].queries)
        result = compare_seeds(values[0], values[1], fold, statistic)
        scores = tuple(float(statistic(np.sum(each, axis=0).sum(axis=0))) for each in values)
        paths = [path for each in kept for path in each[0].label_paths]
        compared.append(
            ComparedTask(
                task,
                (tuple(plan.name for plan in kept[0]), tuple(plan.name for plan in kept[1])),
                (scores[0], scores[1]),
                result,
                tuple(dict.fromkeys(paths)),
                has_seeds,
            )
        )

    if not compared:
        raise InputError(f"{first!r} and {second!r} answer no labelled task in common.")
    return compared


def _repeats(pipeline: Pipeline, name: str) -> tuple[str, ...]:
    """Return the run called `name`, then those complete ones whose recipes differ from its own in the seed alone."""
    recipe = _recipe(pipeline, name)
    if isinstance(recipe, EnsembleRecipe):
        return (name,)

    repeats = [name]
    seeds = set(recipe.all_seeds)
    for other in recipe_names(pipeline.workspace):
        if other == name or not pipeline.workspace.run_card(other).is_file():
            continue
        found = pipeline.recipes.load(other)
        # The same seed under another name is the same training, and no evidence of how trainings vary.
        if not isinstance(found, type(recipe)) or not seeds.isdisjoint(found.all_seeds):
            continue
        if not _differ_in_seed_alone(pipeline, found, recipe):
            continue
        if pipeline.complete_run(pipeline.plan.run(other)).state == "done":
            repeats.append(other)
            seeds |= set(found.all_seeds)
    return tuple(repeats)


def _differ_in_seed_alone(pipeline: Pipeline, one: MemberRecipe, other: MemberRecipe) -> bool:
    """Return whether nothing else that can change their results differs: keys, encoder, rows that are added."""

    def keys(recipe: MemberRecipe) -> dict[str, object]:
        return {key: value for key, value in recipe.result_keys().items() if key != "seed"}

    def inputs(recipe: MemberRecipe) -> list[object]:
        made_by, artifacts = type_of(recipe), pipeline.plan.artifacts
        return [made_by.artifacts(artifacts, recipe), made_by.added_rows(artifacts, recipe)]

    return keys(one) == keys(other) and inputs(one) == inputs(other)


def _command_of_trial(workspace: Workspace, name: str) -> str:
    """Return the command that makes a recipe of a trial; empty where no search has a trial of that name."""
    for path in sorted(workspace.scores.parent.glob("tune-*.csv")):
        with path.open(encoding="utf-8", newline="") as table:
            for cells in csv.DictReader(table):
                if cells["run"] == name:
                    return cells.get("command") or ""
    return ""


def _recipe(pipeline: Pipeline, name: str) -> RunRecipe:
    return pipeline.recipes.run(pipeline.plan.contest.split_run(name)[0])


def _plan(pipeline: Pipeline, name: str, task: str) -> RunPlan | None:
    """Return the run that answers a task; None where none of that name does."""
    stem, suffix = pipeline.plan.contest.split_run(name)
    recipe = pipeline.recipes.run(stem)
    if suffix not in ("", task) or task not in pipeline.recipes.tasks_of(recipe):
        return None

    served = pipeline.plan.contest.task(task)
    if isinstance(recipe, EnsembleRecipe) and not recipe.serves(served):
        return None
    return pipeline.plan.run(stem, task)


def _count(pipeline: Pipeline, plan: RunPlan, task: Task) -> Counts:
    """Return what each query adds to a task's metric, by the out-of-fold outputs of a run."""
    step = pipeline.complete_run(plan)
    if step.state != "done":
        raise CompError(f"The run {plan.name!r} is {step.state}: `{plan.command}` makes it.")

    examples = pipeline.tables.examples
    train = examples[examples["split"] == "train"]
    return evaluation.count_outputs(task, plan.kind, pipeline.tables.read_run(plan).held_out, train)


def fold_of_queries(pipeline: Pipeline, task: Task, units: Codes) -> Codes:
    """Return the fold of `five` of each query, or of each row where rows stand for themselves.

    Folds of `ten` are halves of these, so that what is in different folds was never predicted by
    one model.
    """
    of_rows = pipeline.tables.fold_of_training(PAIRED)
    if task.by_rows:
        return np.asarray(of_rows.reindex(units), np.int64)

    examples = pipeline.tables.examples
    train = examples[examples["split"] == "train"]
    of_queries = of_rows.loc[train["example_id"]].set_axis(train["query_id"])
    return np.asarray(of_queries[~of_queries.index.duplicated()].reindex(units), np.int64)
