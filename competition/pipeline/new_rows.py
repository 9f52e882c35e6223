"""Rows that belong to no workspace: queries and products to be scored, as tables of their own.

Each distinct pair is there once, so that a repeated row changes the answers to no other.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from competition.core.csv_files import refuse_misspelled
from competition.core.errors import (
    InputError,
    did_you_mean,
    join_names,
    pluralize,
    unknown_name,
)
from competition.core.foreign_parquet import as_text
from competition.data.folds import normalise
from competition.data.store import field_names
from competition.data.tables.columns import parse_map
from competition.scoring.contest import Contest

Table: TypeAlias = "pd.DataFrame | pa.Table"  # from Python, or from a file


@dataclass(frozen=True)
class NewRows:
    """Distinct pairs as a workspace's tables hold them, all of the split `test` and without a label.

    Rows of one locale whose queries are the same text are one list of candidates.
    """

    examples: pd.DataFrame  # the columns of the contest, as are those of `products`
    products: pd.DataFrame
    of_row: NDArray[np.int64]  # (rows,) the position in `examples` of each row that was given
    remarks: tuple[str, ...]  # sentences on what is read as empty
    unread: tuple[str, ...]  # columns that nothing was read from

    @classmethod
    def make(
        cls,
        table: Table,
        source: str,
        contest: Contest,
        locale: str = "",
        first_id: int = 0,
        called: Mapping[str, str] | None = None,
    ) -> "NewRows":
        """Check rows and name what is distinct in them.

        Args:
            table: columns by the names that the contest's files have, or ours; others are not
                looked at.
            source: the name of the table in messages.
            contest: of the run that scores.
            locale: of rows that name none, also where there is no such column; the contest's first
                unless given.
            first_id: of the pairs, which are numbered as they come.
            called: our name of a column -> its name in the table, see `read_map`.

        Raises:
            InputError: `locale` is unknown, there is no row, a column that is needed is missing or
                one differs from its name in case, a cell holds no text, a query is empty, or a
                row's locale is unknown.
        """
        locale = locale or contest.locale_names[0]
        if locale not in contest.locale_names:
            raise unknown_name("locale", locale, contest.locale_names)
        if not len(table):
            raise InputError(f"{source} has no rows.")

        rows, remarks, unread = _read_texts(table, source, contest, called or {})
        given = rows["locale"] if "locale" in rows else pd.Series("", rows.index, dtype="str")
        rows["locale"] = given.where(given != "", locale)
        _check(rows, source, contest.locale_names)

        without_product = int((rows[list(contest.fields)] == "").all(axis=1).sum())
        if without_product:
            remarks.append(
                f"{source}: {without_product:,} of {len(rows):,} rows say nothing of their product."
            )

        examples, products, of_row = _make_tables(rows, contest, first_id)
        return cls(examples, products, of_row, tuple(remarks), unread)

    def among(self, examples: pd.DataFrame, products: pd.DataFrame) -> NDArray[np.bool_]:
        """Return which of the rows that were given are examples of a workspace.

        They are where locale, query and product title agree, queries as `normalise` reads them.

        Args:
            examples: of the workspace.
            products: its catalogue.

        Returns:
            A mask, `(rows,)`.
        """
        title = field_names(self.products)[0]
        key = ["locale", "normalised", title]
        # An inner merge keeps the order of its left side: one line per pair, as in `self.examples`.
        own = self.examples.merge(self.products, on=["locale", "product_id"])
        own = own.assign(normalised=own["query"].map(normalise))

        # Few queries of a workspace are among the new ones: only their rows are joined with products.
        queries = pd.Series(examples["query"].unique(), dtype="str")
        queries = queries[queries.map(normalise).isin(own["normalised"])]
        shared = examples[examples["query"].isin(queries)]
        known = shared.merge(products, on=["locale", "product_id"])
        known = known[known[title] != ""]
        known = known.assign(normalised=known["query"].map(normalise))

        is_known = pd.MultiIndex.from_frame(own[key]).isin(pd.MultiIndex.from_frame(known[key]))
        return np.asarray(is_known, bool)[self.of_row]


def from_python(
    queries: str | Sequence[str], products: Sequence[str] | pd.DataFrame, contest: Contest
) -> pd.DataFrame:
    """Return a table of queries and products.

    Args:
        queries: one per product, or one for all of them.
        products: their titles, or a frame of their columns.
        contest: says what the column of titles is called.

    Raises:
        InputError: there are more queries than products, or fewer, or products are one text or a
            dictionary.
    """
    for name, argument in (("products", products), ("queries", queries)):
        is_one_title = isinstance(argument, str) and name == "products"
        if isinstance(argument, bytes | Mapping) or is_one_title:
            kind = type(argument).__name__
            raise InputError(
                f"The {name} are a {kind}, where a list is expected: put one title into brackets, [title]."
            )

    # Cells stay Python's own objects, so that one which is no text is refused by its type.
    if isinstance(products, pd.DataFrame):
        table = products.reset_index(drop=True)
    else:
        table = pd.DataFrame(
            {_accepted(contest, contest.fields[0])[0]: list(products)}, dtype=object
        )

    texts: Any = [queries] * len(table) if isinstance(queries, str) else list(queries)
    if len(texts) != len(table):
        counts = (
            f"{pluralize(len(texts), 'query', 'queries')} and {pluralize(len(table), 'product')}"
        )
        raise InputError(f"There are {counts}: give one query per product, or one for all of them.")
    return table.assign(query=pd.Series(texts, dtype=object))


def read_map(pairs: Sequence[str], contest: Contest) -> dict[str, str]:
    """Return our name of a column -> its name in the file, from `--map`, see `columns.parse_map`."""
    return parse_map(pairs, contest, _read_names(contest))


def _read_names(contest: Contest) -> tuple[str, ...]:
    """Return our names of the columns that are read."""
    locale = ("locale",) if contest.locales else ()
    return ("query", *contest.fields, *locale, "product_id")


def _accepted(contest: Contest, name: str) -> tuple[str, ...]:
    """Return what a column of ours may be called: as in the files of the contest, or as in a workspace."""
    return tuple(dict.fromkeys((*contest.source.names(name), name)))


# --- columns as text ---


def _read_texts(
    table: Table, source: str, contest: Contest, called: Mapping[str, str]
) -> tuple[pd.DataFrame, list[str], tuple[str, ...]]:
    """Return the columns that are read, by our names, remarks on missing ones, and the unread ones.

    A missing column or cell is read as empty text.
    """
    columns = table.columns if isinstance(table, pd.DataFrame) else table.column_names
    present = [str(column) for column in columns]
    column_of = _match_columns(present, source, contest, called)
    unread = tuple(column for column in present if column not in column_of.values())

    absent = [_accepted(contest, name)[0] for name in contest.fields if column_of[name] is None]
    missing = ", ".join(f"{column}{did_you_mean(column, unread)}" for column in absent)
    remarks = [f"{source} has no {missing}: what is missing is read as empty."] if absent else []

    empty = pd.Series("", range(len(table)), dtype="str")
    texts = {
        name: empty if column is None else _as_text(table[column], column, source)
        for name, column in column_of.items()
    }
    return pd.DataFrame(texts), remarks, unread


def _match_columns(
    present: list[str], source: str, contest: Contest, called: Mapping[str, str]
) -> dict[str, str | None]:
    """Return our name of each column -> its name among those `present`, or None."""
    for mapped in called.values():
        if mapped not in present:
            raise InputError(
                f"{source} lacks the column {mapped!r}{did_you_mean(mapped, present)} of --map: "
                f"it has {join_names(present)}."
            )

    column_of: dict[str, str | None] = {
        name: next((alias for alias in _accepted(contest, name) if alias in present), None)
        for name in _read_names(contest)
    }
    column_of |= called
    for name, column in column_of.items():
        if column is not None:
            continue
        # `Brand` would be read as empty otherwise.
        for alias in _accepted(contest, name):
            refuse_misspelled(alias, present, source)
        if name in ("query", contest.fields[0]):
            raise InputError(
                f"{source} lacks the column {_accepted(contest, name)[0]!r}: it has {join_names(present)}; "
                f"say which it is with `--map {_accepted(contest, name)[0]}=COLUMN`."
            )
    return column_of


def _as_text(values: pd.Series | pa.ChunkedArray, column: str, source: str) -> pd.Series:
    """Return a column as text, empty where a cell is missing or blank."""
    try:
        if isinstance(values, pd.Series) and pd.api.types.is_object_dtype(values):
            text = _objects_as_text(values.reset_index(drop=True), column, source)
        else:
            if isinstance(values, pd.Series):
                values = pa.chunked_array([pa.array(values, from_pandas=True)])
            text = as_text(values, column, source).to_pandas()
    except UnicodeEncodeError:
        raise InputError(
            f"{source}: {column!r} holds half a character (a lone surrogate): fix it."
        ) from None

    text = text.fillna("")
    return text.where(text.str.strip() != "", "")


def _objects_as_text(values: pd.Series, column: str, source: str) -> pd.Series:
    """Return Python's own objects as text."""
    bad = ~values.map(
        lambda cell: isinstance(cell, str | int | float) or cell is None or cell is pd.NA
    )
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        kind = type(values.iloc[row]).__name__
        raise InputError(
            f"{source}: row {row + 1} holds {kind} in {column!r}, where text is expected."
        )
    return values.astype("str")


