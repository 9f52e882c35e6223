"""Which runs there should be, and what each of them is made from.

Fingerprints are computed from settings and data alone, before anything is made: a run's inputs are its recipe's keys
and the fingerprints of what it depends on, down to the rows.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from pathlib import Path

import pandas as pd

from competition.errors import InputError
from competition.model.sources import Sources
from competition.oof import RunPlan
from competition.origins import Origins
from competition.recipe import SCHEMES, EncoderRecipe, EnsembleRecipe, MemberRecipe, PretrainingRecipe, RunRecipe
from competition.tasks import ANSWER_KIND
from competition.verdicts import load_verdicts, verdict_inputs
from competition.workspace import SCHEMA, fingerprint

PAIRED = "five"  # the scheme that ensembles are cross-fitted over, and nested models leave out two folds of


@dataclass(frozen=True)
class FoldPlan:
    """What the model of one fold is made from, or a nested one, which leaves out two folds."""

    scheme: str
    held: tuple[int, ...]  # the folds whose rows it never sees and predicts
    inputs: str  # fingerprint of all that training depends on
    test_inputs: str  # the same with the test rows
    sources: Sources | None  # of an encoder recipe
    noise: tuple[str, str] | None  # the audited run whose flags are obeyed, and their fingerprint
    translations: tuple[Path, str] | None  # the file of translated texts, and its fingerprint

    @property
    def name(self) -> str:
        """`3`, or `0-3` of a nested model."""
        return "-".join(map(str, self.held))


class Planner(Origins):
    """The runs of one workspace."""

    # --- recipes and runs ---

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

    def member(self, name: str) -> MemberRecipe:
        """A recipe that is trained on folds; raises InputError when `name` is an ensemble."""
        recipe = self.recipe(name)
        if isinstance(recipe, EnsembleRecipe):
            raise InputError(f"{name!r} is an ensemble, it is not trained on folds: use `comp stack {name}`.")
        return recipe

    def ensemble(self, name: str) -> EnsembleRecipe:
        """An ensemble; raises InputError when `name` is a recipe that is trained on folds."""
        recipe = self.recipe(name)
        if not isinstance(recipe, EnsembleRecipe):
            raise InputError(f"{name!r} is no ensemble: train it with `comp train --recipe {name}`.")
        return recipe

    def members_of(self, recipe: EnsembleRecipe, task: str | None = None) -> list[MemberRecipe]:
        """The recipes that an ensemble combines: all, or for a task those that answer it; trees read all of them."""
        members = [self.member(name) for name in recipe.members or self.settings.recipes]
        if task is None or (recipe.learns_trees and recipe.serves(task)):
            return members
        return [member for member in members if task in member.tasks and recipe.serves(task)]

    def tasks_of(self, recipe: EnsembleRecipe) -> list[str]:
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
            if isinstance(recipe, EnsembleRecipe):
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
        if isinstance(recipe, EnsembleRecipe):
            if task is None:
                raise InputError(f"{name!r} is an ensemble of one run per task: say which, such as {name}-task1.")
            return self.ensemble_run(recipe, task)
        if task is not None and task not in recipe.tasks:
            raise InputError(f"The run {name!r} does not answer {task}, only {', '.join(recipe.tasks)}.")
        self.order([name])  # refuses a circle
        plans = [self.fold_plan(recipe, fold) for fold in recipe.folds]
        parts = tuple((plan.inputs, plan.test_inputs) for plan in plans)
        return RunPlan(name, recipe.kind, recipe.tasks, f"comp train --recipe {name}", parts, recipe.scheme)

    def audited_run(self, name: str) -> RunPlan:
        """The run whose labels are audited; raises InputError unless it predicts the four classes."""
        recipe = self.recipe(split_run(name)[0])
        if isinstance(recipe, EnsembleRecipe) and "task2" not in self.tasks_of(recipe):
            raise InputError(f"The ensemble {recipe.name!r} has no run for task2 here, which an audit would need.")
        whole_ensemble = isinstance(recipe, EnsembleRecipe) and name == recipe.name
        plan = self.run(name, "task2" if whole_ensemble else None)
        if plan.kind != "classes":
            raise InputError(f"An audit needs a run that predicts the four classes, {name!r} predicts {plan.kind}.")
        return plan

    def ensemble_run(self, recipe: EnsembleRecipe, task: str) -> RunPlan:
        """The run of an ensemble for one task; raises InputError when no member answers it."""
        self.order([recipe.name])
        members = self.members_of(recipe, task)
        if not recipe.serves(task):
            raise InputError(f"The method of {recipe.name!r}, {recipe.method}, answers task1 alone, not {task}.")
        if not members:
            raise InputError(
                f"No member of the ensemble {recipe.name!r} answers {task}: add one to `recipes` of competition.toml, "
                f"or let another run answer {task} in [submission]."
            )
        plans = sorted((self.run(member.name) for member in members), key=lambda plan: plan.name)
        made_from = [(plan.name, plan.held_out) for plan in plans]
        if recipe.nested:
            made_from += [(plan.name, fingerprint([p.inputs for p in self.pair_plans(plan.name)])) for plan in plans]
        inputs = fingerprint([SCHEMA, recipe.result_keys(), task, self.card.train, made_from])
        test_inputs = fingerprint([inputs, self.card.test, [plan.complete for plan in plans]])
        parts = ((inputs, test_inputs),) * len(recipe.folds)
        name, command = recipe.run_name(task), f"comp stack {recipe.name}"
        return RunPlan(name, ANSWER_KIND[task], (task,), command, parts, PAIRED, recipe.leaky)

    def combined(
        self, recipe: EnsembleRecipe, task: str
    ) -> tuple[list[RunPlan], dict[str, dict[tuple[int, ...], str]]]:
        """The runs that an ensemble combines for a task, and the nested models of each, by the folds they leave out."""
        members = [self.run(member.name) for member in self.members_of(recipe, task)]
        named = [member.name for member in members] if recipe.nested else []
        return members, {name: {plan.held: plan.inputs for plan in self.pair_plans(name)} for name in named}

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
            if isinstance(recipe, EnsembleRecipe):
                plans += [self.ensemble_run(recipe, task) for task in self.tasks_of(recipe)]
            else:
                plans.append(self.run(name))
        return plans

    # --- fingerprints ---

    def fold_plan(self, recipe: MemberRecipe, fold: int) -> FoldPlan:
        """What one fold of a recipe is made from."""
        return self._plan(recipe, recipe.scheme, (fold,))

    def pair_plans(self, name: str) -> list[FoldPlan]:
        """What the nested models of a recipe are made from: one for each two folds of `five`, whatever its scheme.

        Raises:
            InputError: the recipe trains on what an audit left, whose models saw the labels of every fold.
        """
        recipe = self.member(name)
        if recipe.drop_noise_from:
            raise InputError(
                f"{name!r} leaves out rows by an audit that saw the labels of all folds, so it has no nested models: "
                "name members without drop_noise_from."
            )
        return [self._plan(recipe, PAIRED, pair) for pair in combinations(range(SCHEMES[PAIRED]), 2)]

    @cache  # noqa: B019
    def _plan(self, recipe: MemberRecipe, scheme: str, held: tuple[int, ...]) -> FoldPlan:
        parts = [SCHEMA, recipe.result_keys(), held[0] if len(held) == 1 else held, self.card.train]
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
        return FoldPlan(scheme, held, inputs, test_inputs, sources, noise, translations)

    def noise_inputs(self, name: str, fraction: float) -> str:
        """What an audit is made from: the out-of-fold outputs (new test rows leave it alone) and people's verdicts."""
        plan = self.audited_run(name)
        said = verdict_inputs(self.verdicts(plan.name))
        return fingerprint([SCHEMA, "noise", plan.held_out, fraction, *said])

    @cache  # noqa: B019
    def verdicts(self, run: str) -> pd.DataFrame:
        """What people said of the rows that the audit of `run` covers; raises CompError where it is about others."""
        return load_verdicts(self.workspace, run, self.card.train)


def split_run(name: str) -> tuple[str, str]:
    """`blend-task1` -> the ensemble and the task; any other name -> itself and nothing."""
    stem, _, suffix = name.rpartition("-")
    return (stem, suffix) if stem and suffix in ANSWER_KIND else (name, "")
