"""One file of the real ESCI data, in either layout: its columns and what they must hold."""

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from competition.core.archives import part_files
from competition.core.csv_files import read_csv, refuse_misspelled
from competition.core.errors import InputError, join_names, short_repr
from competition.core.foreign_parquet import as_text, concat_tables, read_parquet
from competition.scoring.definition import ESCI, load_contest

CONTEST = load_contest(ESCI)

PRODUCT_COLUMNS = {
    "product_id": "product_id",
    "product_title": "title",
    "product_description": "description",
    "product_bullet_point": "bullets",
    "product_brand": "brand",
    "product_locale": "locale",
}
# Floats where a column of them has a gap.
_NUMBERS = ("example_id", "query_id", "small_version", "large_version")


def find_path(folder: Path, name: str) -> Path:
    """Return the file or folder `name` of a folder, in any case of letters where none has the name itself."""
    path = folder / name
    if path.exists():
        return path

    others = sorted(folder.iterdir())
    return next((other for other in others if other.name.casefold() == name.casefold()), path)


def _checker(path: Path, columns: Iterable[str]) -> Callable[[list[str]], None]:
    """Return a function that refuses a file which lacks one of the columns or has it twice."""

    def check(found: list[str]) -> None:
        for column in columns:
            if column not in found:
                refuse_misspelled(column, found, str(path))
                raise InputError(f"{path} lacks the column {column!r}: it has {join_names(found)}.")
            if found.count(column) > 1:
                raise InputError(f"{path} has the column {column!r} twice: remove one of them.")

    return check


def read_columns(path: Path, columns: dict[str, str]) -> pd.DataFrame:
    """Return these columns of a parquet file, or of a folder of part files, under other names.

    Numbers stay numbers, all else is text.
    """
    files = part_files(path)
    parts = [
        read_parquet(file, str(file), list(columns), _checker(file, columns)) for file in files
    ]
    table = concat_tables(parts, [str(file) for file in files])
    return pd.DataFrame(
        {name: _values(table[column], column, path) for column, name in columns.items()}
    )


def _values(values: pa.ChunkedArray, column: str, path: Path) -> pd.Series:
    is_float = pa.types.is_floating(values.type)
    is_whole_integer = pa.types.is_integer(values.type) and not values.null_count
    if not (column in _NUMBERS and (is_float or is_whole_integer)):
        values = as_text(values, column, str(path))
    series: pd.Series = values.to_pandas()
    return series


def read_text_columns(path: Path, columns: dict[str, str]) -> pd.DataFrame:
    """Return every cell of these columns as the text that it is: `nan`, `none` and `007` stay themselves."""
    files = part_files(path)
    parts = [read_csv(file, str(file), _checker(file, columns), blank_lines=True) for file in files]
    table = concat_tables(parts, [str(file) for file in files])
    frame: pd.DataFrame = table.select(list(columns)).to_pandas()
    return frame.rename(columns=columns)


def name_pair(rows: pd.DataFrame, bad: pd.Series | np.ndarray) -> str:
    """Return how the first offending pair is named."""
    row = rows[np.asarray(bad)].iloc[0]
    return f"query {short_repr(row['query'])}, product {short_repr(row['product_id'])}"


def is_substitute(labels: pd.Series) -> pd.Series:
    """Return whether each label is `substitute`, a nullable boolean: unknown where the label is."""
    return (labels == "substitute").astype("boolean").mask(labels.isna())
