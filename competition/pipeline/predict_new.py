"""The answers of a run to rows that belong to no workspace.

New rows are treated as test rows are: rows of the test split that are brought as a file get the
predictions that the run has for them.
"""

from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from competition.config.recipe import MemberRecipe
from competition.core.commands import shell_quoted
from competition.core.console import warn
from competition.core.errors import CompError, InputError
from competition.core.json_files import read_manifest
from competition.core.parquet import mean_by_id, read_fingerprint
from competition.core.workspace import ALL_ROWS
from competition.pipeline.build_outputs import fitted_folds
from competition.pipeline.keys import FoldPlan
from competition.pipeline.new_rows import NewRows
from competition.pipeline.plan import Plan
from competition.pipeline.recipe_types import type_of
from competition.pipeline.rows import sides
from competition.pipeline.tables import Tables


class PreparedRows:
    """New rows as models read them; each form is made when it is first asked for.

    Document frequencies are those of the products of training rows, as in training. The candidates
    of a query are its rows among these.
    """

    def __init__(self, rows: NewRows, tables: Tables) -> None:
        """Compare rows with the training products of a workspace."""
        self.rows = rows
        self._tables = tables

    @cached_property
    def with_context(self) -> pd.DataFrame:
        """The examples, their queries with what the candidates share."""
        from competition.data.query_context import with_context

        tables = self._tables
        return with_context(
            self.rows.examples, self.rows.products, tables.contest, tables.training_products
        )

    @cached_property
    def lexical(self) -> pd.DataFrame:
        """The features of text that `lexical` reads, by example_id."""
        from competition.models.lexical.text_features import text_features

        tables = self._tables
        return text_features(
            self.rows.examples, self.rows.products, tables.contest, tables.training_products
        )

    @cached_property
    def text(self) -> pd.DataFrame:
        """All features of text."""
        from competition.models.lexical.bm25 import bm25_features

        tables = self._tables
        bm25 = bm25_features(
            self.rows.examples, self.rows.products, tables.contest, tables.training_products
        )
        return pd.concat([self.lexical, bm25], axis=1)


class RunModels:
    """The models of a recipe: that of all training rows where it was asked for, else those of its folds, averaged."""

    def __init__(self, plan: Plan, recipe: MemberRecipe, of_folds: bool = False) -> None:
        """Find the models; with `of_folds`, a model of all training rows is passed over.

        Raises:
            CompError: a model is missing or out of date.
        """
        self._recipe = recipe
        self._kind = plan.recipes.kind_of(recipe)
        models = trained_models(plan, recipe, of_folds)
        self._predict = type_of(recipe).new_rows_predictor(plan, models)

    def learned_from(self, examples: pd.DataFrame) -> NDArray[np.bool_]:
        """Return which examples any of the models was trained on, before an audit left any out."""
        # The models of all folds together leave out no fold.
        fold = pd.Series(0, examples.index)
        return sides(self._recipe, self._kind, examples, fold, held=())["train"]

    def outputs(self, new: PreparedRows) -> pd.DataFrame:
        """Return example_id and the outputs of the recipe's kind, sorted by example_id."""
        return mean_by_id(self._predict(new))


def trained_models(
    plan: Plan, recipe: MemberRecipe, of_folds: bool
) -> list[FoldPlan[MemberRecipe]]:
    """Return the models that answer; raises CompError where one, or what it reads text with, is out of date."""
    space = plan.workspace
    name = recipe.name
    train = f"`comp train --recipe {shell_quoted(name)}`"
    for folder in type_of(recipe).folders(plan.artifacts, recipe):
        if read_manifest(folder) is None:
            raise CompError(f"{folder} is missing: {train} rebuilds it.")

    all_rows = plan.all_rows(recipe)
    recorded = None if of_folds else read_manifest(space.model(name, ALL_ROWS))
    if recorded == all_rows.fingerprint:
        return [all_rows]
    if recorded is not None:
        warn(
            f"{space.model(name, ALL_ROWS)} is out of date, the models of the folds answer instead."
        )

    models = [plan.fold(recipe, number) for number in recipe.folds]
    for number, model in enumerate(models):
        folder = space.model(name, model.name)
        if read_manifest(folder) == model.fingerprint:
            continue

        fix = f"{train} builds it"
        # Training would see nothing to do where the predictions are there.
        if read_fingerprint(space.oof_fold(name, number)) == model.fingerprint:
            fix = f"remove {space.oof_fold(name, number)}, then {fix}"
        if not of_folds:
            fix += f", or `comp train --all --recipe {shell_quoted(name)}` one model of all rows"
        raise CompError(f"{folder} is missing or out of date: {fix}.")
    return models


class EnsembleModels:
    """An ensemble for one task: its members' models, and what it learned from their out-of-fold outputs."""

    def __init__(self, plan: Plan, tables: Tables, run: str) -> None:
        """Find the models, and what was learned; where that is missing or out of date, it is fitted again.

        Raises:
            CompError: a member lacks models or predictions.
            InputError: the ensemble is leaky.
        """
        stem, task = plan.contest.split_run(run)
        recipe = plan.recipes.ensemble(stem)
        if recipe.leaky:
            raise InputError(
                f"{run!r} reads in which tasks' lists a row is, and new rows are in none: use another run."
            )

        self._plan = plan.ensemble(recipe, task)
        self._tables = tables
        # The ensemble is fitted on outputs of the folds' models, which a model of all rows is not.
        self._models = {
            member.name: RunModels(plan, plan.recipes.member(member.name), of_folds=True)
            for member in self._plan.members
        }
        self._fitted = fitted_folds(tables, self._plan)

    def learned_from(self, examples: pd.DataFrame) -> NDArray[np.bool_]:
        """Return which examples one of the members was trained on, before an audit left any out."""
        masks = [models.learned_from(examples) for models in self._models.values()]
        return np.asarray(np.logical_or.reduce(masks), np.bool_)

    def outputs(self, new: PreparedRows) -> pd.DataFrame:
        """Return example_id and what answers the task, sorted by example_id."""
        from competition.models.ensemble.members import Member
        from competition.models.ensemble.results import Answered

        plan = self._plan
        members = [
            Member(
                member.name,
                member.kind,
                seen={},
                test=self._models[member.name].outputs(new),
                lexical=member.name in plan.lexical,
            )
            for member in sorted(plan.members, key=lambda member: member.name)
        ]
        rows = Answered(
            self._tables.contest.tasks[plan.task],
            plan.run.kind,
            plan.recipe,
            members,
            new.rows.examples.sort_values("example_id", ignore_index=True),
            new.text if plan.recipe.stacks and plan.recipe.text else None,
        )
        frames = []
        for fold in self._fitted:
            frame = pd.DataFrame(fold.answer(rows), columns=list(plan.run.kind.outputs))
            frame.insert(0, "example_id", rows.examples["example_id"].to_numpy())
            frames.append(frame)
        return mean_by_id(frames)
