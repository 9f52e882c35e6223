"""Rows that belong to no workspace: queries and products to be scored, from a file or from Python.

Each distinct pair is there once, so that a repeated row changes the outputs of no other.
"""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from competition.core.archives import PACKED_SUFFIXES, open_unpacked, part_files
from competition.core.atomic import atomic_file
from competition.core.csv_files import read_csv, refuse_misspelled
from competition.core.errors import (
    InputError,
    did_you_mean,
    join_names,
    pluralize,
    short_repr,
    unknown_name,
)
from competition.core.foreign_parquet import (
    as_cells,
    as_text,
    concat_tables,
    is_parquet,
    parquet_table,
)
from competition.data.folds import normalise
from competition.data.store import EXAMPLE_COLUMNS, PRODUCT_COLUMNS
from competition.data.text import FIELDS
from competition.scoring.tasks import LOCALES, TASKS

# What a column may be called: as in the files of the competition, or as in a workspace.
NAMES = {
    "query": ("query",),
    "title": ("product_title", "title"),
    "brand": ("product_brand", "brand"),
    "color": ("product_color", "product_color_name", "color"),
    "bullets": ("product_bullet_point", "bullets"),
    "description": ("product_description", "description"),
    "locale": ("product_locale", "query_locale", "locale"),
    "product_id": ("product_id",),
}
_NEEDED = ("query", "title")
_ENDINGS = (".csv", ".parquet")
_ENCODING_FIX = "say what it is, such as --encoding cp1252 or --encoding utf-16"
UTF8 = "utf-8"
Table: TypeAlias = "pd.DataFrame | pa.Table"  # from Python, or from a file


@dataclass(frozen=True)
class NewRows:
    """Distinct pairs as a workspace's tables hold them, all of the split `test` and without a label.

    Rows of one locale whose queries are the same text are one list of candidates.
    """

    examples: pd.DataFrame  # EXAMPLE_COLUMNS
    products: pd.DataFrame  # PRODUCT_COLUMNS
    of_row: NDArray[np.int64]  # (rows,) the position in `examples` of each row that was given
    remarks: tuple[str, ...]  # sentences on what is read as empty
    unread: tuple[str, ...]  # columns that nothing was read from

    @classmethod
    def make(
        cls,
        table: Table,
        source: str,
        locale: str = LOCALES[0],
        first_id: int = 0,
        called: Mapping[str, str] | None = None,
    ) -> "NewRows":
        """Check rows and name what is distinct in them.

        Args:
            table: columns by the names of NAMES; others are not looked at.
            source: what messages call it.
            locale: of rows that name none, also where there is no such column.
            first_id: of the pairs, which are numbered as they come.
            called: our name of a column -> its name in the table, see `read_map`.

        Raises:
            InputError: `locale` is unknown, there is no row, a column that is needed is missing or
                one differs from its name in case, a cell holds no text, a query is empty, or a
                row's locale is unknown.
        """
        if locale not in LOCALES:
            raise unknown_name("locale", locale, LOCALES)
        if not len(table):
            raise InputError(f"{source} has no rows.")

        rows, remarks, unread = _texts(table, source, called or {})
        rows["locale"] = rows["locale"].where(rows["locale"] != "", locale)
        _check(rows, source)

        without_text = int((rows[list(FIELDS)] == "").all(axis=1).sum())
        if without_text:
            remarks.append(
                f"{source}: {without_text:,} of {len(rows):,} rows say nothing of their product."
            )
        examples, products, of_row = _tables(rows, first_id)
        return cls(examples, products, of_row, tuple(remarks), unread)

    def among(self, examples: pd.DataFrame, products: pd.DataFrame) -> NDArray[np.bool_]:
        """Return which rows agree with an example in locale, query and product title, `(rows,)` bool.

        Args:
            examples: of a workspace.
            products: its catalogue.
        """
        product_key = ["locale", "product_id"]
        own = self.examples.merge(self.products, on=product_key)  # in the order of `examples`
        own = own.assign(query_text=own["query"].map(normalise))

        # Products are merged to the few examples alone that have one of these queries.
        queries = pd.Series(examples["query"].unique(), dtype="str")
        queries = queries[queries.map(normalise).isin(own["query_text"])]
        known = examples[examples["query"].isin(queries)].merge(products, on=product_key)
        known = known[known["title"] != ""].assign(query_text=known["query"].map(normalise))

        key = ["locale", "query_text", "title"]
        is_known = pd.MultiIndex.from_frame(own[key]).isin(pd.MultiIndex.from_frame(known[key]))
        return np.asarray(is_known, bool)[self.of_row]


