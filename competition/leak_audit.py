"""The audit of a workspace for leaks: every run and ensemble, what was counted and what shuffled labels gave."""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from competition import leaks
from competition.data import store
from competition.errors import CompError
from competition.execution import execute
from competition.files.fingerprints import derive_seed
from competition.folds import shared_with_test
from competition.oof import RunPlan
from competition.pipeline import Pipeline
from competition.recipe import EnsembleRecipe
from competition.tasks import TASKS
from competition.workspace import Workspace


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    what: str
    passed: bool
    said: str


def audit(pipeline: Pipeline, names: Sequence[str], shuffles: int, deep: bool) -> Iterator[Finding]:
    """Look at the data, then at the runs and ensembles `names` and what they are made from.

    Args:
        pipeline: of the workspace; its runs must be complete.
        names: recipes and ensembles.
        shuffles: how often the labels are shuffled for each ensemble and task.
        deep: whether the members are trained on shuffled labels as well, in a workspace of their own; once per task.
    """
    yield from _data(pipeline)
    for name in pipeline.order(names):
        recipe = pipeline.recipe(name)
        tasks = pipeline.tasks_of(recipe) if isinstance(recipe, EnsembleRecipe) else [None]
        for task in tasks:
            plan = pipeline.run(name, task)
            yield _rows(pipeline, plan)
            if isinstance(recipe, EnsembleRecipe):
                yield _trial(plan, _refitted(pipeline, recipe, plan, shuffles), "fitted")
                if deep:
                    yield _trial(plan, _retrained(pipeline, recipe, plan), "members trained and fitted")


def _data(pipeline: Pipeline) -> Iterator[Finding]:
    maker = pipeline.maker
    examples = maker.examples
    repeated = leaks.repeated_pairs(examples)
    yield Finding(
        "data", repeated == 0, f"{repeated:,} training pairs of query text and product are judged more than once"
    )
    shared = len(shared_with_test(examples))
    yield Finding("data", True, f"{shared:,} training queries are test queries, too: their labels are open to all")


def _rows(pipeline: Pipeline, plan: RunPlan) -> Finding:
    """Whether a run holds each row once, in the fold of its query's text: reading it checks both."""
    try:
        run = pipeline.maker.read_run(plan)
    except CompError as error:
        return Finding(plan.name, False, str(error).removesuffix("."))
    said = f"{len(run.held_out):,} rows, each once, in {len(plan.folds)} folds; 0 query texts in two of them"
    return Finding(plan.name, True, said)


def _refitted(pipeline: Pipeline, recipe: EnsembleRecipe, plan: RunPlan, shuffles: int) -> leaks.Trial:
    """The permutation test of an ensemble over the members as they are."""
    maker = pipeline.maker
    (task,) = plan.tasks
    members = maker.members(plan, *pipeline.combined(recipe, task))

    def refit(examples: pd.DataFrame) -> pd.DataFrame:
        return pd.concat(maker.combine(plan, recipe, members, examples).held_out, ignore_index=True)

    return leaks.permutation_test(TASKS[task], plan.kind, maker.examples, refit, shuffles)


def _retrained(pipeline: Pipeline, recipe: EnsembleRecipe, plan: RunPlan) -> leaks.Trial:
    """The same with members that are trained on the shuffled labels, in a workspace that is thrown away."""
    maker = pipeline.maker
    (task,) = plan.tasks

    def refit(examples: pd.DataFrame) -> pd.DataFrame:
        with TemporaryDirectory(prefix="comp-leaks-") as folder:
            space = _copy(pipeline.workspace, Path(folder), examples, maker.products)
            inner = Pipeline(space)
            steps = [step for member in inner.members_of(recipe) for name in inner.order([member.name])
                     for step in inner.run_steps(name)]  # fmt: skip
            execute(space, {step.name: step for step in [*steps, *inner.ensemble_steps(recipe.name, [task])]}.values())
            return inner.maker.read_run(inner.run(recipe.name, task)).held_out

    return leaks.permutation_test(TASKS[task], plan.kind, maker.examples, refit, 1, derive_seed(task))


def _copy(workspace: Workspace, folder: Path, examples: pd.DataFrame, products: pd.DataFrame) -> Workspace:
    """A workspace with the same settings and recipes, and other labels."""
    shutil.copy(workspace.settings_file, folder)
    if workspace.own_recipes.is_dir():
        shutil.copytree(workspace.own_recipes, folder / workspace.own_recipes.name)
    space = Workspace.open(folder)
    store.save(space, examples, products, "shuffled labels")
    return space


def _trial(plan: RunPlan, trial: leaks.Trial, how: str) -> Finding:
    said = f"{how} on shuffled labels: {trial.score}, minus {trial.chance} {trial.above_chance:+}"
    return Finding(plan.name, trial.passed, said)
