"""Which runs there should be, and what each of them is made from.

Fingerprints are computed from settings and data alone, before anything is made: a run's inputs are
its recipe's keys and the fingerprints of what it depends on, down to the rows.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from itertools import combinations

from competition.config.keys import RUN_SEPARATOR, AuditKeys
from competition.config.label_paths import label_paths
from competition.config.recipe import (
    SCHEMES,
    EncoderRecipe,
    EnsembleRecipe,
    MemberRecipe,
    PretrainingRecipe,
    RunRecipe,
)
from competition.core.commands import shell_quoted
from competition.core.errors import InputError
from competition.core.fingerprint import fingerprint
from competition.core.lazy_pandas import pd
from competition.core.workspace import SCHEMA
from competition.data.targets import TEACHER_KINDS
from competition.noise.plan import AuditPlan
from competition.noise.reviews import load_reviews, reviews_fingerprint
from competition.pipeline.inputs import Origins
from competition.pipeline.plans import PAIRED, FoldPlan, TeacherPlan
from competition.scoring.predictions import RunPlan
from competition.scoring.tasks import ANSWER_KIND


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
                f"with `encoder = {name!r}`, or make it alone with `comp pretrain --recipe {shell_quoted(name)}`."
            )
        return recipe

    def member(self, name: str) -> MemberRecipe:
        """A recipe that is trained on folds; raises InputError when `name` is an ensemble."""
        recipe = self.recipe(name)
        if isinstance(recipe, EnsembleRecipe):
            raise InputError(
                f"{name!r} is an ensemble, it is not trained on folds: use `comp stack {shell_quoted(name)}`."
            )
        return recipe

    def ensemble(self, name: str) -> EnsembleRecipe:
        """An ensemble; raises InputError when `name` is a recipe that is trained on folds."""
        recipe = self.recipe(name)
        if not isinstance(recipe, EnsembleRecipe):
            raise InputError(
                f"{name!r} is no ensemble: train it with `comp train --recipe {shell_quoted(name)}`."
            )
        return recipe

    def members_of(self, recipe: EnsembleRecipe, task: str | None = None) -> list[MemberRecipe]:
        """The recipes that an ensemble combines: all, or for a task those that answer it; trees read all of them."""
        members = [self.member(name) for name in recipe.members or self.settings.recipes]
        if task is None or (recipe.stacks and recipe.serves(task)):
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
                raise InputError(
                    f"The recipe {name!r} is made from itself: {' <- '.join((*above, name))}."
                )
            if name in order:
                return
            recipe = self.recipe(name)
            if isinstance(recipe, EnsembleRecipe):
                behind = [member.name for member in self.members_of(recipe)]
            else:
                taken = [*recipe.noise_from.split(RUN_SEPARATOR), recipe.distill_from]
                behind = [split_run(run)[0] for run in taken if run]
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
                raise InputError(
                    f"{name!r} is an ensemble of one run per task: say which, such as {name}-task1."
                )
            return self.ensemble_run(recipe, task)
        if task is not None and task not in recipe.tasks:
            raise InputError(
                f"The run {name!r} does not answer {task}, only {', '.join(recipe.tasks)}."
            )
        self.order([name])  # refuses a circle
        plans = [self.fold_plan(recipe, fold) for fold in recipe.folds]
        parts = tuple((plan.inputs, plan.test_inputs) for plan in plans)
        command, paths = (
            f"comp train --recipe {shell_quoted(name)}",
            label_paths(recipe, self._recipe_of),
        )
        return RunPlan(
            name, recipe.kind, recipe.tasks, command, parts, recipe.scheme, label_paths=paths
        )

    def _recipe_of(self, run: str) -> RunRecipe:
        """The recipe of a run; of `blend-task2`, that of the ensemble."""
        return self.recipe(split_run(run)[0])

    def audited_run(self, name: str) -> RunPlan:
        """The run whose labels are audited; raises InputError unless it predicts the four classes."""
        recipe = self.recipe(split_run(name)[0])
        if isinstance(recipe, EnsembleRecipe) and "task2" not in self.tasks_of(recipe):
            raise InputError(
                f"The ensemble {recipe.name!r} has no run for task2 here, which an audit would need."
            )
        plan = self._run_for(name, "task2")
        if plan.kind != "classes":
            raise InputError(
                f"An audit needs a run that predicts the four classes, {name!r} predicts {plan.kind}."
            )
        return plan

    def _run_for(self, name: str, task: str) -> RunPlan:
        """The run called `name`; of an ensemble that is named without a task, the one for `task`."""
        stem, suffix = split_run(name)
        whole_ensemble = not suffix and isinstance(self.recipe(stem), EnsembleRecipe)
        return self.run(name, task if whole_ensemble else None)

    def ensemble_run(self, recipe: EnsembleRecipe, task: str) -> RunPlan:
        """The run of an ensemble for one task; raises InputError when no member answers it."""
        self.order([recipe.name])
        members = self.members_of(recipe, task)
        paths = label_paths(recipe, self._recipe_of, members, task)
        if not recipe.serves(task):
            raise InputError(
                f"The method of {recipe.name!r}, {recipe.method}, answers task1 alone, not {task}."
            )
        if not members:
            raise InputError(
                f"No member of the ensemble {recipe.name!r} answers {task}: add one to `recipes` of competition.toml, "
                f"or let another run answer {task} in [submission]."
            )
        plans = sorted((self.run(member.name) for member in members), key=lambda plan: plan.name)
        made_from = [(plan.name, plan.held_out_fingerprint) for plan in plans]
        if recipe.nested:
            made_from += [
                (plan.name, fingerprint([p.inputs for p in self.pair_plans(plan.name)]))
                for plan in plans
            ]
        inputs = fingerprint([SCHEMA, recipe.result_keys(), task, self.card.train, made_from])
        test_inputs = fingerprint([inputs, self.card.test, [plan.fingerprint for plan in plans]])
        parts = ((inputs, test_inputs),) * len(recipe.folds)
        name, command = recipe.run_name(task), f"comp stack {shell_quoted(recipe.name)}"
        return RunPlan(
            name, ANSWER_KIND[task], (task,), command, parts, PAIRED, recipe.leaky, paths
        )

    def combined(
        self, recipe: EnsembleRecipe, task: str
    ) -> tuple[list[RunPlan], dict[str, dict[tuple[int, ...], str]]]:
        """The runs that an ensemble combines for a task, and the nested models of each, by the folds they leave out."""
        members = [self.run(member.name) for member in self.members_of(recipe, task)]
        named = [member.name for member in members] if recipe.nested else []
        return members, {name: self._pairs_of(name) for name in named}

    def submission(self) -> dict[str, str]:
        """Which run answers which task, by `competition.toml`, as far as the data have rows of the task."""
        return {
            task: run for task, run in self.settings.submission.items() if task in self.card.tasks
        }

    def wanted(self) -> list[str]:
        """The recipes and ensembles that `competition.toml` names, and those that they are made from, in order."""
        s = self.settings
        audited = s.noise_run.split(RUN_SEPARATOR) if s.noise_run else []
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

    def audits(self) -> list[AuditPlan]:
        """The audits that `wanted` needs: the one that competition.toml names, and those that recipes obey."""
        recipes = [self.recipe(name) for name in self.wanted()]
        names = [recipe.noise_from for recipe in recipes if not isinstance(recipe, EnsembleRecipe)]
        return list(
            {
                (plan := self.audit(name)).name: plan
                for name in (self.settings.noise_run, *names)
                if name
            }.values()
        )

    # --- fingerprints ---

    def fold_plan(self, recipe: MemberRecipe, fold: int) -> FoldPlan:
        """What one fold of a recipe is made from."""
        return self._plan(recipe, recipe.scheme, (fold,))

    def all_plan(self, recipe: MemberRecipe) -> FoldPlan:
        """What the model of all training rows is made from, as `recipe.for_all_rows` trains it."""
        return self._plan(recipe.for_all_rows, recipe.scheme, ())

    def pair_plans(self, name: str) -> list[FoldPlan]:
        """What the nested models of a recipe are made from: one for each two folds of `five`, whatever its scheme.

        Raises:
            InputError: the recipe trains on what an audit left, whose models saw the labels of
                every fold.
        """
        recipe = self.member(name)
        if recipe.noise_from or recipe.distill_from:
            raise InputError(
                f"{name!r} obeys an audit or a teacher that saw the labels of the folds that a nested model leaves "
                "out, so it has none: name recipes without drop_noise_from and its like, and without distill_from."
            )
        return [
            self._plan(recipe, PAIRED, pair) for pair in combinations(range(SCHEMES[PAIRED]), 2)
        ]

    @cache  # noqa: B019
    def _plan(self, recipe: MemberRecipe, scheme: str, held: tuple[int, ...]) -> FoldPlan:
        parts = [SCHEMA, recipe.result_keys(), held[0] if len(held) == 1 else held, self.card.train]
        sources = None
        if isinstance(recipe, EncoderRecipe):
            sources = self.sources(recipe)
            parts.append(self.encoder_inputs(recipe.encoder))
            parts += [self.vocabulary_inputs] if sources.vocabulary else []
            parts += [self.vectors_inputs] if sources.vectors else []
        fold = self._fold_apart(recipe, scheme, held)
        noise = self.audit(recipe.noise_from, fold=fold) if recipe.noise_from else None
        teacher = self._teacher(recipe, fold) if recipe.distill_from else None
        parts += [taken.inputs for taken in (noise, teacher) if taken is not None]
        translations = None
        if isinstance(recipe, EncoderRecipe) and recipe.translate_with:
            translations = self.translations(recipe.translate_with)[1:]
            parts.append(translations[1])
        inputs = fingerprint(parts)
        tests = fingerprint([inputs, self.card.test])
        return FoldPlan(scheme, held, inputs, tests, sources, noise, teacher, translations)

    def _fold_apart(self, recipe: MemberRecipe, scheme: str, held: tuple[int, ...]) -> int | None:
        """The fold that the models must not have seen which a nested recipe takes flags and targets from."""
        if not held or not recipe.nested or not (recipe.noise_from or recipe.distill_from):
            return None
        if scheme != PAIRED:
            raise InputError(
                f"{recipe.name!r} is nested and its scheme is {scheme!r}: nested models leave out folds of "
                f"{PAIRED!r}, so its scheme must be that."
            )
        return held[0]

    # --- what training takes from out-of-fold outputs ---

    def audit(self, name: str, keys: AuditKeys | None = None, fold: int | None = None) -> AuditPlan:
        """The audit of a run, or of several joined by `+`, by competition.toml unless `keys` say otherwise.

        It is made from out-of-fold outputs, so that new test rows leave it alone, and people's
        verdicts. With `fold`, it is the audit by the runs' nested models that left out that fold.

        Raises:
            InputError: a run does not predict the four classes, is named twice, or has no nested
                models.
        """
        keys = keys or self.settings.audit
        of_runs, runs = self.audited_runs(name)
        pairs = {run.name: self._pairs_of(run.name, fold) for run in runs if fold is not None}
        made_from = [inputs for each in pairs.values() for inputs in each.values()] or [
            run.held_out_fingerprint for run in runs
        ]
        chosen = keys.model_dump(exclude={"fraction"}, exclude_defaults=True)
        parts = [SCHEMA, "noise", made_from if len(made_from) > 1 else made_from[0], keys.fraction]
        parts += [chosen] if chosen else []
        parts += [] if fold is None else [fold]
        if self.workspace.reviews(of_runs).is_file():
            parts += reviews_fingerprint(self.verdicts(of_runs))
        return AuditPlan(of_runs, runs, keys, fingerprint(parts), fold, pairs)

    def audited_runs(self, name: str) -> tuple[str, tuple[RunPlan, ...]]:
        """The name of an audit, a folder of `oof/`, and the runs whose labels it judges; refuses as `audit` does."""
        runs = tuple(
            sorted(
                (self.audited_run(each) for each in name.split(RUN_SEPARATOR)),
                key=lambda run: run.name,
            )
        )
        if len({run.name for run in runs}) < len(runs):
            raise InputError(f"The audit of {name!r} names a run twice.")
        return RUN_SEPARATOR.join(run.name for run in runs), runs

    @cache  # noqa: B019
    def verdicts(self, audit: str) -> pd.DataFrame:
        """What people said of the rows that an audit covers; raises CompError where it is about others."""
        return load_reviews(self.workspace, audit, self.card.train)

    def _pairs_of(self, name: str, fold: int | None = None) -> dict[tuple[int, ...], str]:
        """The nested models of a run (that left out a fold), each with its two folds and what it is made from."""
        if split_run(name)[1]:
            raise InputError(
                f"The ensemble's run {name!r} has no nested models: name recipes, or do without nested."
            )
        return {
            plan.held: plan.inputs
            for plan in self.pair_plans(name)
            if fold is None or fold in plan.held
        }

    def _teacher(self, recipe: MemberRecipe, fold: int | None) -> TeacherPlan:
        """What a recipe distils.

        Raises:
            InputError: the teacher does not say what the student learns, or its folds are others.
        """
        name = recipe.distill_from
        run = self._run_for(name, "task3" if recipe.kind == "substitute" else "task2")
        if run.kind not in TEACHER_KINDS[recipe.kind]:
            raise InputError(
                f"{recipe.name!r} learns {recipe.kind}, and its teacher {name!r} predicts {run.kind}."
            )
        if run.scheme != recipe.scheme:
            raise InputError(
                f"{recipe.name!r} has the folds of {recipe.scheme!r} and its teacher {name!r} those of {run.scheme!r}: "
                "they must be the same, or the student's held-out rows taught its teacher."
            )
        if fold is None:
            return TeacherPlan(run, None, run.held_out_fingerprint)
        pairs = self._pairs_of(run.name, fold)
        return TeacherPlan(run, pairs, fingerprint([fold, list(pairs.values())]))


def split_run(name: str) -> tuple[str, str]:
    """`blend-task1` -> the ensemble and the task; any other name -> itself and nothing."""
    stem, _, suffix = name.rpartition("-")
    return (stem, suffix) if stem and suffix in ANSWER_KIND else (name, "")