def _tables(
    rows: pd.DataFrame, first_id: int
) -> tuple[pd.DataFrame, pd.DataFrame, NDArray[np.int64]]:
    """Return the distinct pairs and products of rows, and which pair each row is."""
    query, _ = _distinct(rows, ["locale", "query"])  # (rows,) numbers
    product, products = _distinct(rows, ["locale", "product_id", *FIELDS])
    numbered = rows.assign(query_number=query, product_number=product)
    of_row, pairs = _distinct(numbered, ["query_number", "product_number"])

    # Products that differ in any text are different ones, whatever their ids.
    products["product_id"] = pd.Series(
        [f"new {number}" for number in range(len(products))], dtype="str"
    )

    # All in the test split and in every task, and without a label.
    every = range(len(pairs))
    examples = pairs[["query", "locale"]].assign(
        example_id=np.arange(first_id, first_id + len(pairs)),
        query_id=pairs["query_number"],
        product_id=products["product_id"].iloc[pairs["product_number"]].array,
        label=pd.Series(None, every, dtype="str"),
        substitute=pd.Series(None, every, dtype="boolean"),
        split=pd.Series("test", every, dtype="str"),
        **dict.fromkeys(TASKS, True),
    )
    return examples[list(EXAMPLE_COLUMNS)], products[list(PRODUCT_COLUMNS)], of_row


def read_map(pairs: Sequence[str]) -> dict[str, str]:
    """Return our name of a column -> its name in the file, from `--map` such as `query=search term`.

    Raises:
        InputError: a pair has no `=`, begins with no name of ours, or one is there twice.
    """
    ours = {alias: name for name, aliases in NAMES.items() for alias in (name, *aliases)}

    called: dict[str, str] = {}
    for pair in pairs:
        name, sign, column = pair.partition("=")
        if not sign or not column:
            raise InputError(
                f"--map {short_repr(pair)} names no column: write it as product_title=NAME."
            )
        if name not in ours:
            raise unknown_name("column to read", name, ours)
        if ours[name] in called:
            raise InputError(f"--map names the column {name!r} twice.")
        called[ours[name]] = column
    return called


def _texts(
    table: Table, source: str, called: Mapping[str, str]
) -> tuple[pd.DataFrame, list[str], tuple[str, ...]]:
    """Read the columns of a table.

    Args:
        table: columns by the names of NAMES, among others.
        source: what messages call it.
        called: our name of a column -> its name in the table.

    Returns:
        The columns by our names, with empty text where a column or a cell is missing; remarks; the
        names of the columns that are not read.
    """
    has = [
        str(column)
        for column in (table.columns if isinstance(table, pd.DataFrame) else table.column_names)
    ]
    for column in called.values():
        if column not in has:
            raise InputError(
                f"{source} lacks the column {column!r}{did_you_mean(column, has)} of --map: it has {join_names(has)}."
            )

    # Our name -> the column of the table, None where there is none.
    columns = {
        name: next((known for known in names if known in has), None)
        for name, names in NAMES.items()
    }
    columns |= called
    for name in (name for name, column in columns.items() if column is None):
        for known in NAMES[name]:
            refuse_misspelled(known, has, source)
        if name in _NEEDED:
            raise InputError(
                f"{source} lacks the column {NAMES[name][0]!r}: it has {join_names(has)}."
            )

    unread = tuple(column for column in has if column not in columns.values())
    absent = {
        NAMES[name][0]: did_you_mean(NAMES[name][0], unread)
        for name in FIELDS
        if columns[name] is None
    }
    missing = ", ".join(f"{column}{meant}" for column, meant in absent.items())
    remarks = [f"{source} has no {missing}: what is missing is read as empty."] if absent else []

    empty = pd.Series("", range(len(table)), dtype="str")
    texts = {
        name: empty if column is None else _text(table[column], column, source)
        for name, column in columns.items()
    }
    return pd.DataFrame(texts), remarks, unread


