"""The audit of a workspace for leaks: every run and ensemble, what was counted and what shuffled labels gave."""

import hashlib
import math
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import pandas as pd

from competition.analysis import permutation_test
from competition.config.recipe import EnsembleRecipe, LexicalRecipe, MemberRecipe
from competition.core.errors import CompError, pluralize
from competition.core.fingerprint import derive_seed
from competition.core.workspace import Workspace
from competition.data import store
from competition.data.folds import shared_with_test
from competition.pipeline.build_runs import sides
from competition.pipeline.execute import execute
from competition.pipeline.plan import split_run
from competition.pipeline.steps import Pipeline
from competition.scoring.basis import describe_basis
from competition.scoring.metrics import MIN_QUERIES
from competition.scoring.optimism import record_optimism
from competition.scoring.predictions import RunPlan
from competition.scoring.tasks import TASKS

Outcome = Literal["ok", "look", "approximate", "cannot say", "not tried"]


@dataclass(frozen=True)
class LeakTest:
    """One thing that was looked at."""

    subject: str
    verdict: Outcome
    message: str

    @property
    def passed(self) -> bool:
        """Whether nothing was found that takes a score's worth away."""
        return self.verdict != "look"


def audit_leaks(
    pipeline: Pipeline, names: Sequence[str], shuffles: int | None, deep: bool
) -> Iterator[LeakTest]:
    """Look at the data, then at the runs and ensembles `names` and what they are made from.

    An ensemble is fitted on shuffled labels over its members as they are, a member of trees is
    trained on them.

    Args:
        pipeline: of the workspace; its runs must be complete.
        names: recipes and ensembles.
        shuffles: how often the labels are shuffled for each run and task; None for as many as it
            takes.
        deep: whether every run is made anew on shuffled labels, with all that it learns from, in
            workspaces of their own; what an approximate run then scores above chance is kept as
            that by which it flatters.
    """
    yield from _data(pipeline)
    with _Remade(pipeline) as remade:
        for name in pipeline.order(names):
            recipe = pipeline.recipe(name)
            if isinstance(recipe, EnsembleRecipe):
                for task in pipeline.tasks_of(recipe):
                    yield from _ensemble(pipeline, recipe, task, shuffles, remade if deep else None)
            else:
                yield from _member(pipeline, recipe, shuffles, remade if deep else None)


def _ensemble(
    pipeline: Pipeline,
    recipe: EnsembleRecipe,
    task: str,
    shuffles: int | None,
    remade: "_Remade | None",
) -> Iterator[LeakTest]:
    plan = pipeline.run(recipe.name, task)
    yield (rows := _rows(pipeline, plan))
    if not rows.passed:
        return
    yield _trial(plan, _refitted(pipeline, recipe, plan, shuffles), "fitted")
    if remade is not None:
        yield _remade_trial(pipeline, plan, task, shuffles, remade)
    elif plan.label_paths:
        yield LeakTest(
            plan.name,
            "approximate",
            f"{describe_basis(plan.label_paths)}; --deep measures what that flatters",
        )


def _member(
    pipeline: Pipeline, recipe: MemberRecipe, shuffles: int | None, remade: "_Remade | None"
) -> Iterator[LeakTest]:
    plan = pipeline.run(recipe.name)
    yield (rows := _rows(pipeline, plan))
    if not rows.passed:
        return
    task = next((task for task in plan.tasks if task in pipeline.card.tasks), plan.tasks[0])
    if remade is not None:
        yield _remade_trial(pipeline, plan, task, shuffles, remade)
    elif plan.label_paths:
        yield LeakTest(
            plan.name,
            "approximate",
            f"{describe_basis(plan.label_paths)}; --deep measures what that flatters",
        )
    elif isinstance(recipe, LexicalRecipe) and not (recipe.noise_from or recipe.distill_from):
        yield _trial(plan, _regrown(pipeline, recipe, plan, task, shuffles), "trained")
    else:
        yield LeakTest(
            plan.name, "not tried", "held-out by its recipe; --deep trains it on shuffled labels"
        )


def _data(pipeline: Pipeline) -> Iterator[LeakTest]:
    maker = pipeline.maker
    examples = maker.examples
    repeated = permutation_test.count_repeated_pairs(examples)
    pairs = pluralize(
        repeated,
        "training pair of query text and product is",
        "training pairs of query text and product are",
    )
    yield LeakTest("data", "look" if repeated else "ok", f"{pairs} judged more than once")
    shared = len(shared_with_test(examples))
    queries = pluralize(
        shared, "training query is a test query", "training queries are test queries"
    )
    yield LeakTest("data", "ok", f"{queries}, too: their labels are open to all")


def _rows(pipeline: Pipeline, plan: RunPlan) -> LeakTest:
    """Whether a run holds each row once, in the fold of its query's text: reading it checks both."""
    try:
        run = pipeline.maker.read_run(plan)
    except CompError as error:
        return LeakTest(plan.name, "look", str(error).removesuffix("."))
    rows = pluralize(len(run.held_out), "row")
    return LeakTest(
        plan.name,
        "ok",
        f"{rows}, each once, in {len(plan.folds)} folds; 0 query texts in two of them",
    )


