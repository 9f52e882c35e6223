"""What is missing or out of date, in order.

Every step knows the fingerprint of its inputs, computed from settings and data alone, and where the fingerprint of
what was last made is recorded. A step runs when the two differ; so a changed recipe redoes only what depends on it, and
new test rows redo predictions only.
"""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from competition import settings as config
from competition.data.store import Card, load_card
from competition.errors import InputError
from competition.oof import RunPlan
from competition.progress import console
from competition.settings import AnyRecipe, AverageRecipe, EncoderRecipe, LexicalRecipe, MemberRecipe, Settings
from competition.steps import TINY, FoldPlan, Maker
from competition.submissions import recorded_inputs
from competition.tables import table_inputs
from competition.tasks import ANSWER_KIND
from competition.workspace import SCHEMA, Workspace, fingerprint, fingerprint_files, read_json, stamped

SUBMISSION = "main"  # the submission that `comp run` keeps up to date


@dataclass(frozen=True)
class Step:
    """One artefact: what it would be made from now, what it was made from, and how to make it."""

    name: str
    inputs: str
    recorded: Callable[[], str | None]
    make: Callable[[], None]

    @property
    def state(self) -> str:
        """`done`, `stale` (made from something else) or `missing`."""
        recorded = self.recorded()
        if recorded is None:
            return "missing"
        return "done" if recorded == self.inputs else "stale"


