"""Rows that belong to no workspace: queries and products to be scored, from a file or from Python.

Each distinct pair is there once, so that a repeated row changes what is said of no other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from competition.data.store import EXAMPLE_COLUMNS, PRODUCT_COLUMNS
from competition.data.text import FIELDS
from competition.errors import InputError, counted, unknown
from competition.files.atomic import atomic_file
from competition.files.cells import read_text, spelled
from competition.folds import normalise
from competition.tasks import LOCALES, TASKS

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
UTF8 = "utf-8"


@dataclass(frozen=True)
class Unseen:
    """Distinct pairs as a workspace's tables hold them, all of the split `test` and without a label.

    Rows of one locale whose queries are the same text are one list of candidates.
    """

    examples: pd.DataFrame  # EXAMPLE_COLUMNS
    products: pd.DataFrame  # PRODUCT_COLUMNS
    of_row: NDArray[np.int64]  # (rows,) the position in `examples` of each row that was given
    remarks: tuple[str, ...]  # sentences on what is read as empty

    @classmethod
    def make(cls, table: pd.DataFrame, source: str, locale: str = LOCALES[0], first_id: int = 0) -> "Unseen":
        """Check rows and name what is distinct in them.

        Args:
            table: columns by the names of NAMES; others are not looked at.
            source: what messages call it.
            locale: of rows that name none, also where there is no such column.
            first_id: of the pairs, which are numbered as they come.

        Raises:
            InputError: `locale` is unknown, there is no row, a column that is needed is missing or one differs from its
                name in case, a cell holds no text, a query is empty, or a row's locale is unknown.
        """
        if locale not in LOCALES:
            raise unknown("locale", locale, LOCALES)
        if table.empty:
            raise InputError(f"{source} has no rows.")
        rows, remarks = _texts(table, source)
        rows["locale"] = rows["locale"].where(rows["locale"] != "", locale)
        _check(rows, source)
        silent = int((rows[list(FIELDS)] == "").all(axis=1).sum())
        if silent:
            remarks.append(f"{source}: {silent:,} of {len(rows):,} rows say nothing of their product.")
        examples, products, of_row = _tables(rows, first_id)
        return cls(examples, products, of_row, tuple(remarks))


def _tables(rows: pd.DataFrame, first_id: int) -> tuple[pd.DataFrame, pd.DataFrame, NDArray[np.int64]]:
    """The distinct pairs and products of rows, and which pair each row is."""
    asked, _ = _distinct(rows, ["locale", "query"])
    product, products = _distinct(rows, ["locale", "product_id", *FIELDS])
    of_row, pairs = _distinct(rows.assign(asked=asked, product=product), ["asked", "product"])
    products["product_id"] = pd.Series([f"new {number}" for number in range(len(products))], dtype="str")
    every = range(len(pairs))
    examples = pairs[["query", "locale"]].assign(
        example_id=np.arange(first_id, first_id + len(pairs)),
        query_id=pairs["asked"],
        product_id=products["product_id"].iloc[pairs["product"]].array,
        label=pd.Series(None, every, dtype="str"),
        substitute=pd.Series(None, every, dtype="boolean"),
        split=pd.Series("test", every, dtype="str"),
        **dict.fromkeys(TASKS, True),
    )
    return examples[list(EXAMPLE_COLUMNS)], products[list(PRODUCT_COLUMNS)], of_row


def _texts(table: pd.DataFrame, source: str) -> tuple[pd.DataFrame, list[str]]:
    """The columns that are read, by our names, with empty text where a column or a cell is missing; and a remark."""
    found = {name: next((known for known in names if known in table), None) for name, names in NAMES.items()}
    for name in (name for name, column in found.items() if column is None):
        for known in NAMES[name]:
            spelled(known, table.columns, source)
        if name in _NEEDED:
            has = ", ".join(map(str, table.columns))
            raise InputError(f"{source} lacks the column {NAMES[name][0]!r}: it has {has}.")
    absent = [NAMES[name][0] for name in FIELDS if found[name] is None]
    remarks = [f"{source} has no {', '.join(absent)}: what is missing is read as empty."] if absent else []
    empty = pd.Series("", range(len(table)), dtype="str")
    texts = {name: empty if column is None else _text(table[column], source) for name, column in found.items()}
    return pd.DataFrame(texts), remarks


def _text(values: pd.Series, source: str) -> pd.Series:
    """A column as text, empty where it is missing or blank."""
    values = values.reset_index(drop=True)
    if pd.api.types.is_object_dtype(values):
        bad = ~values.map(lambda cell: isinstance(cell, str | int | float) or cell is None or cell is pd.NA)
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            kind = type(values.iloc[row]).__name__
            raise InputError(f"{source}: row {row + 1} holds {kind} in {values.name!r}, where text is expected.")
    try:
        text = values.astype("str").fillna("")
    except UnicodeEncodeError:
        raise InputError(f"{source}: {values.name!r} holds half a character (a lone surrogate): mend it.") from None
    return text.where(text.str.strip() != "", "")


def _check(rows: pd.DataFrame, source: str) -> None:
    asked = rows["query"].drop_duplicates()
    blank = rows["query"].isin(asked[asked.map(normalise) == ""]).to_numpy()
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
    """For each row the number of its values in `columns`, and the first row of each number, in order."""
    number = np.asarray(rows.groupby(columns, sort=False).ngroup(), np.int64)
    return number, rows[~rows.duplicated(columns)].reset_index(drop=True)


# --- where the rows come from ------------------------------------------------------------------------------------


def from_python(queries: str | Sequence[str], products: Sequence[str] | pd.DataFrame) -> pd.DataFrame:
    """Rows as a table: product i, its title or what a frame says of it, with query i, or all with the same query.

    Raises:
        InputError: there are more queries than products, or fewer.
    """
    table = products.reset_index(drop=True) if isinstance(products, pd.DataFrame) else None
    table = pd.DataFrame({"product_title": list(products)}, dtype=object) if table is None else table
    asked: Any = [queries] * len(table) if isinstance(queries, str) else list(queries)
    if len(asked) != len(table):
        counts = f"{counted(len(asked), 'query', 'queries')} and {counted(len(table), 'product')}"
        raise InputError(f"There are {counts}: give one query per product, or one for all of them.")
    return table.assign(query=pd.Series(asked, dtype=object))


def read_file(path: Path, encoding: str = UTF8) -> pd.DataFrame:
    """All columns of a `.csv` or `.parquet` file; cells of CSV files are text as it stands.

    Raises:
        InputError: it is missing, has another ending or encoding, cannot be read, or names a column twice.
    """
    if not path.is_file():
        raise InputError(f"{path} is missing.")
    if path.suffix not in _ENDINGS:
        raise InputError(f"{path} ends in neither .csv nor .parquet, which say how it is to be read.")
    table = _read_csv(path, encoding) if path.suffix == ".csv" else _read_parquet(path)
    twice = table.columns[table.columns.duplicated()]
    if len(twice):
        raise InputError(f"{path} has the column {str(twice[0])!r} twice: keep one of them.")
    return table


def _read_parquet(path: Path) -> pd.DataFrame:
    try:
        return pq.read_table(path).to_pandas(ignore_metadata=True)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path} is no readable parquet file: {error}.") from None


def _read_csv(path: Path, encoding: str) -> pd.DataFrame:
    try:
        text = path.read_bytes().decode("utf-8-sig" if encoding.lower() in (UTF8, "utf8") else encoding)
    except LookupError:
        raise InputError(f"There is no encoding {encoding!r}: cp1252 and utf-16 are common ones.") from None
    except UnicodeError as error:
        raise InputError(
            f"{path} is not {encoding} ({error.reason if isinstance(error, UnicodeDecodeError) else error}): "
            "say what it is, such as --encoding cp1252 or --encoding utf-16."
        ) from None
    return read_text(StringIO(text, newline=""), str(path), skip_blank_lines=True)


# --- and where they go -------------------------------------------------------------------------------------------


def check_target(path: Path, table: pd.DataFrame, columns: Sequence[str]) -> None:
    """Raises InputError when a file ends in neither .csv nor .parquet, its folder is missing, or rows have one of the
    new columns already."""
    if path.suffix not in _ENDINGS:
        raise InputError(f"{path} ends in neither .csv nor .parquet: name a file that does with --out.")
    if not path.parent.is_dir():
        raise InputError(f"The folder {path.parent} is missing: make it, or name another file with --out.")
    taken = [column for column in columns if column in table]
    if taken:
        raise InputError(f"The column {taken[0]!r} is there already: rename it, so that nothing is lost.")


def write_file(path: Path, table: pd.DataFrame) -> None:
    """Write rows as UTF-8 CSV or as parquet, whole or not at all."""
    with atomic_file(path) as temporary:
        if path.suffix == ".csv":
            table.to_csv(temporary, index=False, lineterminator="\n")
        else:
            table.to_parquet(temporary, index=False)
