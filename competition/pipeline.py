"""What is missing or out of date, in order.

Every step knows the fingerprint of its inputs, computed from settings and data alone, and where the fingerprint of
what was last made is recorded. A step runs when the two differ; so a changed recipe redoes only what depends on it, and
new test rows redo predictions only.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from competition import settings as config
from competition.data.store import Card, load_card
from competition.errors import InputError
from competition.oof import RunPlan
from competition.progress import console
from competition.settings import AnyRecipe, AverageRecipe, EncoderRecipe, MemberRecipe, Settings
from competition.steps import Maker
from competition.tables import table_inputs
from competition.tasks import ANSWER_KIND
from competition.workspace import SCHEMA, Workspace, fingerprint, fingerprint_files, read_json

TINY = "tiny"  # the encoder that is made here instead of being loaded
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
        parts = tuple((self._fold_inputs(recipe, k), self._test_inputs(recipe, k)) for k in recipe.folds)
        return RunPlan(name, recipe.kind, recipe.tasks, parts)

    def audited_run(self, name: str) -> RunPlan:
        """The run whose labels are audited; raises InputError unless it predicts the four classes."""
        is_ensemble = not split_run(name)[1] and isinstance(self.recipe(name), AverageRecipe)
        plan = self.run(name, "task2" if is_ensemble else None)
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
        made_from = sorted((member.name, self.run(member.name).complete) for member in members)
        inputs = fingerprint([SCHEMA, recipe.result_keys(), task, self.card.train, made_from])
        parts = ((inputs, inputs),) * len(recipe.folds)
        return RunPlan(recipe.run_name(task), ANSWER_KIND[task], (task,), parts)

    # --- fingerprints ---

    def _folds_inputs(self, scheme: str) -> str:
        return fingerprint([SCHEMA, "folds", scheme, self.card.train, self.card.test])

    def _encoder_inputs(self, recipe: EncoderRecipe) -> str:
        source = self._encoder_source(recipe)
        if source == TINY:
            return fingerprint([SCHEMA, TINY, self.settings.seed, self.card.train])
        return fingerprint([SCHEMA, fingerprint_files(Path(source)) if Path(source).is_dir() else source])

    def _encoder_source(self, recipe: EncoderRecipe) -> str:
        """`tiny`, a folder (relative ones start at the workspace), or a name on the model hub."""
        local = self.workspace.root / recipe.encoder
        return str(local) if recipe.encoder != TINY and local.is_dir() else recipe.encoder

    def _encoder_folder(self, recipe: EncoderRecipe) -> Path:
        name = recipe.encoder.strip("/").replace("/", "--") if recipe.encoder != TINY else TINY
        return self.workspace.encoder(name)

    def _fold_inputs(self, recipe: MemberRecipe, fold: int) -> str:
        parts = [SCHEMA, recipe.result_keys(), fold, self.card.train]
        if isinstance(recipe, EncoderRecipe):
            parts.append(self._encoder_inputs(recipe))
        if recipe.drop_noise_from:
            parts.append(self._noise_inputs(recipe.drop_noise_from, self.settings.noise_fraction))
        return fingerprint(parts)

    def _test_inputs(self, recipe: MemberRecipe, fold: int) -> str:
        return fingerprint([self._fold_inputs(recipe, fold), self.card.test])

    def _noise_inputs(self, name: str, fraction: float) -> str:
        return fingerprint([SCHEMA, "noise", self.audited_run(name).held_out, fraction])

    # --- steps ---

    def folds_step(self, scheme: str) -> Step:
        """`folds/<scheme>.parquet`."""
        path, inputs = self.workspace.folds(scheme), self._folds_inputs(scheme)
        return Step(f"folds {scheme}", inputs, lambda: table_inputs(path), lambda: self.maker.folds(scheme, inputs))

    def encoder_step(self, recipe: EncoderRecipe) -> Step:
        """The encoder's folder under `models/encoders/`."""
        folder, inputs = self._encoder_folder(recipe), self._encoder_inputs(recipe)
        card = folder.with_suffix(".json")
        source = self._encoder_source(recipe)
        return Step(
            f"encoder {recipe.encoder}",
            inputs,
            lambda: read_json(card).get("inputs") if folder.is_dir() else None,
            lambda: self.maker.encoder(source, folder, card, inputs, self.settings.seed),
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
        folder = Path()
        if isinstance(recipe, EncoderRecipe):
            steps.append(self.encoder_step(recipe))
            folder = self._encoder_folder(recipe)
        noise: str | None = None
        if recipe.drop_noise_from:
            steps.append(self.noise_step(recipe.drop_noise_from))
            noise = self.audited_run(recipe.drop_noise_from).name
        for fold in recipe.folds if only is None else (only,):
            steps += self._fold_steps(recipe, fold, folder, noise)
        return [*steps, self._card_step(recipe)] if only is None else steps

    def _fold_steps(self, recipe: MemberRecipe, fold: int, encoder: Path, noise: str | None) -> list[Step]:
        inputs, test_inputs = self._fold_inputs(recipe, fold), self._test_inputs(recipe, fold)
        held_out, test = self.workspace.oof_fold(recipe.name, fold), self.workspace.test_fold(recipe.name, fold)
        job = self.maker.job(recipe, fold, encoder, noise, inputs, test_inputs)
        return [
            Step(f"train {recipe.name} fold {fold}", inputs, lambda: table_inputs(held_out), job.train),
            Step(f"predict {recipe.name} fold {fold}", test_inputs, lambda: table_inputs(test), job.predict),
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
        path = self.workspace.run_card(plan.name)
        return Step(
            f"stack {plan.name}",
            plan.complete,
            lambda: read_json(path).get("inputs"),
            lambda: self.maker.ensemble(plan, recipe, task, members, self._folds_inputs("five"), self.card),
        )

    def submission_step(self, name: str, answers: dict[str, str]) -> Step:
        """`submissions/<name>/`, from task -> run."""
        for task in answers:
            if task not in self.card.tasks:
                raise InputError(f"The data have no test rows of {task}, only of {', '.join(self.card.tasks)}.")
        plans = {task: self.run(run, task) for task, run in answers.items()}
        inputs = fingerprint([SCHEMA, {task: (plan.name, plan.complete) for task, plan in plans.items()}])
        card = self.workspace.submission(name) / "submission.json"
        return Step(
            f"submit {name}",
            inputs,
            lambda: read_json(card).get("inputs"),
            lambda: self.maker.submission(name, plans, inputs),
        )

    def steps(self) -> list[Step]:
        """Everything that `competition.toml` asks for, in order."""
        steps: list[Step] = []
        for name in self.wanted():
            is_ensemble = isinstance(self.recipe(name), AverageRecipe)
            steps += self.ensemble_steps(name) if is_ensemble else self.recipe_steps(name)
        steps.append(self.noise_step(self.settings.noise_run))
        steps.append(self.submission_step(SUBMISSION, self.submission()))
        return list({step.name: step for step in steps}.values())

    def submission(self) -> dict[str, str]:
        """Which run answers which task, by `competition.toml`, as far as the data have rows of the task."""
        return {task: run for task, run in self.settings.submission.items() if task in self.card.tasks}

    def wanted(self) -> list[str]:
        """The recipes and ensembles that `competition.toml` names, and those that they are made from, in order."""
        s = self.settings
        named = [*s.recipes, s.noise_run, *s.ensembles, *self.submission().values()]
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
