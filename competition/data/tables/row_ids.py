"""Ids of rows, queries and products: those of the files, or a hash of what they name."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from competition.core.errors import InputError, pluralize, short_repr
from competition.core.lazy import pd
from competition.data.ids import stable_ids
from competition.data.tables.columns import Rows, place_of
from competition.scoring.contest import Contest
from competition.scoring.definition import built_in_names

_INTEGERS = "-?(?:0|[1-9][0-9]{0,17})"  # of 18 digits, which all have 64 bits


def add_ids(rows: pd.DataFrame, parts: Sequence[Rows], contest: Contest) -> None:
    """Add `product_id`, `query_id`, `query_key`, `example_id` and `id` as far as the files have none of them.

    Raises:
        InputError: an id is empty or twice, or a pair of query and product is there twice without an
            id of its own.
    """
    if "product_id" not in rows:
        texts = [rows[name] for name in contest.fields if name in rows]
        rows["product_id"] = stable_ids(texts).astype(str)
    rows["product_id"] = rows["product_id"].str.strip()
    _refuse(
        rows, parts, rows["product_id"] == "", "has no product_id: bring it, or leave out the row"
    )

    if "query_id" not in rows:
        rows["query_id"] = stable_ids([rows["locale"], rows["query"]])
        rows["query_key"] = rows["query_id"].astype(str)
    else:
        rows["query_key"] = rows["query_id"].str.strip()
        _refuse(
            rows, parts, rows["query_key"] == "", "has no query_id: bring it, or leave out the row"
        )
        rows["query_id"] = _as_ids(rows["query_key"], [rows["locale"], rows["query_key"]])

    pair = ["locale", "query", "product_id"]
    if "id" not in rows:
        fix = "leave out one of them, or say which column holds an id of each row with `--map id=COLUMN`"
        if contest.name not in built_in_names():
            fix += f', or id = "COLUMN" in [columns] of {contest.name}.toml'
        _refuse_repeated(rows, parts, pair, "the query and the product", fix)
        rows["example_id"] = stable_ids([rows[column] for column in pair])
        rows["id"] = rows["example_id"].astype(str)
    else:
        rows["id"] = rows["id"].str.strip()
        _refuse(rows, parts, rows["id"] == "", "has no id: bring it, or leave out the row")
        _refuse_repeated(rows, parts, ["id"], "the id", "ids must differ")
        rows["example_id"] = _as_ids(rows["id"], [rows["id"]])


def _as_ids(texts: pd.Series, hashed: list[pd.Series]) -> pd.Series:
    """Return ids that are integers as they are; where one is not, a hash of each."""
    if texts.str.fullmatch(_INTEGERS).all():
        return texts.astype("int64")
    return stable_ids(hashed)


def _refuse_repeated(
    rows: pd.DataFrame, parts: Sequence[Rows], columns: list[str], what: str, fix: str
) -> None:
    """Raise InputError that names the first row that has the cells of an earlier one, and that one."""
    repeated = rows.duplicated(columns)
    if repeated.any():
        position = int(np.flatnonzero(repeated)[0])
        path, _ = place_of(parts, position)
        same = (rows[columns] == rows.loc[position, columns]).all(axis=1)
        of, earlier = place_of(parts, int(np.flatnonzero(same)[0]))
        place = f"row {earlier}" + (f" of {of}" if of != path else "")
        count = pluralize(int(repeated.sum()), "such row")
        _refuse(rows, parts, repeated, f"has {what} of {place} ({count}): {fix}")


def _refuse(rows: pd.DataFrame, parts: Sequence[Rows], bad: pd.Series, what: str) -> None:
    """Raise InputError that names the first of the rows where `bad` holds."""
    if bad.any():
        position = int(np.flatnonzero(bad)[0])
        path, row = place_of(parts, position)
        query = short_repr(rows["query"].iloc[position])
        raise InputError(f"{path}: row {row} (query {query}) {what}.")
