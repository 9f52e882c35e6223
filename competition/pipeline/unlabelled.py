"""Unlabelled rows: pairs of a query and a product that a teacher speaks of, beside the rows of the workspace."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from competition.config.recipe import MemberRecipe
from competition.core.arrays import Array, Codes
from competition.core.commands import shell_quoted
from competition.core.errors import CompError, InputError, pluralize
from competition.core.json_files import read_manifest
from competition.core.lazy import pa, pd, pq
from competition.core.parquet import mean_by_id, read_fingerprint, read_table, write_table
from competition.core.workspace import Workspace
from competition.pipeline.keys import FoldPlan
from competition.pipeline.recipe_types import type_of
from competition.scoring import brought_outputs
from competition.scoring.contest import Contest
from competition.scoring.task import Kind

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
        InputError: the rows are not the contest's, see `NewRows.make`, or a pair is there twice
            with different outputs.
    """
    from competition.pipeline.new_rows import NewRows

    new = NewRows.make(table, source, contest, locale)
    texts = new.examples[["query", "locale", "product_id"]].merge(
        new.products, on=["product_id", "locale"]
    )
    kept = texts[["query", "locale", "product_id", *contest.fields]].astype("str")

    # What another tool says of these rows, checked as the outputs of a member are.
    kinds = [
        kind for kind in contest.kinds.values() if set(kind.outputs) <= set(table.column_names)
    ]
    names = dict.fromkeys(name for kind in kinds for name in kind.outputs)
    frame = table.select(list(names)).to_pandas()
    first = np.unique(new.of_row, return_index=True)[1]
    for kind in kinds:
        outputs = brought_outputs.check_outputs_of(frame[list(kind.outputs)].copy(), kind, source)
        values = outputs[list(kind.outputs)].to_numpy()
        kept[list(kind.outputs)] = values[first]
        _refuse_other_outputs(values, first[new.of_row], source)
    write_table(workspace.unlabelled, kept, brought_outputs.content_fingerprint(kept))

    new = replace(new, unread=tuple(column for column in new.unread if column not in names))
    repeats = len(table) - len(first)
    if not repeats:
        return new
    remark = f"{source}: {pluralize(repeats, 'row repeats', 'rows repeat')} a pair above, which is there once."
    return replace(new, remarks=(*new.remarks, remark))


def _refuse_other_outputs(values: Array, first: Codes, source: str) -> None:
    """Refuse a row that repeats a pair with other outputs.

    Args:
        values: of each row, `(rows, outputs)`.
        first: the first row of the pair of each row, `(rows,)`.
        source: the name of the table.
    """
    differs = (values != values[first]).any(axis=1)
    if differs.any():
        row = int(np.flatnonzero(differs)[0])
        raise InputError(
            f"{source}: row {row + 1} repeats the pair of row {first[row] + 1} with other outputs: keep one of them."
        )


def unlabelled_columns(workspace: Workspace) -> set[str]:
    """Return the columns that came with the unlabelled rows."""
    return set(pq.read_schema(workspace.unlabelled).names)


def read_unlabelled_outputs(kind: Kind, tables: Tables) -> pd.DataFrame:
    """Return what came with the unlabelled rows as outputs of a kind, by example_id."""
    path = tables.workspace.unlabelled
    table = read_table(path, read_fingerprint(path) or "")
    outputs = table[list(kind.outputs)].iloc[
        np.unique(tables.unlabelled.of_row, return_index=True)[1]
    ]
    ids = tables.unlabelled.examples["example_id"].to_numpy()
    return outputs.reset_index(drop=True).assign(example_id=ids)


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
