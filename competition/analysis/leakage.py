"""The audit of a workspace for leaks: rows and overlaps of every run, and its score on shuffled labels."""

import hashlib
import math
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, Self

import pandas as pd

from competition.analysis.permutation_test import (
    TARGET_LEAK,
    PermutationTest,
    Refit,
    count_repeated_pairs,
    permutation_test,
)
from competition.config.recipe import EnsembleRecipe, ImportedRecipe, LexicalRecipe, MemberRecipe
from competition.core.errors import CompError, join_names, pluralize
from competition.core.fingerprint import derive_seed
from competition.core.workspace import Workspace
from competition.data import store
from competition.data.folds import shared_with_test
from competition.pipeline.build_outputs import fit_ensemble, read_members
from competition.pipeline.execute import execute
from competition.pipeline.rows import sides
from competition.pipeline.steps import Pipeline
from competition.scoring.basis import describe_basis
from competition.scoring.intervals import MIN_QUERIES
from competition.scoring.optimism import record_optimism
from competition.scoring.predictions import RunPlan

# `look` is a failed check: a leak, or rows that are not as they should be.
Outcome = Literal["ok", "look", "approximate", "cannot say", "not tried"]


@dataclass(frozen=True)
class LeakTest:
    """One check and its outcome."""

    subject: str  # a run, or the data
    verdict: Outcome
    message: str

    @property
    def passed(self) -> bool:
        """Whether the score can be trusted as what it is said to be."""
        return self.verdict != "look"


def audit_leaks(
    pipeline: Pipeline, names: Sequence[str], shuffles: int | None, deep: bool
) -> Iterator[LeakTest]:
    """Check the data, then the runs and ensembles `names` and what they are made from.

    Ensembles are refitted on shuffled labels over their members as they are, LightGBM members are
    retrained on them.

    Args:
        pipeline: of the workspace; its runs must be complete.
        names: recipes and ensembles.
        shuffles: how often labels are shuffled for each run and task; None for as many as it takes.
        deep: rebuild every run on shuffled labels, with all that it learns from, in temporary
            workspaces; what an approximate run then scores above chance is recorded as its optimism.
    """
    yield from _check_data(pipeline)
    order = pipeline.recipes.order(names)
    with _ShuffledWorkspaces(pipeline, order) as workspaces:
        for name in order:
            recipe = pipeline.recipes.run(name)
            if isinstance(recipe, EnsembleRecipe):
                for task in pipeline.recipes.tasks_of(recipe):
                    audit = _RunAudit(pipeline, pipeline.plan.run(name, task), task, shuffles)
                    yield from audit.ensemble(recipe, workspaces if deep else None)
            else:
                plan = pipeline.plan.run(name)
                task = next((t for t in plan.tasks if t in pipeline.plan.card.tasks), plan.tasks[0])
                audit = _RunAudit(pipeline, plan, task, shuffles)
                yield from audit.member(recipe, workspaces if deep else None)


def _check_data(pipeline: Pipeline) -> Iterator[LeakTest]:
    """Yield the number of repeated pairs, and of training queries that are test queries."""
    examples = pipeline.tables.examples
    repeated = count_repeated_pairs(examples)
    pairs = pluralize(
        repeated,
        "training pair of query text and product is",
        "training pairs of query text and product are",
    )
    yield LeakTest("data", "look" if repeated else "ok", f"{pairs} judged more than once")

    if not pipeline.plan.contest.has_queries_apart:
        # Test queries are meant to be training queries.
        return

    shared = len(shared_with_test(examples))
    queries = pluralize(
        shared, "training query is a test query", "training queries are test queries"
    )
    yield LeakTest("data", "ok", f"{queries}, too: their labels are open to all")


