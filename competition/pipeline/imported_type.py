"""The type of recipes whose outputs another tool made: they are read where others are trained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from competition.config.recipe import ImportedRecipe
from competition.core.errors import CompError
from competition.core.lazy_pandas import pd
from competition.core.parquet import read_table
from competition.pipeline.artifacts import Artifacts
from competition.pipeline.keys import FoldPlan
from competition.pipeline.rows import FoldRows
from competition.pipeline.tables import Tables

if TYPE_CHECKING:
    from competition.pipeline.execute import Step
    from competition.pipeline.input_steps import InputSteps
    from competition.pipeline.plan import Plan
    from competition.pipeline.predict_new import PreparedRows


def artifacts(artifacts: Artifacts, recipe: ImportedRecipe) -> tuple[str, ...]:
    """Return the fingerprint of the outputs."""
    return (artifacts.member_fingerprint(recipe.name),)


def added_rows(artifacts: Artifacts, recipe: ImportedRecipe) -> None:
    """Return None: no rows are added."""


def folders(artifacts: Artifacts, recipe: ImportedRecipe) -> list[Path]:
    """Return nothing: no text is read."""
    return []


def inputs(steps: InputSteps, plan: Plan, recipe: ImportedRecipe) -> list[Step]:
    """Return nothing: the outputs are there."""
    return []


def train(
    tables: Tables, plan: Plan, fold: FoldPlan[ImportedRecipe], rows: FoldRows
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the outputs of the held-out and of the test rows.

    Raises:
        CompError: rows were imported since that have no output.
    """
    outputs = _outputs(plan, fold)
    ids = tables.examples["example_id"]
    wanted = ids.iloc[rows.held_out], ids.iloc[rows.test]
    for each in wanted:
        missing = each[~each.isin(outputs.index)]
        if len(missing):
            raise CompError(
                f"{plan.workspace.member(fold.recipe.name)} has no output of example_id {missing.iloc[0]}, and of "
                f"{len(missing) - 1} others: the data have changed, bring the outputs of all rows again."
            )

    held_out, test = (outputs.loc[each].reset_index() for each in wanted)
    return held_out, test


def predict(tables: Tables, plan: Plan, fold: FoldPlan[ImportedRecipe]) -> pd.DataFrame:
    """Return the outputs of the test rows."""
    ids = tables.examples.loc[tables.examples["split"] == "test", "example_id"]
    return _outputs(plan, fold).loc[ids].reset_index()


def new_rows_predictor(
    plan: Plan, models: list[FoldPlan[ImportedRecipe]]
) -> Callable[[PreparedRows], list[pd.DataFrame]]:
    """Refuse new rows, which `Plan.all_rows` does before."""
    raise CompError(f"{models[0].recipe.name!r} has no model.")


def _outputs(plan: Plan, fold: FoldPlan[ImportedRecipe]) -> pd.DataFrame:
    """Return the outputs of all rows, by example_id."""
    name = fold.recipe.name
    path = plan.workspace.member(name)
    table = read_table(path, plan.artifacts.member_fingerprint(name))
    return table.drop(columns="fold").set_index("example_id")
