"""What is missing or out of date, in order.

Every step knows the fingerprint of its inputs, computed from settings and data alone, and where the
fingerprint of what was last made is recorded. A step runs when the two differ; so a changed recipe
redoes only what depends on it, and new test rows redo predictions only.
"""

from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from competition.config.keys import AuditKeys
from competition.config.recipe import EncoderRecipe, EnsembleRecipe, LexicalRecipe, MemberRecipe
from competition.config.settings import recipe_names
from competition.core.errors import InputError
from competition.core.fingerprint import digest_file, fingerprint
from competition.core.json_files import read_json, read_manifest
from competition.core.parquet import read_fingerprint
from competition.core.workspace import ALL_ROWS, SCHEMA
from competition.models.encoder.paths import Sources
from competition.noise.plan import AuditPlan
from competition.pipeline.execute import Step
from competition.pipeline.inputs import folds_inputs, text_features_inputs
from competition.pipeline.plan import Planner
from competition.pipeline.plans import PAIRED, FoldPlan
from competition.scoring.optimism import read_optimism
from competition.scoring.predictions import RunPlan
from competition.scoring.submissions import recorded_fingerprint

if TYPE_CHECKING:
    from competition.pipeline.build_outputs import Maker

SUBMISSION = "main"  # the submission that `comp run` keeps up to date