@dataclass(frozen=True)
class _RunAudit:
    """The checks of one run on one task."""

    pipeline: Pipeline
    plan: RunPlan
    task: str
    shuffles: int | None

    def ensemble(
        self, recipe: EnsembleRecipe, workspaces: "_ShuffledWorkspaces | None"
    ) -> Iterator[LeakTest]:
        """Yield the checks of an ensemble; rebuilt with its members if there are `workspaces`."""
        yield (check := self._check_rows())
        if not check.passed:
            return
        yield self._describe(self._refit(recipe), "fitted")
        if workspaces is not None and self._imported():
            yield self._cannot_rebuild()
        elif workspaces is not None:
            yield self._rebuild(workspaces)
        elif self.plan.label_paths:
            yield self._approximate()

    def member(
        self, recipe: MemberRecipe, workspaces: "_ShuffledWorkspaces | None"
    ) -> Iterator[LeakTest]:
        """Yield the checks of a model; rebuilt with all that it learns from if there are `workspaces`."""
        yield (check := self._check_rows())
        if not check.passed:
            return
        if self._imported():
            yield self._cannot_rebuild()
        elif workspaces is not None:
            yield self._rebuild(workspaces)
        elif self.plan.label_paths:
            yield self._approximate()
        elif isinstance(recipe, LexicalRecipe) and not (recipe.noise_from or recipe.distill_from):
            yield self._describe(self._retrain(recipe), "trained")
        else:
            message = "held-out by its recipe; --deep trains it on shuffled labels"
            yield LeakTest(self.plan.name, "not tried", message)

    def _imported(self) -> list[str]:
        """Return the runs that another tool made, of those that this one is made from."""
        recipes = self.pipeline.recipes
        stem, _ = self.pipeline.plan.contest.split_run(self.plan.name)
        return [n for n in recipes.order([stem]) if isinstance(recipes.run(n), ImportedRecipe)]

    def _cannot_rebuild(self) -> LeakTest:
        """Return that outputs which another tool made are not made again on shuffled labels."""
        message = f"{join_names(self._imported())} came from another tool, nothing is trained here"
        return LeakTest(self.plan.name, "not tried", message)

    def _approximate(self) -> LeakTest:
        """Return that labels reach the score by the recipe, which no shuffle needs to show."""
        message = f"{describe_basis(self.plan.label_paths)}; --deep measures how much too high the score is"
        return LeakTest(self.plan.name, "approximate", message)

    def _check_rows(self) -> LeakTest:
        """Check that the run has each row once, in the fold of its query's text, which reading it does."""
        try:
            run = self.pipeline.tables.read_run(self.plan)
        except CompError as error:
            return LeakTest(self.plan.name, "look", str(error).removesuffix("."))
        rows = pluralize(len(run.held_out), "row")
        apart = self.pipeline.plan.contest.has_queries_apart
        queries = "0 query texts in two of them" if apart else "queries may be in several"
        message = f"{rows}, each once, in {len(self.plan.folds)} folds; {queries}"
        return LeakTest(self.plan.name, "ok", message)

    def _refit(self, recipe: EnsembleRecipe) -> PermutationTest:
        """Return the permutation test of an ensemble over its members as they are."""
        tables = self.pipeline.tables
        ensemble = self.pipeline.plan.ensemble(recipe, self.task)
        members = read_members(tables, ensemble)

        def refit(examples: pd.DataFrame) -> pd.DataFrame:
            fitted = fit_ensemble(tables, ensemble, members, examples)
            return pd.concat(fitted.held_out, ignore_index=True)

        return self._test(refit)

    def _retrain(self, recipe: LexicalRecipe) -> PermutationTest:
        """Return the permutation test of a LightGBM model that learns from labels alone: it is cheap."""
        from competition.models.lexical.lexical import predict_lexical, train_lexical

        tables = self.pipeline.tables
        kind = self.plan.kind
        fold_of_row = tables.fold_of_rows(self.plan.scheme)
        kind = self.plan.kind

        def refit(examples: pd.DataFrame) -> pd.DataFrame:
            held_out = []
            for fold in self.plan.folds:
                rows = sides(recipe, kind, examples, fold_of_row, (fold,))
                train = examples[rows["train"]]
                booster = train_lexical(recipe, kind, tables.lexical_features, train, str(fold))
                ids = examples.loc[rows["held_out"], "example_id"].to_numpy()
                held_out.append(predict_lexical(booster, kind, tables.lexical_features, ids))
            return pd.concat(held_out, ignore_index=True)

        return self._test(refit)

    def _rebuild(self, workspaces: "_ShuffledWorkspaces") -> LeakTest:
        """Return the permutation test of the rebuilt run; of an approximate run, record the optimism."""
        # All runs of a task share their shuffles, and so what they are made from.
        result = self._test(
            lambda examples: workspaces.held_out(self.plan, examples), derive_seed(self.task)
        )
        test = self._describe(result, "rebuilt")
        if not self.plan.label_paths or not result.conclusive:
            return test
        record_optimism(self.pipeline.workspace, self.plan, self.task, result.above_chance)
        message = f"{describe_basis(self.plan.label_paths)}; {test.message}"
        return LeakTest(self.plan.name, "approximate", message)

    def _test(self, refit: Refit, seed: int = 0) -> PermutationTest:
        """Run the permutation test of this run and task."""
        examples = self.pipeline.tables.examples
        task = self.pipeline.plan.contest.tasks[self.task]
        positives = self.pipeline.plan.contest.positives
        return permutation_test(
            task, self.plan.kind, examples, refit, self.shuffles, seed, positives
        )

    def _describe(self, result: PermutationTest, verb: str) -> LeakTest:
        """Return a permutation test in words."""
        score = f"{result.score.value:.4f}, minus {result.chance} {result.above_chance:+}"
        message = f"{verb} on shuffled labels: {score}"
        if not result.conclusive:
            queries = pluralize(result.above_chance.queries, "query", "queries")
            message += f"; {queries} can tell, it takes {MIN_QUERIES}"
            return LeakTest(self.plan.name, "cannot say", message)

        message += f"; a leak of {result.detectable:.3f} or more would be detected"
        if result.detectable > TARGET_LEAK:
            enough = math.ceil(result.shuffles * (result.detectable / TARGET_LEAK) ** 2)
            message += f", of {TARGET_LEAK} with --shuffles {enough}"
        return LeakTest(self.plan.name, "look" if result.significant else "ok", message)