def _text(values: pd.Series | pa.ChunkedArray, column: str, source: str) -> pd.Series:
    """Return a column as text, empty where it is missing or blank."""
    try:
        if isinstance(values, pd.Series) and pd.api.types.is_object_dtype(values):
            text = _of_objects(values.reset_index(drop=True), column, source)
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


def _of_objects(values: pd.Series, column: str, source: str) -> pd.Series:
    """Return Python's own objects as text; raise InputError for other types than text and numbers."""
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


def _check(rows: pd.DataFrame, source: str) -> None:
    """Raise InputError for the first row with an empty query or an unknown locale."""
    queries = rows["query"].drop_duplicates()
    blank = rows["query"].isin(queries[queries.map(normalise) == ""]).to_numpy()
    if blank.any():
        row, count = int(np.flatnonzero(blank)[0]) + 1, int(blank.sum())
        raise InputError(
            f"{source}: row {row} has an empty query ({count:,} such rows): bring its query or remove the row."
        )

    bad = ~rows["locale"].isin(LOCALES).to_numpy()
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise InputError(
            f"{source}: row {row + 1} has the unknown locale {rows['locale'].iloc[row]!r}: "
            f"known are {', '.join(LOCALES)}."
        )


def _distinct(rows: pd.DataFrame, columns: list[str]) -> tuple[NDArray[np.int64], pd.DataFrame]:
    """Number the distinct values of some columns as they come.

    Returns:
        The number of each row, `(rows,)`, and the first row of each number, in order.
    """
    number = np.asarray(rows.groupby(columns, sort=False).ngroup(), np.int64)
    return number, rows[~rows.duplicated(columns)].reset_index(drop=True)


# --- where the rows come from ---


def from_python(
    queries: str | Sequence[str], products: Sequence[str] | pd.DataFrame
) -> pd.DataFrame:
    """Return rows as a table: product i with query i, or all products with the same query.

    A product is its title or a row of a frame.

    Raises:
        InputError: there are more queries than products, or fewer, or products are one text or a
            dictionary.
    """
    for name, given in (("products", products), ("queries", queries)):
        if isinstance(given, bytes | Mapping) or (isinstance(given, str) and name == "products"):
            kind = type(given).__name__
            raise InputError(
                f"The {name} are a {kind}, where a list is expected: put one title into brackets, [title]."
            )

    if isinstance(products, pd.DataFrame):
        table = products.reset_index(drop=True)
    else:
        table = pd.DataFrame({"product_title": list(products)}, dtype=object)

    query: Any = [queries] * len(table) if isinstance(queries, str) else list(queries)
    if len(query) != len(table):
        counts = (
            f"{pluralize(len(query), 'query', 'queries')} and {pluralize(len(table), 'product')}"
        )
        raise InputError(f"There are {counts}: give one query per product, or one for all of them.")
    return table.assign(query=pd.Series(query, dtype=object))


def read_file(path: Path, encoding: str = UTF8) -> pa.Table:
    """Read all columns of a `.csv` or `.parquet` file, perhaps packed, of a pipe, or of a folder of part files.

    Cells of CSV files are text as it stands; what a parquet file holds keeps its types.

    Raises:
        InputError: it is missing, has another ending or encoding, cannot be read, or names a column
            twice.
    """
    parts = part_files(path)
    return concat_tables(
        [_read_part(part, encoding) for part in parts], [str(part) for part in parts]
    )


