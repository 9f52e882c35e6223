"""Which runs there should be, and what each of them is made from.

Fingerprints are computed from settings and data alone, before anything is made: a run's inputs are its recipe's keys
and the fingerprints of what it depends on, down to the rows.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from competition import settings as config
from competition.data.store import Card, load_card
from competition.errors import InputError
from competition.model.sources import Sources
from competition.oof import RunPlan
from competition.recipe import (
    AnyRecipe,
    AverageRecipe,
    EncoderRecipe,
    MemberRecipe,
    Optimised,
    PretrainingRecipe,
    RunRecipe,
)
from competition.settings import Settings
from competition.tasks import ANSWER_KIND
from competition.workspace import SCHEMA, Workspace, fingerprint, fingerprint_files

TINY = "tiny"  # the encoder that is made here instead of being loaded


@dataclass(frozen=True)
class FoldPlan:
    """What one fold of a recipe is made from."""

    number: int
    inputs: str  # fingerprint of all that training depends on
    test_inputs: str  # the same with the test rows
    folds_inputs: str  # of the file of folds
    sources: Sources | None  # of an encoder recipe
    noise: tuple[str, str] | None  # the audited run whose flags are obeyed, and their fingerprint
    translations: tuple[Path, str] | None  # the file of translated texts, and its fingerprint


class Planner:
    """The runs of one workspace."""

    def __init__(self, workspace: Workspace, recipes: Mapping[str, AnyRecipe] | None = None) -> None:
        """`recipes` are known beside those of the files, and go before them."""
        self.workspace = workspace
        self._recipes = recipes or {}
        self.settings: Settings = config.load_settings(workspace)
        self.card: Card = load_card(workspace)

    # --- recipes and runs ---

    @cache  # noqa: B019 - one Pipeline per command
    def _load(self, name: str) -> AnyRecipe:
        if name in self._recipes:
            return self._recipes[name]
        return config.load_recipe(self.workspace, self.settings, name)

    def recipe(self, name: str) -> RunRecipe:
        """The recipe called `name`, a member or an ensemble, with everything resolved.

        Raises:
            InputError: there is none, or it pre-trains an encoder.
        """
        recipe = self._load(name)
        if isinstance(recipe, PretrainingRecipe):
            raise InputError(
                f"{name!r} pre-trains an encoder and leaves no predictions: let a recipe start from it "
                f"with `encoder = {name!r}`, or make it alone with `comp pretrain --recipe {name}`."
            )
        return recipe

    def pretraining(self, name: str) -> PretrainingRecipe:
        """The recipe called `name`, which pre-trains an encoder; raises InputError for any other."""
        if name == TINY:
            raise InputError(f"{TINY!r} is the offline encoder's name: call the recipe that pre-trains otherwise.")
        recipe = self._load(name)
        if not isinstance(recipe, PretrainingRecipe):
            raise InputError(f'{name!r} pre-trains nothing: a recipe that does says `model = "pretraining"`.')
        return recipe

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
            return self.ensemble_run(self.ensemble(stem), suffix)
        recipe = self.recipe(name)
        if isinstance(recipe, AverageRecipe):
            if task is None:
                raise InputError(f"{name!r} is an ensemble of one run per task: say which, such as {name}-task1.")
            return self.ensemble_run(recipe, task)
        if task is not None and task not in recipe.tasks:
            raise InputError(f"The run {name!r} does not answer {task}, only {', '.join(recipe.tasks)}.")
        self.order([name])  # refuses a circle
        plans = [self.fold_plan(recipe, fold) for fold in recipe.folds]
        parts = tuple((plan.inputs, plan.test_inputs) for plan in plans)
        return RunPlan(name, recipe.kind, recipe.tasks, f"comp train --recipe {name}", parts)

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

    def ensemble_run(self, recipe: AverageRecipe, task: str) -> RunPlan:
        """The run of an ensemble for one task; raises InputError when no member answers it."""
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
        return RunPlan(recipe.run_name(task), ANSWER_KIND[task], (task,), f"comp stack {recipe.name}", parts)

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
                plans += [self.ensemble_run(recipe, task) for task in self.tasks_of(recipe)]
            else:
                plans.append(self.run(name))
        return plans

    # --- fingerprints ---

    def folds_inputs(self, scheme: str) -> str:
        """What a scheme's file of folds is made from."""
        return fingerprint([SCHEMA, "folds", scheme, self.card.train, self.card.test])

    @cache  # noqa: B019
    def pretrained(self, encoder: str) -> PretrainingRecipe | None:
        """The recipe that an encoder is made by; None where it is loaded, or `tiny`.

        Raises:
            InputError: the encoder is named like a recipe that does not pre-train, or it is made from itself.
        """
        recipes = {*self._recipes, *config.recipe_names(self.workspace)} - {TINY}
        line: list[str] = []
        while encoder in recipes:
            if encoder in line:
                raise InputError(
                    f"The recipe {encoder!r} starts from its own encoder: {' <- '.join((*line, encoder))}."
                )
            line.append(encoder)
            encoder = self.pretraining(encoder).encoder
        return self.pretraining(line[0]) if line else None

    @cache  # noqa: B019
    def encoder_inputs(self, encoder: str) -> str:
        """What an encoder's folder is made from: the content of a local folder, the name of one on the hub."""
        recipe = self.pretrained(encoder)
        if recipe is not None:
            read = [self.card.train, self.card.test if recipe.test_copies else None]
            names = self.vocabulary_inputs if recipe.names else None
            return fingerprint([SCHEMA, recipe.result_keys(), self.encoder_inputs(recipe.encoder), read, names])
        source = self.encoder_source(encoder)
        if source == TINY:
            return fingerprint([SCHEMA, TINY, self.settings.seed, self.card.train])
        return fingerprint([SCHEMA, fingerprint_files(Path(source)) if Path(source).is_dir() else source])

    def encoder_source(self, encoder: str) -> str:
        """`tiny`, a folder (relative ones start at the workspace), or a name on the model hub."""
        return TINY if encoder == TINY else self._model_source("encoder", encoder)

    def _model_source(self, key: str, name: str) -> str:
        """A folder or a name on the model hub, as the recipe key `key` says it."""
        local = self.workspace.root / Path(name).expanduser()
        if name.startswith(("/", ".", "~")) and not local.is_dir():
            raise InputError(f"The {key} {name!r} is no folder: correct `{key}` in [overrides] or the recipe.")
        return str(local) if local.is_dir() else name

    @cache  # noqa: B019
    def translations(self, model: str) -> tuple[str, Path, str]:
        """Where a translation model is loaded from, the file of its translations, and what that is made from."""
        source = self._model_source("translate_with", model)
        content = fingerprint([SCHEMA, fingerprint_files(Path(source)) if Path(source).is_dir() else source])
        return source, self.workspace.translations(content), fingerprint([content, self.card.train])

    def encoder_folder(self, encoder: str) -> Path:
        """One folder per encoder: two that end in the same name differ in the hash of the whole."""
        if self.pretrained(encoder) is not None:
            return self.workspace.encoder(encoder)
        return self.workspace.encoder(TINY if encoder == TINY else f"{Path(encoder).name}-{fingerprint(encoder)[:8]}")

    @property
    def vocabulary_inputs(self) -> str:
        """What the vocabulary is made from."""
        return fingerprint([SCHEMA, "vocabulary", self.card.train])

    @property
    def vectors_inputs(self) -> str:
        """What the vectors of 3-grams are made from."""
        return fingerprint([self.vocabulary_inputs, self.settings.seed])

    def sources(self, recipe: EncoderRecipe) -> Sources:
        """The folders that a recipe's models are built from."""
        learned = "char3" in recipe.features and recipe.char3_init != "random"
        return Sources(
            self.encoder_folder(recipe.encoder),
            self.workspace.vocabulary if recipe.features else None,
            self.workspace.gram_vectors if learned else None,
            self._learned_names(recipe, recipe.features),
        )

    def _learned_names(self, recipe: Optimised, read: Iterable[str]) -> Path | None:
        """The folder that the brands and colors that a recipe reads start from."""
        pretrained = self.pretrained(recipe.encoder)
        if pretrained is None or not set(pretrained.names) & set(read):
            return None
        return self.encoder_folder(recipe.encoder)

    def pretraining_sources(self, recipe: PretrainingRecipe) -> Sources:
        """The folders that a pre-training starts from."""
        vocabulary = self.workspace.vocabulary if recipe.names else None
        return Sources(self.encoder_folder(recipe.encoder), vocabulary, names=self._learned_names(recipe, recipe.names))

    @cache  # noqa: B019
    def fold_plan(self, recipe: MemberRecipe, fold: int) -> FoldPlan:
        """What one fold of a recipe is made from."""
        parts = [SCHEMA, recipe.result_keys(), fold, self.card.train]
        sources = None
        if isinstance(recipe, EncoderRecipe):
            sources = self.sources(recipe)
            parts.append(self.encoder_inputs(recipe.encoder))
            parts += [self.vocabulary_inputs] if sources.vocabulary else []
            parts += [self.vectors_inputs] if sources.vectors else []
        noise: tuple[str, str] | None = None
        if recipe.drop_noise_from:
            audited = self.audited_run(recipe.drop_noise_from).name
            noise = (audited, self.noise_inputs(recipe.drop_noise_from, self.settings.noise_fraction))
            parts.append(noise[1])
        translations = None
        if isinstance(recipe, EncoderRecipe) and recipe.translate_with:
            _, path, made_from = self.translations(recipe.translate_with)
            translations = (path, made_from)
            parts.append(translations[1])
        inputs = fingerprint(parts)
        test_inputs = fingerprint([inputs, self.card.test])
        return FoldPlan(fold, inputs, test_inputs, self.folds_inputs(recipe.scheme), sources, noise, translations)

    def noise_inputs(self, name: str, fraction: float) -> str:
        """What an audit is made from: the out-of-fold outputs alone, so that new test rows leave it alone."""
        return fingerprint([SCHEMA, "noise", self.audited_run(name).held_out, fraction])


def split_run(name: str) -> tuple[str, str]:
    """`blend-task1` -> the ensemble and the task; any other name -> itself and nothing."""
    stem, _, suffix = name.rpartition("-")
    return (stem, suffix) if stem and suffix in ANSWER_KIND else (name, "")