def _check(rows: pd.DataFrame, source: str, locales: Sequence[str]) -> None:
    """Refuse rows with an empty query or an unknown locale."""
    # Normalising is slow, and queries repeat: each text is looked at once.
    queries = rows["query"].drop_duplicates()
    blank = rows["query"].isin(queries[queries.map(normalise) == ""]).to_numpy()
    if blank.any():
        row = int(np.flatnonzero(blank)[0]) + 1
        count = int(blank.sum())
        raise InputError(
            f"{source}: row {row} has an empty query ({count:,} such rows): bring its query or remove the row."
        )

    bad = ~rows["locale"].isin(locales).to_numpy()
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise InputError(
            f"{source}: row {row + 1} has the unknown locale {rows['locale'].iloc[row]!r}: "
            f"known are {', '.join(locales)}."
        )


# --- distinct pairs ---


def _make_tables(
    rows: pd.DataFrame, contest: Contest, first_id: int
) -> tuple[pd.DataFrame, pd.DataFrame, NDArray[np.int64]]:
    """Return the distinct pairs and products of rows, and each row's position in the pairs."""
    query_of_row, _ = _distinct(rows, ["locale", "query"])
    product_of_row, products = _distinct(rows, ["locale", "product_id", *contest.fields])
    numbered = rows.assign(query_number=query_of_row, product_number=product_of_row)
    of_row, pairs = _distinct(numbered, ["query_number", "product_number"])

    # Two rows may give one product_id to different texts, so products are named by their number.
    new_ids = [f"new {number}" for number in range(len(products))]
    products["product_id"] = pd.Series(new_ids, dtype="str")

    every = range(len(pairs))
    examples = pairs[["query", "locale"]].assign(
        example_id=np.arange(first_id, first_id + len(pairs)),
        query_id=pairs["query_number"],
        product_id=products["product_id"].iloc[pairs["product_number"]].array,
        split=pd.Series("test", every, dtype="str"),
        **{name: pd.Series(None, every, dtype="boolean") for name in contest.positives},
        **dict.fromkeys(contest.tasks, True),
    )
    # No label, and no ids as files have them.
    for column in contest.example_columns:
        if column not in examples:
            examples[column] = pd.Series(None, every, dtype="str")
    columns = list(contest.product_columns)
    return examples[list(contest.example_columns)], products[columns], of_row


def _distinct(rows: pd.DataFrame, columns: list[str]) -> tuple[NDArray[np.int64], pd.DataFrame]:
    """Number the distinct values of `columns`.

    Returns:
        The number of each row, `(rows,)`, and the first row of each number, in order.
    """
    number = np.asarray(rows.groupby(columns, sort=False).ngroup(), np.int64)
    return number, rows[~rows.duplicated(columns)].reset_index(drop=True)
