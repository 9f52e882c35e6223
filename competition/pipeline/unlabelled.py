"""Unlabelled rows: pairs of a query and a product that a teacher speaks of, beside the rows of the workspace."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from competition.config.recipe import MemberRecipe
from competition.core.commands import shell_quoted
from competition.core.errors import CompError
from competition.core.json_files import read_manifest
from competition.core.lazy_pandas import pd
from competition.core.parquet import mean_by_id, read_fingerprint, read_table, write_table
from competition.core.workspace import Workspace
from competition.pipeline.keys import FoldPlan
from competition.pipeline.recipe_types import type_of
from competition.scoring.brought_outputs import content_fingerprint
from competition.scoring.contest import Contest

if TYPE_CHECKING:
    from competition.pipeline.new_rows import NewRows
    from competition.pipeline.plan import Plan
    from competition.pipeline.tables import Tables

_SOURCE = "the unlabelled rows"


def import_unlabelled(
    workspace: Workspace, contest: Contest, table: pa.Table, source: str, locale: str
) -> NewRows:
    """Check unlabelled rows and keep their text in `data/unlabelled.parquet`, instead of those before.

    Args:
        workspace: that they are brought to.
        contest: whose columns they have.
        table: of the file.
        source: its name, for messages.
        locale: of rows that name none.

    Raises:
        InputError: the rows are not the contest's, see `NewRows.make`.
    """
    from competition.pipeline.new_rows import NewRows

    new = NewRows.make(table, source, contest, locale)
    texts = new.examples[["query", "locale", "product_id"]].merge(
        new.products, on=["product_id", "locale"] if "locale" in new.products else "product_id"
    )
    kept = texts[["query", "locale", "product_id", *contest.fields]].astype("str")
    write_table(workspace.unlabelled, kept, content_fingerprint(kept))
    return new


def read_unlabelled(workspace: Workspace, contest: Contest, examples: pd.DataFrame) -> NewRows:
    """Return the unlabelled rows, numbered behind those of the workspace.

    Raises:
        CompError: there are none.
    """
    from competition.pipeline.new_rows import NewRows

    path = workspace.unlabelled
    remedy = "`comp data import-unlabelled FILE` brings them"
    table = read_table(path, read_fingerprint(path) or "", remedy)
    first = int(examples["example_id"].max()) + 1
    new = NewRows.make(table, _SOURCE, contest, first_id=first)

    # Queries of their own, whatever their text.
    query_id = new.examples["query_id"] + int(examples["query_id"].max()) + 1
    numbered = new.examples.assign(query_id=query_id)
    return NewRows(numbered, new.products, new.of_row, new.remarks, new.unread)


def predict_unlabelled(
    plan: Plan, models: list[FoldPlan[MemberRecipe]], tables: Tables
) -> pd.DataFrame:
    """Return the mean of what models say of the unlabelled rows, by example_id.

    Raises:
        CompError: a model is missing or out of date.
    """
    from competition.pipeline.predict_new import PreparedRows

    key = tuple(model.fingerprint for model in models)
    if key not in tables.said_of_unlabelled:
        recipe = models[0].recipe
        for model in models:
            folder = plan.workspace.model(recipe.name, model.name)
            if read_manifest(folder) != model.fingerprint:
                raise CompError(
                    f"{folder} is missing or out of date, and its recipe is the teacher of another: remove "
                    f"{plan.workspace.run(recipe.name)}, then `comp train --recipe {shell_quoted(recipe.name)}` "
                    "builds it."
                )
        predict = type_of(recipe).new_rows_predictor(plan, models)
        tables.said_of_unlabelled[key] = mean_by_id(
            predict(PreparedRows(tables.unlabelled, tables))
        )
    return tables.said_of_unlabelled[key]