class _ShuffledWorkspaces:
    """Temporary workspaces in which runs are rebuilt on shuffled labels, one for each shuffle."""

    def __init__(self, pipeline: Pipeline, names: Sequence[str]) -> None:
        self._pipeline = pipeline
        recipes = [pipeline.recipes.run(name) for name in names]
        # Of these the models speak, in every rebuilding of a student.
        self._teachers = {
            recipe.distill_from
            for recipe in recipes
            if not isinstance(recipe, EnsembleRecipe) and recipe.reads_unlabelled
        }
        # By the digest of the labels.
        self._spaces: dict[str, Workspace] = {}
        self._folders = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._folders.close()

    def held_out(self, plan: RunPlan, examples: pd.DataFrame) -> pd.DataFrame:
        """Rebuild a run on the labels of `examples`, with all that it is made from; return its held-out outputs."""
        inner = Pipeline(self._workspace(examples))
        stem, task = inner.plan.contest.split_run(plan.name)

        # The run is the last in order. An ensemble is rebuilt for this task only, what it is made of
        # for all.
        names = inner.recipes.order([stem])
        steps = [step for name in names[:-1] for step in inner.run_steps(name)]
        steps += inner.ensemble_steps(stem, [task]) if task else inner.run_steps(stem)
        execute(inner.workspace, steps)

        # Of the others, only the out-of-fold files are read again.
        for name in set(names) - self._teachers:
            shutil.rmtree(inner.workspace.models / name, ignore_errors=True)
        return inner.tables.read_run(inner.plan.run(plan.name)).held_out

    def _workspace(self, examples: pd.DataFrame) -> Workspace:
        """Return the workspace with the labels of `examples`; made at the first call."""
        positives = self._pipeline.plan.contest.positives
        columns = examples[["example_id", "label", *positives]]
        hashes = pd.util.hash_pandas_object(columns, index=False)
        key = hashlib.sha256(hashes.to_numpy().tobytes()).hexdigest()
        if key not in self._spaces:
            folder = Path(self._folders.enter_context(TemporaryDirectory(prefix="comp-leaks-")))
            self._spaces[key] = self._copy(folder, examples)
        return self._spaces[key]

    def _copy(self, folder: Path, examples: pd.DataFrame) -> Workspace:
        """Make a workspace with the same settings and recipes, and other labels."""
        workspace = self._pipeline.workspace
        shutil.copy(workspace.settings_file, folder)
        if workspace.recipe_folder.is_dir():
            shutil.copytree(workspace.recipe_folder, folder / workspace.recipe_folder.name)
        copy = Workspace.open(folder, workspace.paths_from)
        store.save(
            copy,
            self._pipeline.plan.contest,
            examples,
            self._pipeline.tables.products,
            "shuffled labels",
        )
        if workspace.unlabelled.is_file():
            shutil.copy(workspace.unlabelled, copy.unlabelled)
        return copy