def _read_part(path: Path, encoding: str) -> pa.Table:
    """Read one file by its content; raise InputError where that and its ending differ."""
    name = str(path)
    ending = _split(path)[1].lower()
    with open_unpacked(path, name) as handle:
        actual = ".parquet" if is_parquet(handle) else ".csv"
        if path.is_file() and ending not in _ENDINGS:
            raise InputError(
                f"{path} ends in neither .csv nor .parquet, which say how it is to be read."
            )
        if path.is_file() and ending != actual:
            trouble = "is not a readable parquet file" if actual == ".csv" else "is a parquet file"
            raise InputError(
                f"{path} {trouble}, whatever its name says: rename it, or bring another."
            )
        table = (
            parquet_table(handle, name)
            if actual == ".parquet"
            else _cells_of(handle, name, encoding)
        )

    for i, column in enumerate(table.column_names):
        if column in table.column_names[:i]:
            raise InputError(
                f"{path} has the column {short_repr(column)} twice: remove one of them."
            )
    return table


def _cells_of(handle: Any, name: str, encoding: str) -> pa.Table:
    try:
        return read_csv(handle, name, blank_lines=True, encoding=encoding, remedy=_ENCODING_FIX)
    except LookupError:
        raise InputError(
            f"There is no encoding {encoding!r}: cp1252 and utf-16 are common ones."
        ) from None


def _split(path: Path) -> tuple[str, str]:
    """Return the name of a file without its ending, and the ending, that of a packing left out."""
    name = Path(path.stem if path.suffix.lower() in PACKED_SUFFIXES else path.name)
    return name.stem, name.suffix


# --- and where they go ---


def target_beside(path: Path, run: str) -> Path:
    """Return where the answers of a run go unless another file is named; raise InputError for a pipe."""
    if not path.exists():
        raise InputError(f"{path} is missing.")
    if not (path.is_file() or path.is_dir()):
        raise InputError(
            f"{path} is not a file that another could be put beside: name one with --out."
        )

    stem, ending = _split(path)
    return path.with_name(f"{stem}-{run}{ending or _split(part_files(path)[0])[1]}")


def check_target(path: Path, table: pa.Table, columns: Sequence[str]) -> None:
    """Refuse a file that could not be written.

    Raises:
        InputError: it ends in neither .csv nor .parquet, its folder is missing, rows have one of
            the new columns already, or one that no CSV file can hold.
    """
    if path.suffix.lower() not in _ENDINGS:
        raise InputError(
            f"{path} ends in neither .csv nor .parquet: name a file that does with --out."
        )
    if not path.parent.is_dir():
        raise InputError(
            f"The folder {path.parent} is missing: make it, or name another file with --out."
        )

    taken = [column for column in columns if column in table.column_names]
    if taken:
        raise InputError(
            f"The column {taken[0]!r} is there already: rename it, so that nothing is lost."
        )

    # Converting no row is enough to refuse a type.
    if path.suffix.lower() == ".csv":
        for column in table.column_names:
            as_cells(table[column].slice(0, 0), column, str(path))


def write_file(path: Path, table: pa.Table, answers: pd.DataFrame) -> None:
    """Write rows and the answers beside them as UTF-8 CSV or as parquet, whole or not at all.

    Every value of `table` comes back: a CSV file quotes all text where a text holds a line's end:
    Python's writer would leave a carriage return bare, and a reader may take the lines of a text for
    rows. A parquet file keeps types and pandas' index.
    """
    with atomic_file(path) as temporary:
        if path.suffix.lower() == ".parquet":
            for column in answers:
                table = table.append_column(str(column), pa.array(answers[column]))
            pq.write_table(table, temporary)
            return

        copied = {
            column: as_cells(table[column], column, str(path)) for column in table.column_names
        }

        # Whether a text or a name holds a line's end, which has to be quoted.
        bare = any(
            cells.dtype == "str" and cells.str.contains("[\r\n]").any() for cells in copied.values()
        )
        bare = bare or any("\r" in column or "\n" in column for column in copied)

        frame = pd.concat([pd.DataFrame(copied), answers], axis=1)
        quoting: Literal[0, 2] = csv.QUOTE_NONNUMERIC if bare else csv.QUOTE_MINIMAL
        frame.to_csv(temporary, index=False, lineterminator="\n", quoting=quoting)
