"""The plan of a workspace: the runs that there should be, and the fingerprint of each.

Fingerprints are computed from settings and data alone, before anything is made: a run's fingerprint
is that of its recipe's keys and of what it depends on, down to the rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from itertools import combinations

from competition.config.base_recipe import SCHEMES
from competition.config.keys import RUN_SEPARATOR, AuditKeys
from competition.config.label_paths import label_paths
from competition.config.recipe import (
    AnyRecipe,
    EnsembleRecipe,
    ImportedRecipe,
    MemberRecipe,
    RunRecipe,
)
from competition.config.settings import Settings, read_settings
from competition.core.commands import shell_quoted
from competition.core.errors import InputError
from competition.core.fingerprint import fingerprint
from competition.core.lazy import pd
from competition.core.workspace import Workspace
from competition.data.store import DataCard, load_card
from competition.noise.plan import AuditPlan, NestedModels
from competition.noise.reviews import load_reviews, reviews_fingerprint
from competition.pipeline.artifacts import Artifacts
from competition.pipeline.keys import (
    PAIRED,
    EnsembleKey,
    EnsemblePlan,
    FoldPlan,
    ModelKey,
    NoiseKey,
)
from competition.pipeline.recipe_types import type_of
from competition.pipeline.recipes import Recipes
from competition.pipeline.teacher_plans import plan_teacher
from competition.scoring.contest import Contest
from competition.scoring.predictions import RunPlan


class Plan:
    """The runs of one workspace."""

    def __init__(
        self,
        workspace: Workspace,
        settings: Settings,
        contest: Contest,
        card: DataCard,
        added: Mapping[str, AnyRecipe] | None = None,
    ) -> None:
        """Plan what competition.toml and the data ask for.

        Args:
            workspace: where recipes, reviews and local encoders lie; no table is read.
            settings: competition.toml.
            contest: what the data are of.
            card: what is known of the data.
            added: recipes beside those of the files, which go before them.
        """
        self.workspace = workspace
        self.settings = settings
        self.contest = contest
        self.card = card
        self.recipes = Recipes(workspace, settings, contest, card.tasks, added)
        self.artifacts = Artifacts(workspace, card, self.recipes, settings.seed)

    @classmethod
    def open(
        cls,
        workspace: Workspace,
        added: Mapping[str, AnyRecipe] | None = None,
        tracker: str | None = None,
    ) -> Plan:
        """Plan by the settings and the data that a workspace has now; `tracker` goes before that of the settings."""
        settings, contest = read_settings(workspace)
        if tracker is not None:
            settings = settings.model_copy(update={"tracker": tracker})
        card = load_card(workspace)
        return cls(workspace, settings, contest.completed(card.found), card, added)

    # --- runs ---

    @cache  # noqa: B019 - one Plan per command
    def run(self, name: str, task: str | None = None) -> RunPlan:
        """Return a run: of a recipe, of an ensemble with its task (`blend-task1`), or of an ensemble and a task.

        Raises:
            InputError: there is no such run, or it does not answer `task`.
        """
        stem, suffix = self.contest.split_run(name)
        if suffix and task in (None, suffix):
            return self.ensemble_run(self.recipes.ensemble(stem), suffix)

        recipe = self.recipes.run(name)
        if isinstance(recipe, EnsembleRecipe):
            if task is None:
                runs = " or ".join(f"{name}-{each}" for each in self.card.tasks)
                raise InputError(f"{name!r} is an ensemble of one run per task: say which, {runs}.")
            return self.ensemble_run(recipe, task)
        kind = self.recipes.kind_of(recipe)
        if task is not None and task not in kind.tasks:
            raise InputError(
                f"The run {name!r} does not answer {task}, only {', '.join(kind.tasks)}."
            )

        self.recipes.order([name])  # refuses a circle
        plans = [self.fold(recipe, number) for number in recipe.folds]
        parts = tuple((plan.fingerprint, plan.test_fingerprint) for plan in plans)

        command = f"comp train --recipe {shell_quoted(name)}"
        paths = self.paths_to(recipe)
        return RunPlan(name, kind, kind.tasks, command, parts, recipe.scheme, label_paths=paths)

    def paths_to(self, recipe: MemberRecipe) -> tuple[str, ...]:
        """Return the ways in which labels reach what a recipe predicts for them; raises InputError for unknown runs."""
        return label_paths(recipe, self.recipe_of)

    def recipe_of(self, run: str) -> RunRecipe:
        """Return the recipe of a run; of `blend-task2`, that of the ensemble."""
        return self.recipes.run(self.contest.split_run(run)[0])

    def run_for(self, name: str, task: str) -> RunPlan:
        """Return the run called `name`; of an ensemble that is named without a task, the one for `task`."""
        stem, suffix = self.contest.split_run(name)
        whole_ensemble = not suffix and isinstance(self.recipes.run(stem), EnsembleRecipe)
        return self.run(name, task if whole_ensemble else None)

    def ensemble_run(self, recipe: EnsembleRecipe, task: str) -> RunPlan:
        """Return the run of an ensemble for one task; raises InputError when no member answers it."""
        self.recipes.order([recipe.name])
        members = self.recipes.members_of(recipe, task)
        asked = self.contest.task(task)
        paths = label_paths(recipe, self.recipe_of, members, asked)
        if not recipe.serves(asked):
            raise InputError(
                f"The method of {recipe.name!r}, {recipe.method}, ranks: it does not answer {task}."
            )
        if not members:
            raise InputError(
                f"No member of the ensemble {recipe.name!r} answers {task}: add one to `recipes` of competition.toml, "
                f"or let another run answer {task} in [submission]."
            )

        plans = sorted((self.run(member.name) for member in members), key=lambda plan: plan.name)
        outputs = [(plan.name, plan.held_out_fingerprint) for plan in plans]
        if recipe.nested:
            outputs += [
                (plan.name, fingerprint([pair.fingerprint for pair in self.pairs(plan.name)]))
                for plan in plans
            ]
        key = EnsembleKey(recipe.result_keys(), task, self.card.train, outputs)
        held_out = key.fingerprint()
        # New test rows leave the out-of-fold outputs as they are.
        test = fingerprint([held_out, self.card.test, [plan.fingerprint for plan in plans]])

        # All folds of an ensemble are fitted together.
        parts = ((held_out, test),) * len(recipe.folds)
        name = recipe.run_name(task)
        command = f"comp stack {shell_quoted(recipe.name)}"
        return RunPlan(
            name,
            self.contest.answer_kind(task),
            (task,),
            command,
            parts,
            PAIRED,
            recipe.leaky,
            paths,
        )

    def ensemble(self, recipe: EnsembleRecipe, task: str) -> EnsemblePlan:
        """Return an ensemble for one task, with the runs that it combines."""
        members = self.recipes.members_of(recipe, task)
        runs = tuple(self.run(member.name) for member in members)
        pairs = {run.name: self.pairs_of(run.name) for run in runs if recipe.nested}
        lexical = frozenset(member.name for member in members if member.model == "lexical")

        return EnsemblePlan(recipe, task, self.ensemble_run(recipe, task), runs, pairs, lexical)

    def runs(self) -> list[RunPlan]:
        """Return every run that competition.toml asks for."""
        plans: list[RunPlan] = []
        for name in self.recipes.requested():
            recipe = self.recipes.run(name)
            if isinstance(recipe, EnsembleRecipe):
                plans += [self.ensemble_run(recipe, task) for task in self.recipes.tasks_of(recipe)]
            else:
                plans.append(self.run(name))
        return plans

    # --- models ---

    def fold(self, recipe: MemberRecipe, number: int) -> FoldPlan[MemberRecipe]:
        """Return what the model of one fold is made from."""
        return self._model(recipe, recipe.scheme, (number,))

    def all_rows(self, recipe: MemberRecipe) -> FoldPlan[MemberRecipe]:
        """Return what the model of all training rows is made from, as `recipe.for_all_rows` trains it.

        Raises:
            InputError: another tool made the outputs of the recipe.
        """
        if isinstance(recipe, ImportedRecipe):
            raise InputError(
                f"Another tool made the outputs of {recipe.name!r}, so it has no model that could predict new rows: "
                "name another run, or an ensemble without it."
            )
        return self._model(recipe.for_all_rows, recipe.scheme, ())

    def pairs(self, name: str) -> list[FoldPlan[MemberRecipe]]:
        """Return the nested models of a recipe: one for each two folds of `five`, whatever its scheme.

        Raises:
            InputError: the recipe trains on what an audit left, whose models saw the labels of
                every fold.
        """
        recipe = self.recipes.member(name)
        if isinstance(recipe, ImportedRecipe):
            raise InputError(
                f"Another tool made the outputs of {name!r}, so it has no nested models: do without it, or without "
                "nested."
            )
        if recipe.noise_from or recipe.distill_from:
            raise InputError(
                f"{name!r} learns from an audit or a teacher that saw the labels of the folds that a nested model "
                "leaves out, so it has none: name recipes without drop_noise_from and its like, and without "
                "distill_from."
            )
        numbers = range(SCHEMES[PAIRED])
        return [self._model(recipe, PAIRED, pair) for pair in combinations(numbers, 2)]

    @cache  # noqa: B019
    def _model(
        self, recipe: MemberRecipe, scheme: str, held: tuple[int, ...]
    ) -> FoldPlan[MemberRecipe]:
        recipe_type = type_of(recipe)
        artifacts = recipe_type.artifacts(self.artifacts, recipe)

        fold = self._left_out_fold(recipe, scheme, held)
        audit = self.audit(recipe.noise_from, fold=fold) if recipe.noise_from else None
        teacher = plan_teacher(self, recipe, fold, held) if recipe.distill_from else None

        key = ModelKey(
            recipe.result_keys(),
            held,
            self.card.train,
            artifacts,
            audit=audit.inputs if audit else None,
            teacher=teacher.fingerprint if teacher else None,
            added_rows=recipe_type.added_rows(self.artifacts, recipe),
        )
        inputs = key.fingerprint()
        test_inputs = fingerprint([inputs, self.card.test])

        return FoldPlan(recipe, scheme, held, inputs, test_inputs, audit, teacher)

    def _left_out_fold(
        self, recipe: MemberRecipe, scheme: str, held: tuple[int, ...]
    ) -> int | None:
        """Return the fold that models must not have seen which a nested recipe takes flags and targets from."""
        if not held or not recipe.nested or not (recipe.noise_from or recipe.teaches_labelled):
            return None

        if scheme != PAIRED:
            raise InputError(
                f"{recipe.name!r} is nested and its scheme is {scheme!r}: nested models leave out folds of "
                f"{PAIRED!r}, so its scheme must be that."
            )
        return held[0]

    def pairs_of(self, name: str, fold: int | None = None) -> dict[tuple[int, ...], str]:
        """Return the fingerprints of the nested models of a run (that left out a fold) by their two folds."""
        if self.contest.split_run(name)[1]:
            raise InputError(
                f"The ensemble's run {name!r} has no nested models: name recipes, or do without nested."
            )
        return {
            plan.held: plan.fingerprint
            for plan in self.pairs(name)
            if fold is None or fold in plan.held
        }

    # --- audits ---

    def audit(self, name: str, keys: AuditKeys | None = None, fold: int | None = None) -> AuditPlan:
        """Return the audit of a run, or of several joined by `+`.

        It is made from out-of-fold outputs, so that new test rows leave it alone, and people's
        reviews. With `fold`, it is the audit by the runs' nested models that left out that fold.

        Args:
            name: of the runs.
            keys: instead of those of competition.toml.
            fold: whose rows are not audited.

        Raises:
            InputError: a run does not predict the four classes, is named twice, or has no nested
                models.
        """
        keys = keys or self.settings.audit
        of_runs, runs = self.audited_runs(name)

        # Without a fold, the audit reads the out-of-fold outputs of the runs themselves.
        pairs: dict[str, NestedModels] = {}
        if fold is not None:
            pairs = {run.name: self.pairs_of(run.name, fold) for run in runs}
        nested = [model for each in pairs.values() for model in each.values()]

        reviewed = self.workspace.reviews(of_runs).is_file()
        reviews = reviews_fingerprint(self.reviews(of_runs)) if reviewed else []
        key = NoiseKey(nested or [run.held_out_fingerprint for run in runs], keys, fold, reviews)
        return AuditPlan(of_runs, runs, keys, key.fingerprint(), fold, pairs)

    def audited_runs(self, name: str) -> tuple[str, tuple[RunPlan, ...]]:
        """Return an audit's name, a folder of `oof/`, and the runs whose labels it judges; refuses as `audit` does."""
        # Sorted, so that `a+b` and `b+a` are one audit.
        audited = (self._audited_run(each) for each in name.split(RUN_SEPARATOR))
        runs = tuple(sorted(audited, key=lambda run: run.name))
        if len({run.name for run in runs}) < len(runs):
            raise InputError(f"The audit of {name!r} names a run twice.")

        return RUN_SEPARATOR.join(run.name for run in runs), runs

    def _audited_run(self, name: str) -> RunPlan:
        """Return a run; raises InputError where it does not predict the four classes."""
        recipe = self.recipe_of(name)
        task = self.contest.audited_task
        if not task:
            raise InputError(
                f"The labels of the competition {self.contest.name!r} are numbers, which are not audited: "
                'write `noise_run = ""` in competition.toml.'
            )
        if isinstance(recipe, EnsembleRecipe) and task not in self.recipes.tasks_of(recipe):
            raise InputError(
                f"The ensemble {recipe.name!r} has no run for {task} here, which an audit would need."
            )

        plan = self.run_for(name, task)
        if not plan.kind.is_classes:
            raise InputError(
                f"An audit needs a run that predicts all labels, {name!r} predicts {plan.kind.name}."
            )
        return plan

    def audits(self) -> list[AuditPlan]:
        """Return the audits that are asked for: the one of competition.toml, and those that recipes train by."""
        names = [self.settings.noise_run]
        for name in self.recipes.requested():
            recipe = self.recipes.run(name)
            if not isinstance(recipe, EnsembleRecipe):
                names.append(recipe.noise_from)

        # An audit that several recipes name is there once.
        audits = [self.audit(name) for name in names if name]
        return list({audit.name: audit for audit in audits}.values())

    @cache  # noqa: B019
    def reviews(self, audit: str) -> pd.DataFrame:
        """Return people's reviews of an audit; raises CompError where they are about other rows."""
        return load_reviews(self.workspace, audit, self.card.train)
