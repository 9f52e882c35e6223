"""The recipes of a workspace, those that each is made from, and those that settings name."""

from collections.abc import Iterable, Mapping
from functools import cache

from competition.config.keys import RUN_SEPARATOR, UNLABELLED_FILE
from competition.config.loading import load_recipe
from competition.config.recipe import (
    AnyRecipe,
    EnsembleRecipe,
    LexicalRecipe,
    MemberRecipe,
    PretrainingRecipe,
    RunRecipe,
)
from competition.config.settings import Settings, recipe_names
from competition.core.commands import shell_quoted
from competition.core.errors import InputError
from competition.core.workspace import Workspace
from competition.scoring.contest import Contest
from competition.scoring.task import Kind

TINY = "tiny"  # the encoder that is made here instead of being loaded
MINI = "mini"  # the encoder that comes with the package, see docs/mini.md

# Names that mean these encoders, whatever folders and recipes a workspace has.
OFFLINE = {TINY, MINI}


class Recipes:
    """The recipes of one workspace, each read once."""

    def __init__(
        self,
        workspace: Workspace,
        settings: Settings,
        contest: Contest,
        tasks: Iterable[str],
        added: Mapping[str, AnyRecipe] | None = None,
    ) -> None:
        """Know the recipes of the package and of the workspace.

        Args:
            workspace: whose recipes.
            settings: that override them.
            contest: that they take part in.
            tasks: that the data have rows of.
            added: recipes beside those of the files, which go before them.
        """
        self._workspace = workspace
        self._settings = settings
        self.contest = contest
        self._tasks = tuple(tasks)
        self._added = dict(added or {})

    def add(self, recipe: AnyRecipe) -> None:
        """Know another recipe beside those of the files, before its name is asked for."""
        self._added[recipe.name] = recipe

    @cache  # noqa: B019 - one Plan per command
    def load(self, name: str) -> AnyRecipe:
        """Return the recipe called `name`, of whatever kind, with everything resolved."""
        if name in self._added:
            return self._added[name]
        return load_recipe(self._workspace, self._settings, self.contest, name)

    def run(self, name: str) -> RunRecipe:
        """Return a recipe that leaves predictions, a member or an ensemble.

        Raises:
            InputError: there is none called `name`, or it pre-trains an encoder.
        """
        recipe = self.load(name)
        if isinstance(recipe, PretrainingRecipe):
            raise InputError(
                f"{name!r} pre-trains an encoder and leaves no predictions: let a recipe start from it "
                f"with `encoder = {name!r}`, or make it alone with `comp pretrain --recipe {shell_quoted(name)}`."
            )
        return recipe

    def member(self, name: str) -> MemberRecipe:
        """Return a recipe that is trained on folds; raises InputError when `name` is an ensemble."""
        recipe = self.run(name)
        if isinstance(recipe, EnsembleRecipe):
            raise InputError(
                f"{name!r} is an ensemble, it is not trained on folds: use `comp stack {shell_quoted(name)}`."
            )
        return recipe

    def ensemble(self, name: str) -> EnsembleRecipe:
        """Return an ensemble; raises InputError when `name` is a recipe that is trained on folds."""
        recipe = self.run(name)
        if not isinstance(recipe, EnsembleRecipe):
            raise InputError(
                f"{name!r} is not an ensemble: train it with `comp train --recipe {shell_quoted(name)}`."
            )
        return recipe

    def pretraining(self, name: str) -> PretrainingRecipe:
        """Return a recipe that pre-trains an encoder; raises InputError for any other."""
        if name in OFFLINE:
            raise InputError(
                f"{name!r} is an offline encoder's name: call the recipe that pre-trains otherwise."
            )
        recipe = self.load(name)
        if not isinstance(recipe, PretrainingRecipe):
            raise InputError(
                f'{name!r} pre-trains nothing: a recipe that does says `model = "pretraining"`.'
            )
        return recipe

    @cache  # noqa: B019
    def pretrained(self, encoder: str) -> PretrainingRecipe | None:
        """Return the recipe that an encoder is made by; None where it is loaded, or an offline one.

        Raises:
            InputError: the encoder is named like a recipe that does not pre-train, or it is made
                from itself.
        """
        # An encoder may start from another that is pre-trained, and so on: `line` is the way down.
        names = {*self._added, *recipe_names(self._workspace)} - OFFLINE
        line: list[str] = []
        while encoder in names:
            if encoder in line:
                raise InputError(
                    f"The recipe {encoder!r} starts from its own encoder: {' <- '.join((*line, encoder))}."
                )
            line.append(encoder)
            encoder = self.pretraining(encoder).encoder

        return self.pretraining(line[0]) if line else None

    # --- what is made from what ---

    def members_of(self, recipe: EnsembleRecipe, task: str | None = None) -> list[MemberRecipe]:
        """Return the recipes that an ensemble combines: all, or for a task those that answer it; trees read all."""
        members = [self.member(name) for name in recipe.members or self._settings.recipes]
        if task is None:
            return members

        serves = recipe.serves(self.contest.task(task))
        if recipe.stacks and serves:
            return members
        return [member for member in members if serves and task in self.kind_of(member).tasks]

    def tasks_of(self, recipe: RunRecipe) -> list[str]:
        """Return the tasks of the data that a recipe answers, or that an ensemble's members do."""
        if isinstance(recipe, EnsembleRecipe):
            return [task for task in self._tasks if self.members_of(recipe, task)]
        return [task for task in self.kind_of(recipe).tasks if task in self._tasks]

    def kind_of(self, recipe: MemberRecipe) -> Kind:
        """Return the kind of prediction of a recipe."""
        return self.contest.kind(recipe.kind)

    def order(self, names: Iterable[str]) -> list[str]:
        """Return recipes and ensembles, each behind those it is made from.

        Raises:
            InputError: one of them is made from itself.
        """
        order: list[str] = []

        def visit(name: str, above: tuple[str, ...]) -> None:
            if name in above:
                raise InputError(
                    f"The recipe {name!r} is made from itself: {' <- '.join((*above, name))}."
                )
            if name in order:
                return

            for needed in self._made_from(self.run(name)):
                visit(needed, (*above, name))
            order.append(name)

        for name in names:
            visit(name, ())
        return order

    def _made_from(self, recipe: RunRecipe) -> list[str]:
        """Return the recipes whose runs a recipe reads."""
        if isinstance(recipe, EnsembleRecipe):
            return [member.name for member in self.members_of(recipe)]

        runs = [*recipe.noise_from.split(RUN_SEPARATOR), recipe.distill_from]
        return [self.contest.split_run(run)[0] for run in runs if run not in ("", UNLABELLED_FILE)]

    # --- what competition.toml names ---

    def submission(self) -> dict[str, str]:
        """Return which run answers which task, as far as the data have rows of the task."""
        named = self._settings.submission
        return {task: run for task, run in named.items() if task in self._tasks}

    def requested(self) -> list[str]:
        """Return the recipes and ensembles that are named, and those that they are made from, in order."""
        settings = self._settings
        audited = settings.noise_run.split(RUN_SEPARATOR) if settings.noise_run else []
        named = [*settings.recipes, *audited, *settings.ensembles, *self.submission().values()]
        return self.order(self.contest.split_run(name)[0] for name in named)

    @property
    def lexical_baseline(self) -> str | None:
        """The run that others must beat: the first `lexical` that is requested, if any is."""
        recipes = (self.run(name) for name in self.requested())
        return next((r.name for r in recipes if isinstance(r, LexicalRecipe)), None)