def _refitted(
    pipeline: Pipeline, recipe: EnsembleRecipe, plan: RunPlan, shuffles: int | None
) -> permutation_test.PermutationTest:
    """The permutation test of an ensemble over the members as they are."""
    maker = pipeline.maker
    (task,) = plan.tasks
    members = maker.members(plan, *pipeline.combined(recipe, task))

    def refit(examples: pd.DataFrame) -> pd.DataFrame:
        return pd.concat(maker.combine(plan, recipe, members, examples).held_out, ignore_index=True)

    return permutation_test.permutation_test(
        TASKS[task], plan.kind, maker.examples, refit, shuffles
    )


def _regrown(
    pipeline: Pipeline, recipe: LexicalRecipe, plan: RunPlan, task: str, shuffles: int | None
) -> permutation_test.PermutationTest:
    """The permutation test of trees that learn from labels alone: cheap enough to be trained whenever it is asked."""
    from competition.models.lexical.lexical import predict_lexical, train_lexical

    maker, fold_of_row = pipeline.maker, pipeline.maker.fold_of_rows(plan.scheme)

    def refit(examples: pd.DataFrame) -> pd.DataFrame:
        held_out = []
        for fold in plan.folds:
            rows = sides(recipe, examples, fold_of_row, (fold,))
            booster = train_lexical(
                recipe, maker.lexical_features, examples[rows["train"]], str(fold)
            )
            ids = examples.loc[rows["held_out"], "example_id"].to_numpy()
            held_out.append(predict_lexical(booster, maker.lexical_features, ids))
        return pd.concat(held_out, ignore_index=True)

    return permutation_test.permutation_test(
        TASKS[task], plan.kind, maker.examples, refit, shuffles
    )


class _Remade:
    """Runs that are made anew on shuffled labels: a workspace for each shuffle, thrown away in the end."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._spaces: dict[str, Workspace] = {}  # by the labels
        self._folders = ExitStack()

    def __enter__(self) -> "_Remade":
        return self

    def __exit__(self, *_: object) -> None:
        self._folders.close()

    def held_out(self, plan: RunPlan, examples: pd.DataFrame) -> pd.DataFrame:
        """Make a run on other labels, with all that it is made from; the outputs of its held-out rows."""
        inner = Pipeline(self._space(examples))
        stem, task = split_run(plan.name)
        *behind, _ = needed = inner.order([stem])
        steps = [step for name in behind for step in inner.run_steps(name)]
        steps += inner.ensemble_steps(stem, [task]) if task else inner.run_steps(stem)
        execute(inner.workspace, {step.name: step for step in steps}.values())
        for name in needed:  # out-of-fold files are all that is read again
            shutil.rmtree(inner.workspace.models / name, ignore_errors=True)
        return inner.maker.read_run(inner.run(plan.name)).held_out

    def _space(self, examples: pd.DataFrame) -> Workspace:
        """The workspace with the labels of `examples`."""
        labels = pd.util.hash_pandas_object(
            examples[["example_id", "label", "substitute"]], index=False
        )
        key = hashlib.sha256(labels.to_numpy().tobytes()).hexdigest()
        if key not in self._spaces:
            folder = Path(self._folders.enter_context(TemporaryDirectory(prefix="comp-leaks-")))
            products = self._pipeline.maker.products
            self._spaces[key] = _copy(self._pipeline.workspace, folder, examples, products)
        return self._spaces[key]


def _copy(
    workspace: Workspace, folder: Path, examples: pd.DataFrame, products: pd.DataFrame
) -> Workspace:
    """A workspace with the same settings and recipes, and other labels."""
    shutil.copy(workspace.settings_file, folder)
    if workspace.recipe_folder.is_dir():
        shutil.copytree(workspace.recipe_folder, folder / workspace.recipe_folder.name)
    space = Workspace.open(folder)
    store.save(space, examples, products, "shuffled labels")
    return space


def _remade_trial(
    pipeline: Pipeline, plan: RunPlan, task: str, shuffles: int | None, remade: _Remade
) -> LeakTest:
    """The permutation test of a run that is made anew; what it measures of an approximate one is kept."""
    trial = permutation_test.permutation_test(
        TASKS[task],
        plan.kind,
        pipeline.maker.examples,
        lambda examples: remade.held_out(plan, examples),
        shuffles,
        derive_seed(task),  # runs share their shuffles, and what they are made from
    )
    found = _trial(plan, trial, "made anew")
    if not plan.label_paths or not trial.conclusive:
        return found
    record_optimism(pipeline.workspace, plan, task, trial.above_chance)
    return LeakTest(
        plan.name, "approximate", f"{describe_basis(plan.label_paths)}; {found.message}"
    )


def _trial(plan: RunPlan, trial: permutation_test.PermutationTest, how: str) -> LeakTest:
    """A trial in words."""
    said = f"{how} on shuffled labels: {trial.score.value:.4f}, minus {trial.chance} {trial.above_chance:+}"
    if not trial.conclusive:
        queries = pluralize(trial.above_chance.queries, "query", "queries")
        return LeakTest(
            plan.name, "cannot say", f"{said}; {queries} can tell, it takes {MIN_QUERIES}"
        )
    size = f"a leak of {trial.detectable:.3f} or more would be seen"
    if trial.detectable > permutation_test.TARGET_LEAK:
        enough = math.ceil(trial.shuffles * (trial.detectable / permutation_test.TARGET_LEAK) ** 2)
        size += f", of {permutation_test.TARGET_LEAK} with --shuffles {enough}"
    return LeakTest(plan.name, "look" if trial.significant else "ok", f"{said}; {size}")
