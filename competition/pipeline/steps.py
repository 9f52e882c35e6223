"""The steps of a workspace: its artefacts, their needs, and the functions that build them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache, partial
from pathlib import Path

from competition.config.keys import AuditKeys
from competition.config.recipe import AnyRecipe, EnsembleRecipe, MemberRecipe
from competition.config.settings import recipe_names
from competition.core.commands import shell_quoted
from competition.core.errors import InputError
from competition.core.json_files import read_json, read_manifest
from competition.core.parquet import read_fingerprint
from competition.core.workspace import ALL_ROWS, Workspace
from competition.noise.plan import AuditPlan
from competition.pipeline import build_outputs, build_runs
from competition.pipeline.execute import Step, in_order
from competition.pipeline.input_steps import InputSteps
from competition.pipeline.keys import PAIRED, FoldPlan
from competition.pipeline.output_steps import SUBMISSION, scores_step, submission_step
from competition.pipeline.plan import Plan
from competition.pipeline.recipe_types import type_of
from competition.pipeline.tables import Tables
from competition.scoring.predictions import RunPlan


class Pipeline:
    """The steps of one workspace, each made once: the plan says what they are made from, the tables are read."""

    def __init__(
        self,
        workspace: Workspace,
        added: Mapping[str, AnyRecipe] | None = None,
        tracker: str | None = None,
    ) -> None:
        """Open a workspace.

        Args:
            workspace: whose settings and data.
            added: recipes beside those of the files, which go before them.
            tracker: of trainings; that of competition.toml unless named.
        """
        self.workspace = workspace
        self.plan = Plan.open(workspace, added, tracker)
        self.recipes = self.plan.recipes
        self.artifacts = self.plan.artifacts
        self.tables = Tables(workspace, self.plan.contest)
        self.inputs = InputSteps(self.plan, self.tables)

    # --- models and runs of recipes ---

    def recipe_steps(self, name: str, only: int | None = None) -> list[Step]:
        """Return what a recipe needs of its own, training, test predictions, and the card of the whole run.

        Raises:
            InputError: the fold `only` does not exist in the recipe's scheme.
        """
        recipe = self.recipes.member(name)
        steps = self.training_steps(name, only)
        steps += [self._predict_step(recipe, fold) for fold in _folds(recipe, only)]
        return [*steps, self._score_step(recipe)] if only is None else steps

    def training_steps(self, name: str, only: int | None = None) -> list[Step]:
        """Return what a recipe needs of its own, then the training of its folds, or of the fold `only`.

        Raises:
            InputError: the fold `only` does not exist in the recipe's scheme.
        """
        recipe = self.recipes.member(name)
        models = [self.plan.fold(recipe, fold) for fold in recipe.folds]
        steps = self._input_steps(recipe, models)
        return steps + [self._train_step(recipe, fold) for fold in _folds(recipe, only)]

    def all_rows_steps(self, name: str) -> list[Step]:
        """Return what a recipe needs of its own, then its model of all training rows, which `steps` leaves out."""
        recipe = self.recipes.member(name)
        return [
            *self._input_steps(recipe, [self.plan.all_rows(recipe)]),
            self._all_rows_step(recipe),
        ]

    def all_rows_models(self) -> dict[str, Step]:
        """Return the models of all training rows that are there, by their recipes."""
        recipes = [
            self.recipes.member(name)
            for name in recipe_names(self.workspace)
            if self.workspace.model(name, ALL_ROWS).is_dir()
        ]
        return {recipe.name: self._all_rows_step(recipe) for recipe in recipes}

    def pair_steps(self, name: str) -> list[Step]:
        """Return the nested models of a recipe, each of which leaves out two folds of `five`, behind what they need."""
        recipe = self.recipes.member(name)
        models = self.plan.pairs(name)
        steps = self._input_steps(recipe, models)
        return steps + [self._pair_step(recipe, model.held) for model in models]

    def _input_steps(
        self, recipe: MemberRecipe, models: Iterable[FoldPlan[MemberRecipe]]
    ) -> list[Step]:
        """Return what builds all that models of a recipe are trained from, beside the rows."""
        models = list(models)
        steps = [self.inputs.folds(models[0].scheme), *self._text_inputs(recipe)]

        # Of a nested recipe, audits and teachers read nested models of their runs.
        audits = [model.audit for model in models if model.audit is not None]
        teachers = [model.teacher for model in models if model.teacher is not None]
        nested = {run for audit in audits for run in audit.pairs}
        nested |= {
            each.run.name for each in teachers if each.run is not None and each.pairs is not None
        }

        # Sorted, so that the order is the same in every process.
        steps += [step for run in sorted(nested) for step in self.pair_steps(run)]
        return steps + [self.noise_step(each.name, each.keys, each.fold) for each in audits]

    def _text_inputs(self, recipe: MemberRecipe) -> list[Step]:
        """Return what builds that by which a recipe reads text, such as its encoder."""
        return type_of(recipe).inputs(self.inputs, self.plan, recipe)

    def _needs(self, model: FoldPlan[MemberRecipe]) -> tuple[Step, ...]:
        """Return what one model is trained from, the outputs of other runs among it."""
        recipe = model.recipe
        audit = model.audit
        teacher = model.teacher
        steps = [self.inputs.folds(model.scheme), *self._text_inputs(recipe)]
        if audit is not None:
            steps.append(self.noise_step(audit.name, audit.keys, audit.fold))
        if teacher is not None and teacher.run is not None and teacher.pairs is None:
            steps += self.outputs_of([teacher.run])
        elif teacher is not None and teacher.run is not None:
            if recipe.distill_rows != ("labelled",):
                steps += self.outputs_of([teacher.run])
            teacher_recipe = self.recipes.member(teacher.run.name)
            steps += [self._pair_step(teacher_recipe, held) for held in teacher.pairs or ()]

        return tuple(steps)

    @cache  # noqa: B019
    def _train_step(self, recipe: MemberRecipe, number: int) -> Step:
        model = self.plan.fold(recipe, number)
        path = self.workspace.oof_fold(recipe.name, number)
        return Step(
            f"train {recipe.name} fold {number}",
            model.fingerprint,
            self._needs(model),
            recorded=partial(read_fingerprint, path),
            build=partial(build_runs.build_fold, self.tables, self.plan, model),
            command=_train_command(recipe),
            shared=type_of(recipe).shared,
            checkpoints=self.workspace.checkpoints(recipe.name, model.part),
            summary=partial(build_runs.describe_fold, self.tables, self.plan, model),
            trains=recipe.name,
            files=(path, self.workspace.model(recipe.name, number)),
        )

    @cache  # noqa: B019
    def _predict_step(self, recipe: MemberRecipe, number: int) -> Step:
        model = self.plan.fold(recipe, number)
        path = self.workspace.test_fold(recipe.name, number)
        return Step(
            f"predict {recipe.name} fold {number}",
            model.test_fingerprint,
            needs=(*self._text_inputs(recipe), self._train_step(recipe, number)),
            recorded=partial(read_fingerprint, path),
            build=partial(build_runs.build_test_predictions, self.tables, self.plan, model),
            command=_train_command(recipe),
            shared=type_of(recipe).shared,
            along=self._train_step(recipe, number),
            files=(path,),
        )

    @cache  # noqa: B019
    def _pair_step(self, recipe: MemberRecipe, held: tuple[int, ...]) -> Step:
        (model,) = (pair for pair in self.plan.pairs(recipe.name) if pair.held == held)
        path = self.workspace.pair(recipe.name, held)
        return Step(
            f"train {recipe.name} without folds {' and '.join(map(str, held))}",
            model.fingerprint,
            self._needs(model),
            recorded=partial(read_fingerprint, path),
            build=partial(build_runs.build_nested, self.tables, self.plan, model),
            shared=type_of(recipe).shared,
            checkpoints=self.workspace.checkpoints(recipe.name, model.part),
            trains=recipe.name,
            files=(path, self.workspace.model(recipe.name, model.name)),
        )

    @cache  # noqa: B019
    def _all_rows_step(self, recipe: MemberRecipe) -> Step:
        model = self.plan.all_rows(recipe)
        return Step(
            f"train {recipe.name} {ALL_ROWS}",
            model.fingerprint,
            self._needs(model),
            recorded=partial(read_manifest, self.workspace.model(recipe.name, ALL_ROWS)),
            build=partial(build_runs.build_all_rows, self.tables, self.plan, model),
            command=f"comp train --all --recipe {shell_quoted(recipe.name)}",
            shared=type_of(recipe).shared,
            checkpoints=self.workspace.checkpoints(recipe.name, model.part),
        )

    @cache  # noqa: B019
    def _score_step(self, recipe: MemberRecipe) -> Step:
        run = self.plan.run(recipe.name)
        card = self.workspace.run_card(run.name)
        return Step(
            f"score {recipe.name}",
            run.fingerprint,
            needs=tuple(self.outputs_of([run])),
            recorded=lambda: read_json(card).get("inputs"),
            build=partial(build_runs.build_run_card, self.tables, run, recipe),
            command=run.command,
            files=(card,),
        )

    def outputs_of(self, runs: Iterable[RunPlan]) -> list[Step]:
        """Return what builds all outputs of complete runs."""
        steps: list[Step] = []
        for run in runs:
            stem, task = self.plan.contest.split_run(run.name)
            if task:
                steps.append(self._ensemble_step(self.recipes.ensemble(stem), task))
                continue

            recipe = self.recipes.member(stem)
            steps += [self._train_step(recipe, fold) for fold in recipe.folds]
            steps += [self._predict_step(recipe, fold) for fold in recipe.folds]
        return steps

    # --- audits, ensembles, submissions ---

    @cache  # noqa: B019
    def noise_step(self, name: str, keys: AuditKeys | None = None, fold: int | None = None) -> Step:
        """Return the step of an audit's flags and card, see `Plan.audit`."""
        plan = self.plan.audit(name, keys, fold)
        title = f"audit {plan.name}"
        needs = self.outputs_of(plan.runs)
        if fold is not None:
            title += f" without fold {fold}"
            recipes = [self.recipes.member(run) for run in plan.pairs]
            needs = [
                self._pair_step(recipe, held)
                for recipe in recipes
                for held in plan.pairs[recipe.name]
            ]

        return Step(
            title,
            plan.inputs,
            tuple(needs),
            recorded=partial(self._recorded_audit, plan),
            build=partial(build_outputs.build_audit, self.tables, self.plan, plan),
            files=(
                self.workspace.noise(plan.name, plan.fold),
                self.workspace.noise_card(plan.name, plan.fold),
            ),
        )

    def _recorded_audit(self, plan: AuditPlan) -> str | None:
        """Return what the flags were made from; None where they or their card are missing."""
        recorded = read_fingerprint(self.workspace.noise(plan.name, plan.fold))
        card = read_json(self.workspace.noise_card(plan.name, plan.fold))
        return recorded if card.get("inputs") == recorded else None

    def ensemble_steps(self, name: str, tasks: Iterable[str] | None = None) -> list[Step]:
        """Return one run per task that any member answers, or for some of these tasks, behind nested models."""
        recipe = self.recipes.ensemble(name)
        tasks = self.recipes.tasks_of(recipe) if tasks is None else tasks
        steps = self._ensemble_inputs(recipe)
        return steps + [self._ensemble_step(recipe, task) for task in tasks]

    def _ensemble_inputs(self, recipe: EnsembleRecipe) -> list[Step]:
        steps = [self.inputs.folds(PAIRED)]
        if recipe.stacks and recipe.text:
            steps.append(self.inputs.text_features())
        if recipe.nested:
            for member in self.recipes.members_of(recipe):
                steps += self.pair_steps(member.name)
        return steps

    @cache  # noqa: B019
    def _ensemble_step(self, recipe: EnsembleRecipe, task: str) -> Step:
        plan = self.plan.ensemble(recipe, task)
        return Step(
            f"stack {plan.run.name}",
            plan.run.fingerprint,
            needs=(*self._ensemble_inputs(recipe), *self.outputs_of(plan.members)),
            recorded=partial(self._recorded_ensemble, plan.run),
            build=partial(build_outputs.build_ensemble, self.tables, plan),
            command=plan.run.command,
            files=(self.workspace.run_card(plan.run.name), *self._ensemble_files(plan.run)),
        )

    def _recorded_ensemble(self, plan: RunPlan) -> str | None:
        """Return the fingerprint on an ensemble's card; None where one of its files is missing."""
        is_complete = all(map(read_fingerprint, self._ensemble_files(plan)))
        card = self.workspace.run_card(plan.name)
        return read_json(card).get("inputs") if is_complete else None

    def _ensemble_files(self, plan: RunPlan) -> list[Path]:
        """Return the files of an ensemble beside its card."""
        space = self.workspace
        paths = (space.oof_fold, space.test_fold)
        outputs = [path(plan.name, fold) for fold in plan.folds for path in paths]
        return [*outputs, space.importance(plan.name)]

    def run_steps(self, name: str) -> list[Step]:
        """Return the steps of a recipe or of an ensemble, without those of other runs."""
        is_ensemble = isinstance(self.recipes.run(name), EnsembleRecipe)
        return self.ensemble_steps(name) if is_ensemble else self.recipe_steps(name)

    def complete_run(self, run: RunPlan) -> Step:
        """Return the last step of a run, which writes its card."""
        stem, task = self.plan.contest.split_run(run.name)
        if task:
            return self._ensemble_step(self.recipes.ensemble(stem), task)
        return self._score_step(self.recipes.member(stem))

    def steps(self) -> list[Step]:
        """Return everything that `competition.toml` asks for, in order."""
        settings = self.plan.settings
        steps = [step for name in self.recipes.requested() for step in self.run_steps(name)]
        if settings.noise_run:
            steps.append(self.noise_step(settings.noise_run))
        if self.plan.card.has_test_rows:
            steps.append(submission_step(self, SUBMISSION, self.recipes.submission()))
        return in_order([*steps, scores_step(self)])


def _train_command(recipe: MemberRecipe) -> str:
    return f"comp train --recipe {shell_quoted(recipe.name)}"


def _folds(recipe: MemberRecipe, only: int | None) -> range:
    """Return the folds of a recipe, or the fold `only`."""
    if only is None:
        return recipe.folds
    if only not in recipe.folds:
        raise InputError(
            f"Fold {only} does not exist: the recipe {recipe.name!r} has folds 0 to {len(recipe.folds) - 1}."
        )
    return range(only, only + 1)
