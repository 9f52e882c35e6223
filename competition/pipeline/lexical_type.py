"""The type of recipes of text features alone: they are planned, trained, and predict."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from competition.config.recipe import LexicalRecipe
from competition.core.console import progress
from competition.core.lazy import pd
from competition.pipeline.artifacts import Artifacts
from competition.pipeline.keys import FoldPlan
from competition.pipeline.rows import FoldRows, fold_targets
from competition.pipeline.tables import Tables

if TYPE_CHECKING:
    from competition.pipeline.execute import Step
    from competition.pipeline.input_steps import InputSteps
    from competition.pipeline.plan import Plan
    from competition.pipeline.predict_new import PreparedRows


def artifacts(artifacts: Artifacts, recipe: LexicalRecipe) -> tuple[str, ...]:
    """Return nothing: trees start from nothing, and features of text are those of the rows."""
    return ()


def added_rows(artifacts: Artifacts, recipe: LexicalRecipe) -> None:
    """Return None: no rows are added."""


def folders(artifacts: Artifacts, recipe: LexicalRecipe) -> list[Path]:
    """Return nothing: text is read as it is."""
    return []


def inputs(steps: InputSteps, plan: Plan, recipe: LexicalRecipe) -> list[Step]:
    """Return the step of the features of text."""
    return [steps.text_features()]


def train(
    tables: Tables, plan: Plan, fold: FoldPlan[LexicalRecipe], rows: FoldRows
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Train trees, save them, and return their outputs of the held-out and of the test rows."""
    from competition.models.lexical.lexical import predict_lexical, save_booster, train_lexical

    recipe = fold.recipe
    kind = plan.recipes.kind_of(recipe)
    features = tables.lexical_features_for(recipe)
    targets = fold_targets(tables, fold, rows.train)
    with progress(f"{recipe.name} fold {fold.name}", recipe.n_estimators, "trees") as work:
        examples = tables.rows_for(recipe).iloc[rows.train]
        booster = train_lexical(recipe, kind, features, examples, fold.name, targets, work)

    save_booster(plan.workspace.model(recipe.name, fold.name), booster, fold.fingerprint)

    ids = tables.examples["example_id"].to_numpy()
    held_out = predict_lexical(booster, kind, features, ids[rows.held_out])
    return held_out, predict_lexical(booster, kind, features, ids[rows.test])


def predict(tables: Tables, plan: Plan, fold: FoldPlan[LexicalRecipe]) -> pd.DataFrame:
    """Return the outputs of the test rows by trees that were saved."""
    from competition.models.lexical.lexical import load_booster, predict_lexical

    ids = tables.examples.loc[tables.examples["split"] == "test", "example_id"].to_numpy()
    booster = load_booster(plan.workspace.model(fold.recipe.name, fold.name))
    return predict_lexical(booster, plan.recipes.kind_of(fold.recipe), tables.lexical_features, ids)


def new_rows_predictor(
    plan: Plan, models: list[FoldPlan[LexicalRecipe]]
) -> Callable[[PreparedRows], list[pd.DataFrame]]:
    """Return a function that predicts new rows by each of some models of one recipe."""
    from competition.models.lexical.lexical import load_booster, predict_lexical

    kind = plan.recipes.kind_of(models[0].recipe)
    folders = [plan.workspace.model(model.recipe.name, model.name) for model in models]

    def predict_rows(new: PreparedRows) -> list[pd.DataFrame]:
        ids = new.rows.examples["example_id"].to_numpy()
        return [predict_lexical(load_booster(folder), kind, new.lexical, ids) for folder in folders]

    return predict_rows