def execute(workspace: Workspace, steps: Iterable[Step]) -> int:
    """Make what is not done, in order, each under its lock; returns how many steps ran."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InputError("The commands run as one process: start them without a launcher of several.")
    made = 0
    for step in steps:
        if step.state == "done":
            continue
        with workspace.lock(step.name):
            if step.state == "done":  # another process finished it in the meantime
                continue
            console.print(step.name + (" (out of date)" if step.state == "stale" else ""), style="bold")
            step.make()
        made += 1
    return made


class Pipeline:
    """The steps of one workspace."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.settings: Settings = config.load_settings(workspace)
        self.card: Card = load_card(workspace)
        self.maker = Maker(workspace)

    # --- recipes and runs ---

    @cache  # noqa: B019 - one Pipeline per command
    def recipe(self, name: str) -> AnyRecipe:
        """The recipe called `name`, a member or an ensemble, with everything resolved."""
        return config.load_recipe(self.workspace, self.settings, name)

    def member(self, name: str) -> MemberRecipe:
        """A recipe that is trained on folds; raises InputError when `name` is an ensemble."""
        recipe = self.recipe(name)
        if isinstance(recipe, AverageRecipe):
            raise InputError(f"{name!r} is an ensemble, it is not trained on folds: use `comp stack {name}`.")
        return recipe

    def ensemble(self, name: str) -> AverageRecipe:
        """An ensemble; raises InputError when `name` is a recipe that is trained on folds."""
        recipe = self.recipe(name)
        if not isinstance(recipe, AverageRecipe):
            raise InputError(f"{name!r} is no ensemble: train it with `comp train --recipe {name}`.")
        return recipe

    def members_of(self, recipe: AverageRecipe, task: str | None = None) -> list[MemberRecipe]:
        """The recipes that an ensemble averages, all or those that answer a task."""
        members = [self.member(name) for name in recipe.members or self.settings.recipes]
        return [member for member in members if task is None or task in member.tasks]

    def tasks_of(self, recipe: AverageRecipe) -> list[str]:
        """The tasks of the data that an ensemble's members answer."""
        return [task for task in self.card.tasks if self.members_of(recipe, task)]

    def order(self, names: Iterable[str]) -> list[str]:
        """Recipes and ensembles, each behind those it is made from.

        Raises:
            InputError: one of them is made from itself.
        """
        order: list[str] = []

        def visit(name: str, above: tuple[str, ...]) -> None:
            if name in above:
                raise InputError(f"The recipe {name!r} is made from itself: {' <- '.join((*above, name))}.")
            if name in order:
                return
            recipe = self.recipe(name)
            if isinstance(recipe, AverageRecipe):
                behind = [member.name for member in self.members_of(recipe)]
            else:
                behind = [split_run(recipe.drop_noise_from)[0]] if recipe.drop_noise_from else []
            for needed in behind:
                visit(needed, (*above, name))
            order.append(name)

        for name in names:
            visit(name, ())
        return order

    @cache  # noqa: B019
    def run(self, name: str, task: str | None = None) -> RunPlan:
        """The run called `name`: a recipe, an ensemble with its task (`blend-task1`), or an ensemble and a task.

        Raises:
            InputError: there is no such run, or it does not answer `task`.
        """
        stem, suffix = split_run(name)
        if suffix and task in (None, suffix):
            return self._ensemble_run(self.ensemble(stem), suffix)
        recipe = self.recipe(name)
        if isinstance(recipe, AverageRecipe):
            if task is None:
                raise InputError(f"{name!r} is an ensemble of one run per task: say which, such as {name}-task1.")
            return self._ensemble_run(recipe, task)
        if task is not None and task not in recipe.tasks:
            raise InputError(f"The run {name!r} does not answer {task}, only {', '.join(recipe.tasks)}.")
        self.order([name])  # refuses a circle
        plans = [self._fold_plan(recipe, fold) for fold in recipe.folds]
        parts = tuple((plan.inputs, plan.test_inputs) for plan in plans)
        return RunPlan(name, recipe.kind, recipe.tasks, parts)

    def audited_run(self, name: str) -> RunPlan:
        """The run whose labels are audited; raises InputError unless it predicts the four classes."""
        recipe = self.recipe(split_run(name)[0])
        if isinstance(recipe, AverageRecipe) and "task2" not in self.tasks_of(recipe):
            raise InputError(f"The ensemble {recipe.name!r} has no run for task2 here, which an audit would need.")
        whole_ensemble = isinstance(recipe, AverageRecipe) and name == recipe.name
        plan = self.run(name, "task2" if whole_ensemble else None)
        if plan.kind != "classes":
            raise InputError(f"An audit needs a run that predicts the four classes, {name!r} predicts {plan.kind}.")
        return plan

    def _ensemble_run(self, recipe: AverageRecipe, task: str) -> RunPlan:
        self.order([recipe.name])
        members = self.members_of(recipe, task)
        if not members:
            raise InputError(
                f"No member of the ensemble {recipe.name!r} answers {task}: add one to `recipes` of competition.toml, "
                f"or let another run answer {task} in [submission]."
            )
        plans = sorted((self.run(member.name) for member in members), key=lambda plan: plan.name)
        made_from = [(plan.name, plan.held_out) for plan in plans]
        inputs = fingerprint([SCHEMA, recipe.result_keys(), task, self.card.train, made_from])
        test_inputs = fingerprint([inputs, self.card.test, [plan.complete for plan in plans]])
        parts = ((inputs, test_inputs),) * len(recipe.folds)
        return RunPlan(recipe.run_name(task), ANSWER_KIND[task], (task,), parts)

    # --- fingerprints ---

    def _folds_inputs(self, scheme: str) -> str:
        return fingerprint([SCHEMA, "folds", scheme, self.card.train, self.card.test])

    @cache  # noqa: B019
    def _encoder_inputs(self, encoder: str) -> str:
        source = self._encoder_source(encoder)
        if source == TINY:
            return fingerprint([SCHEMA, TINY, self.settings.seed, self.card.train])
        return fingerprint([SCHEMA, fingerprint_files(Path(source)) if Path(source).is_dir() else source])

    def _encoder_source(self, encoder: str) -> str:
        """`tiny`, a folder (relative ones start at the workspace), or a name on the model hub."""
        local = self.workspace.root / encoder
        return str(local) if encoder != TINY and local.is_dir() else encoder

    def _encoder_folder(self, encoder: str) -> Path:
        """One folder per encoder: two that end in the same name differ in the hash of the whole."""
        return self.workspace.encoder(TINY if encoder == TINY else f"{Path(encoder).name}-{fingerprint(encoder)[:8]}")

    @cache  # noqa: B019
    def _fold_plan(self, recipe: MemberRecipe, fold: int) -> FoldPlan:
        parts = [SCHEMA, recipe.result_keys(), fold, self.card.train]
        encoder = Path()
        if isinstance(recipe, EncoderRecipe):
            parts.append(self._encoder_inputs(recipe.encoder))
            encoder = self._encoder_folder(recipe.encoder)
        noise: tuple[str, str] | None = None
        if recipe.drop_noise_from:
            audited = self.audited_run(recipe.drop_noise_from).name
            noise = (audited, self._noise_inputs(recipe.drop_noise_from, self.settings.noise_fraction))
            parts.append(noise[1])
        inputs = fingerprint(parts)
        test_inputs = fingerprint([inputs, self.card.test])
        return FoldPlan(fold, inputs, test_inputs, self._folds_inputs(recipe.scheme), encoder, noise)

    def _noise_inputs(self, name: str, fraction: float) -> str:
        return fingerprint([SCHEMA, "noise", self.audited_run(name).held_out, fraction])

    # --- steps ---

    def folds_step(self, scheme: str) -> Step:
        """`folds/<scheme>.parquet`."""
        path, inputs = self.workspace.folds(scheme), self._folds_inputs(scheme)
        return Step(f"folds {scheme}", inputs, lambda: table_inputs(path), lambda: self.maker.folds(scheme, inputs))

    def encoder_step(self, encoder: str) -> Step:
        """The encoder's folder under `models/encoders/`."""
        folder, inputs = self._encoder_folder(encoder), self._encoder_inputs(encoder)
        source, seed = self._encoder_source(encoder), self.settings.seed
        return Step(
            f"encoder {encoder}",
            inputs,
            lambda: stamped(folder),
            lambda: self.maker.encoder(source, folder, inputs, seed),
        )

    def noise_step(self, name: str, fraction: float | None = None) -> Step:
        """`oof/<run>/noise.parquet`."""
        plan = self.audited_run(name)
        share = self.settings.noise_fraction if fraction is None else fraction
        inputs = self._noise_inputs(name, share)
        path = self.workspace.noise(plan.name)
        return Step(
            f"audit {plan.name}", inputs, lambda: table_inputs(path), lambda: self.maker.noise(plan, share, inputs)
        )

    def recipe_steps(self, name: str, only: int | None = None) -> list[Step]:
        """What a recipe needs of its own, then its folds: training, test predictions, and the card of the whole run.

        Raises:
            InputError: the fold `only` does not exist in the recipe's scheme.
        """
        recipe = self.member(name)
        if only is not None and only not in recipe.folds:
            raise InputError(f"Fold {only} does not exist: the recipe {name!r} has folds 0 to {len(recipe.folds) - 1}.")
        steps = [self.folds_step(recipe.scheme)]
        if isinstance(recipe, EncoderRecipe):
            steps.append(self.encoder_step(recipe.encoder))
        if recipe.drop_noise_from:
            steps.append(self.noise_step(recipe.drop_noise_from))
        for fold in recipe.folds if only is None else (only,):
            steps += self._fold_steps(recipe, self._fold_plan(recipe, fold))
        return [*steps, self._card_step(recipe)] if only is None else steps

    def _fold_steps(self, recipe: MemberRecipe, plan: FoldPlan) -> list[Step]:
        held_out, test = (
            path(recipe.name, plan.number) for path in (self.workspace.oof_fold, self.workspace.test_fold)
        )
        fold = f"{recipe.name} fold {plan.number}"
        train, predict = lambda: self.maker.train(recipe, plan), lambda: self.maker.predict(recipe, plan)
        return [
            Step(f"train {fold}", plan.inputs, lambda: table_inputs(held_out), train),
            Step(f"predict {fold}", plan.test_inputs, lambda: table_inputs(test), predict),
        ]

    def _card_step(self, recipe: MemberRecipe) -> Step:
        plan = self.run(recipe.name)
        path = self.workspace.run_card(plan.name)
        return Step(
            f"score {recipe.name}",
            plan.complete,
            lambda: read_json(path).get("inputs"),
            lambda: self.maker.run_card(plan, recipe, self._folds_inputs(recipe.scheme), self.card),
        )

    def ensemble_steps(self, name: str) -> list[Step]:
        """One run per task that any member answers."""
        recipe = self.ensemble(name)
        return [self.folds_step("five"), *(self._ensemble_step(recipe, task) for task in self.tasks_of(recipe))]

    def _ensemble_step(self, recipe: AverageRecipe, task: str) -> Step:
        plan = self._ensemble_run(recipe, task)
        members = [self.run(member.name) for member in self.members_of(recipe, task)]
        return Step(
            f"stack {plan.name}",
            plan.complete,
            lambda: self._recorded_ensemble(plan),
            lambda: self.maker.ensemble(plan, recipe, task, members, self._folds_inputs("five"), self.card),
        )

    def _recorded_ensemble(self, plan: RunPlan) -> str | None:
        """What an ensemble's card says, if all of its files are there; None where one is missing."""
        space, name = self.workspace, plan.name
        files = [path(name, fold) for fold in plan.folds for path in (space.oof_fold, space.test_fold)]
        whole = all(table_inputs(file) for file in files)
        return read_json(space.run_card(name)).get("inputs") if whole else None

    def submission_step(self, name: str, answers: dict[str, str]) -> Step:
        """`submissions/<name>/`, from task -> run."""
        for task in answers:
            if task not in self.card.tasks:
                raise InputError(f"The data have no test rows of {task}, only of {', '.join(self.card.tasks)}.")
        plans = {task: self.run(run, task) for task, run in answers.items()}
        inputs = fingerprint([SCHEMA, {task: (plan.name, plan.complete) for task, plan in plans.items()}])
        folder = self.workspace.submission(name)
        return Step(
            f"submit {name}",
            inputs,
            lambda: recorded_inputs(folder),
            lambda: self.maker.submission(name, plans, inputs),
        )

    def scores_step(self) -> Step:
        """`reports/scores.csv`: every run against its labels, the baseline and the floor."""
        plans = self.runs()
        floor = next((name for name in self.wanted() if isinstance(self.recipe(name), LexicalRecipe)), None)
        inputs = fingerprint([SCHEMA, floor, [(plan.name, plan.complete) for plan in plans]])
        card = self.workspace.scores.with_suffix(".json")
        return Step(
            "scores",
            inputs,
            lambda: read_json(card).get("inputs") if self.workspace.scores.is_file() else None,
            lambda: self.maker.scores(plans, floor, card, inputs),
        )

    def steps(self) -> list[Step]:
        """Everything that `competition.toml` asks for, in order."""
        steps: list[Step] = []
        for name in self.wanted():
            is_ensemble = isinstance(self.recipe(name), AverageRecipe)
            steps += self.ensemble_steps(name) if is_ensemble else self.recipe_steps(name)
        if self.settings.noise_run:
            steps.append(self.noise_step(self.settings.noise_run))
        steps.append(self.submission_step(SUBMISSION, self.submission()))
        steps.append(self.scores_step())
        return list({step.name: step for step in steps}.values())

    def submission(self) -> dict[str, str]:
        """Which run answers which task, by `competition.toml`, as far as the data have rows of the task."""
        return {task: run for task, run in self.settings.submission.items() if task in self.card.tasks}

    def wanted(self) -> list[str]:
        """The recipes and ensembles that `competition.toml` names, and those that they are made from, in order."""
        s = self.settings
        audited = [s.noise_run] if s.noise_run else []
        named = [*s.recipes, *audited, *s.ensembles, *self.submission().values()]
        return self.order(split_run(name)[0] for name in named)

    def runs(self) -> list[RunPlan]:
        """Every run that `wanted` leaves in `oof/`."""
        plans: list[RunPlan] = []
        for name in self.wanted():
            recipe = self.recipe(name)
            if isinstance(recipe, AverageRecipe):
                plans += [self._ensemble_run(recipe, task) for task in self.tasks_of(recipe)]
            else:
                plans.append(self.run(name))
        return plans


def split_run(name: str) -> tuple[str, str]:
    """`blend-task1` -> the ensemble and the task; any other name -> itself and nothing."""
    stem, _, suffix = name.rpartition("-")
    return (stem, suffix) if stem and suffix in ANSWER_KIND else (name, "")
