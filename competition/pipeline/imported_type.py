"""The type of recipes whose outputs another tool made: they are read where others are trained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from competition.config.recipe import ImportedRecipe
from competition.core.commands import shell_quoted
from competition.core.errors import CompError
from competition.core.lazy import pd
from competition.core.parquet import read_table
from competition.pipeline.artifacts import Artifacts
from competition.pipeline.keys import FoldPlan
from competition.pipeline.rows import FoldRows
from competition.pipeline.tables import Tables
from competition.scoring.brought_outputs import FOLD, ID, ROW, TEST, hash_rows

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
        CompError: the data have changed since, see `_outputs`.
    """
    (number,) = fold.held
    held_out = _outputs(tables, plan, fold, rows.held_out, number)
    return held_out, _outputs(tables, plan, fold, rows.test, TEST)


def predict(tables: Tables, plan: Plan, fold: FoldPlan[ImportedRecipe]) -> pd.DataFrame:
    """Return the outputs of the test rows."""
    test = np.flatnonzero(tables.examples["split"] == "test")
    return _outputs(tables, plan, fold, test, TEST)


def new_rows_predictor(
    plan: Plan, models: list[FoldPlan[ImportedRecipe]]
) -> Callable[[PreparedRows], list[pd.DataFrame]]:
    """Refuse new rows, which `Plan.all_rows` does before."""
    raise CompError(f"{models[0].recipe.name!r} has no model.")


def _outputs(
    tables: Tables,
    plan: Plan,
    fold: FoldPlan[ImportedRecipe],
    positions: NDArray[np.int64],
    number: int,
) -> pd.DataFrame:
    """Return the outputs of some rows.

    Args:
        tables: of the workspace.
        plan: of the workspace.
        fold: of the run.
        positions: of the rows in `examples`, `(rows,)`.
        number: the fold in which they were held out, TEST for test rows.

    Raises:
        CompError: the data have changed: rows have no output, are others than those of the same ids
            that the outputs were made for, or were held out in another fold.
    """
    name = fold.recipe.name
    path = plan.workspace.member(name)
    table = read_table(path, plan.artifacts.member_fingerprint(name)).set_index(ID)
    examples = tables.examples.iloc[positions]
    ids = examples[ID].to_numpy()

    place = table.index.get_indexer(pd.Index(ids))
    # Those at -1 are left out below.
    kept = table.iloc[place]
    is_same = (place >= 0) & (kept[FOLD] == number).to_numpy()
    is_same &= kept[ROW].to_numpy() == hash_rows(examples).to_numpy()
    if not is_same.all():
        wrong = ids[~is_same]
        raise CompError(
            f"{path} has no output of example_id {wrong[0]} as it is now, and of {len(wrong) - 1} others: the data or "
            f"their folds have changed, bring the outputs of all rows again with `comp member add "
            f"{shell_quoted(name)} FILE`."
        )
    kind = plan.recipes.kind_of(fold.recipe)
    return kept[list(kind.outputs)].reset_index()