class Pipeline(Planner):
    """The steps of one workspace."""

    @cached_property
    def maker(self) -> "Maker":
        """What makes the artefacts; imported only when one is made, since it imports all that this takes."""
        from competition.pipeline.build_outputs import Maker

        return Maker(self.workspace, self.settings.tracker)

    def folds_step(self, scheme: str) -> Step:
        """`folds/<scheme>.parquet`."""
        path, inputs = self.workspace.folds(scheme), folds_inputs(self.card, scheme)
        return Step(
            f"folds {scheme}",
            inputs,
            lambda: read_fingerprint(path),
            lambda: self.maker.folds(scheme, inputs),
        )

    def encoder_steps(self, encoder: str) -> list[Step]:
        """The encoder's folder under `models/encoders/`, behind what it is pre-trained from."""
        recipe = self.pretrained(encoder)
        if recipe is None:
            return [self._encoder_step(encoder)]
        folder, inputs = self.encoder_folder(encoder), self.encoder_inputs(encoder)
        sources = self.pretraining_sources(recipe)
        return [
            *self.encoder_steps(recipe.encoder),
            *self._feature_steps(sources),
            Step(
                f"pretrain {encoder}",
                inputs,
                lambda: read_manifest(folder),
                lambda: self.maker.pretrain(recipe, sources, folder, inputs),
                shared=True,
                checkpoints=self.workspace.checkpoints(recipe.name, "encoder"),
            ),
        ]

    def _encoder_step(self, encoder: str) -> Step:
        folder, inputs = self.encoder_folder(encoder), self.encoder_inputs(encoder)
        source, seed = self.encoder_source(encoder), self.settings.seed
        return Step(
            f"encoder {encoder}",
            inputs,
            lambda: read_manifest(folder),
            lambda: self.maker.encoder(source, folder, inputs, seed),
        )

    def _feature_steps(self, sources: Sources) -> list[Step]:
        """`data/vocabulary/` and `data/char3/`, as far as they are read."""
        steps: list[Step] = []
        if (vocabulary := sources.vocabulary) is not None:
            inputs = self.vocabulary_inputs
            steps.append(
                Step(
                    "vocabulary",
                    inputs,
                    lambda: read_manifest(vocabulary),
                    lambda: self.maker.vocabulary(inputs),
                )
            )
        if (vectors := sources.vectors) is not None:
            of_vectors, seed = self.vectors_inputs, self.settings.seed
            steps.append(
                Step(
                    "char3",
                    of_vectors,
                    lambda: read_manifest(vectors),
                    lambda: self.maker.gram_vectors(of_vectors, seed),
                )
            )
        return steps

    def _translation_step(self, model: str) -> Step:
        """`data/translations/MODEL.parquet`."""
        source, path, inputs = self.translations(model)
        return Step(
            f"translate with {model}",
            inputs,
            lambda: read_fingerprint(path),
            lambda: self.maker.translations(source, path, inputs),
        )

    def noise_step(self, name: str, keys: AuditKeys | None = None) -> Step:
        """`oof/<run>/noise.parquet` and its card, by competition.toml unless `keys` say otherwise."""
        return self._audit_step(self.audit(name, keys))

    def _audit_step(self, plan: AuditPlan) -> Step:
        name = f"audit {plan.name}" + ("" if plan.fold is None else f" without fold {plan.fold}")
        return Step(
            name,
            plan.inputs,
            lambda: self._recorded_audit(plan),
            lambda: self.maker.noise(plan, self.verdicts(plan.name)),
        )

    def _recorded_audit(self, plan: AuditPlan) -> str | None:
        """What the flags were made from; None where they or their card are missing."""
        recorded = read_fingerprint(self.workspace.noise(plan.name, plan.fold))
        card = read_json(self.workspace.noise_card(plan.name, plan.fold))
        return recorded if card.get("inputs") == recorded else None

    def _taken_steps(self, plans: Iterable[FoldPlan]) -> list[Step]:
        """What models take from out-of-fold outputs: audits, and the nested models that they and a teacher need."""
        audits = [plan.noise for plan in plans if plan.noise is not None]
        teachers = [plan.teacher for plan in plans if plan.teacher is not None]
        nested = {run for audit in audits for run in audit.pairs}
        nested |= {teacher.run.name for teacher in teachers if teacher.pairs is not None}
        steps = [step for run in sorted(nested) for step in self.pair_steps(run)]
        return steps + [self._audit_step(audit) for audit in audits]

    def recipe_steps(self, name: str, only: int | None = None) -> list[Step]:
        """What a recipe needs of its own, training, test predictions, and the card of the whole run.

        Raises:
            InputError: the fold `only` does not exist in the recipe's scheme.
        """
        recipe, steps = self.member(name), self.training_steps(name, only)
        steps += [self._predict_step(recipe, fold) for fold in _folds(recipe, only)]
        return [*steps, self._card_step(recipe)] if only is None else steps

    def training_steps(self, name: str, only: int | None = None) -> list[Step]:
        """What a recipe needs of its own, then the training of its folds, or of the fold `only`.

        Raises:
            InputError: the fold `only` does not exist in the recipe's scheme.
        """
        recipe = self.member(name)
        steps = self._material_steps(
            recipe, [self.fold_plan(recipe, fold) for fold in recipe.folds]
        )
        return steps + [self._train_step(recipe, fold) for fold in _folds(recipe, only)]

    def _material_steps(self, recipe: MemberRecipe, plans: list[FoldPlan]) -> list[Step]:
        """What the models of a recipe are trained from, beside the rows."""
        steps = [self.folds_step(plans[0].scheme)]
        if isinstance(recipe, EncoderRecipe):
            steps += self.encoder_steps(recipe.encoder)
            steps += self._feature_steps(self.sources(recipe))
            steps += (
                [self._translation_step(recipe.translate_with)] if recipe.translate_with else []
            )
        if isinstance(recipe, LexicalRecipe):
            steps.append(self.text_features_step())
        steps += self._taken_steps(plans)
        return list({step.name: step for step in steps}.values())

    def all_rows_steps(self, name: str) -> list[Step]:
        """What a recipe needs of its own, then its model of all training rows, which `steps` never asks for."""
        recipe = self.member(name)
        return [*self._material_steps(recipe, [self.all_plan(recipe)]), self._all_rows_step(recipe)]

    def _all_rows_step(self, recipe: MemberRecipe) -> Step:
        plan, folder = self.all_plan(recipe), self.workspace.model(recipe.name, ALL_ROWS)
        return Step(
            f"train {recipe.name} {ALL_ROWS}",
            plan.inputs,
            lambda: read_manifest(folder),
            lambda: self.maker.train_all(recipe.for_all_rows, plan),
            shared=isinstance(recipe, EncoderRecipe),
            checkpoints=self.workspace.checkpoints(recipe.name, plan.part),
        )

    def asked_for(self) -> dict[str, Step]:
        """Recipe -> its model of all training rows, where one was asked for and is there."""
        names = [
            name
            for name in recipe_names(self.workspace)
            if self.workspace.model(name, ALL_ROWS).is_dir()
        ]
        return {name: self._all_rows_step(self.member(name)) for name in names}

    def text_features_step(self) -> Step:
        """`data/text_features.parquet`, which the floor and the stackers read."""
        path, inputs = self.workspace.text_features, text_features_inputs(self.card)
        return Step(
            "text features",
            inputs,
            lambda: read_fingerprint(path),
            lambda: self.maker.write_text_features(inputs),
        )

    def _train_step(self, recipe: MemberRecipe, fold: int) -> Step:
        plan, path = self.fold_plan(recipe, fold), self.workspace.oof_fold(recipe.name, fold)
        name = f"train {recipe.name} fold {fold}"
        checkpoints = self.workspace.checkpoints(recipe.name, plan.part)
        return _fold_step(
            name, plan.inputs, path, recipe, lambda: self.maker.train(recipe, plan), checkpoints
        )

    def pair_steps(self, name: str) -> list[Step]:
        """The nested models of a recipe, each of which leaves out two folds of `five`, behind what they need."""
        recipe, plans = self.member(name), self.pair_plans(name)
        return [
            *self._material_steps(recipe, plans),
            *(self._pair_step(recipe, plan) for plan in plans),
        ]

    def _pair_step(self, recipe: MemberRecipe, plan: FoldPlan) -> Step:
        path = self.workspace.pair(recipe.name, plan.held)
        name = f"train {recipe.name} without folds {' and '.join(map(str, plan.held))}"
        checkpoints = self.workspace.checkpoints(recipe.name, plan.part)
        return _fold_step(
            name,
            plan.inputs,
            path,
            recipe,
            lambda: self.maker.train_pair(recipe, plan),
            checkpoints,
        )

    def _predict_step(self, recipe: MemberRecipe, fold: int) -> Step:
        plan, path = self.fold_plan(recipe, fold), self.workspace.test_fold(recipe.name, fold)
        name = f"predict {recipe.name} fold {fold}"
        return _fold_step(
            name, plan.test_inputs, path, recipe, lambda: self.maker.predict(recipe, plan)
        )

    def _card_step(self, recipe: MemberRecipe) -> Step:
        plan = self.run(recipe.name)
        path = self.workspace.run_card(plan.name)
        return Step(
            f"score {recipe.name}",
            plan.fingerprint,
            lambda: read_json(path).get("inputs"),
            lambda: self.maker.run_card(plan, recipe),
        )

    def ensemble_steps(self, name: str, tasks: Iterable[str] | None = None) -> list[Step]:
        """One run per task that any member answers, or for some of these tasks."""
        recipe = self.ensemble(name)
        steps = [self.folds_step(PAIRED)]
        if recipe.stacks and recipe.text:
            steps.append(self.text_features_step())
        if recipe.nested:
            steps += [
                step for member in self.members_of(recipe) for step in self.pair_steps(member.name)
            ]
        steps += [self._ensemble_step(recipe, task) for task in tasks or self.tasks_of(recipe)]
        return list({step.name: step for step in steps}.values())

    def _ensemble_step(self, recipe: EnsembleRecipe, task: str) -> Step:
        plan = self.ensemble_run(recipe, task)
        members, pairs = self.combined(recipe, task)
        return Step(
            f"stack {plan.name}",
            plan.fingerprint,
            lambda: self._recorded_ensemble(plan),
            lambda: self.maker.ensemble(plan, recipe, members, pairs),
        )

    def _recorded_ensemble(self, plan: RunPlan) -> str | None:
        """What an ensemble's card says, if all of its files are there; None where one is missing."""
        space, name = self.workspace, plan.name
        files = [
            path(name, fold) for fold in plan.folds for path in (space.oof_fold, space.test_fold)
        ]
        whole = all(read_fingerprint(file) for file in (*files, space.importance(name)))
        return read_json(space.run_card(name)).get("inputs") if whole else None

    def run_steps(self, name: str) -> list[Step]:
        """The steps of a recipe or of an ensemble, without those of other runs."""
        is_ensemble = isinstance(self.recipe(name), EnsembleRecipe)
        return self.ensemble_steps(name) if is_ensemble else self.recipe_steps(name)

    def submission_step(self, name: str, answers: dict[str, str]) -> Step:
        """`submissions/<name>/`, from task -> run."""
        for task in answers:
            if task not in self.card.tasks:
                raise InputError(
                    f"The data have no test rows of {task}, only of {', '.join(self.card.tasks)}."
                )
        plans = {task: self.run(run, task) for task, run in answers.items()}
        inputs = fingerprint(
            [SCHEMA, {task: (plan.name, plan.fingerprint) for task, plan in plans.items()}]
        )
        folder = self.workspace.submission(name)
        return Step(
            f"submit {name}",
            inputs,
            lambda: recorded_fingerprint(folder),
            lambda: self.maker.submission(name, plans, inputs),
        )

    @property
    def floor(self) -> str | None:
        """The run that others must beat: the first `lexical` that is wanted, if any is."""
        return next(
            (name for name in self.wanted() if isinstance(self.recipe(name), LexicalRecipe)), None
        )

    def scores_step(self) -> Step:
        """`reports/scores.csv`: every run against its labels, the baseline and the floor."""
        plans, floor = self.runs(), self.floor
        runs = [(plan.name, plan.fingerprint, plan.label_paths) for plan in plans]
        measured = [
            (*key, found.as_json()) for key, found in read_optimism(self.workspace, plans).items()
        ]
        inputs = fingerprint([SCHEMA, floor, runs, measured])
        card = self.workspace.scores.with_suffix(".json")
        return Step(
            "scores",
            inputs,
            lambda: self._recorded_scores(card),
            lambda: self.maker.scores(plans, floor, card, inputs),
        )

    def _recorded_scores(self, card: Path) -> str | None:
        """What the table of scores was made from; None where it is missing or was changed."""
        said, table = read_json(card), self.workspace.scores
        if not table.is_file() or said.get("sha256", found := digest_file(table)) != found:
            return None
        return said.get("inputs")

    def steps(self) -> list[Step]:
        """Everything that `competition.toml` asks for, in order."""
        steps: list[Step] = []
        for name in self.wanted():
            steps += self.run_steps(name)
        if self.settings.noise_run:
            steps.append(self.noise_step(self.settings.noise_run))
        steps.append(self.submission_step(SUBMISSION, self.submission()))
        steps.append(self.scores_step())
        return list({step.name: step for step in steps}.values())


def _fold_step(
    name: str,
    inputs: str,
    path: Path,
    recipe: MemberRecipe,
    make: Callable[[], None],
    checkpoints: Path | None = None,
) -> Step:
    """The step of a model's outputs, which are in the file `path`; processes share the work of neural networks."""
    return Step(
        name,
        inputs,
        lambda: read_fingerprint(path),
        make,
        isinstance(recipe, EncoderRecipe),
        checkpoints,
    )


def _folds(recipe: MemberRecipe, only: int | None) -> range:
    if only is None:
        return recipe.folds
    if only not in recipe.folds:
        raise InputError(
            f"Fold {only} does not exist: the recipe {recipe.name!r} has folds 0 to {len(recipe.folds) - 1}."
        )
    return range(only, only + 1)
