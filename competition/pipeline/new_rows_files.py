"""Files of rows that belong to no workspace: how they are read, and how their answers are written."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Literal

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from competition.core.archives import PACKED_SUFFIXES, open_unpacked, part_files
from competition.core.atomic import atomic_file
from competition.core.csv_files import find_separator, read_csv
from competition.core.errors import InputError, short_repr
from competition.core.foreign_parquet import as_cells, concat_tables, is_parquet, parquet_table

UTF8 = "utf-8"
_ENDINGS = (".csv", ".parquet")
_REMEDY = "say what it is, such as --encoding cp1252 or --encoding utf-16"


def read_file(path: Path, encoding: str = UTF8) -> pa.Table:
    """Read all columns of a `.csv` or `.parquet` file, perhaps packed, of a pipe, or of a folder of part files.

    Cells of CSV files are text as it stands; what a parquet file holds keeps its types.

    Raises:
        InputError: it is missing, has another ending or encoding, cannot be read, or names a column
            twice.
    """
    parts = part_files(path)
    tables = [_read_part(part, encoding) for part in parts]
    return concat_tables(tables, [str(part) for part in parts])


def _read_part(path: Path, encoding: str) -> pa.Table:
    """Read one file, whose ending must agree with what it holds, or a pipe, which has none."""
    name = str(path)
    ending = _split_ending(path)[1].lower()
    with open_unpacked(path, name) as handle:
        holds_parquet = is_parquet(handle)
        content = ".parquet" if holds_parquet else ".csv"
        if path.is_file() and ending not in _ENDINGS:
            raise InputError(
                f"{path} ends in neither .csv nor .parquet, which say how it is to be read."
            )
        if path.is_file() and ending != content:
            trouble = "is not a readable parquet file" if content == ".csv" else "is a parquet file"
            raise InputError(
                f"{path} {trouble}, whatever its name says: rename it, or bring another."
            )

        table = parquet_table(handle, name) if holds_parquet else _read_csv(handle, name, encoding)

    for i, column in enumerate(table.column_names):
        if column in table.column_names[:i]:
            raise InputError(
                f"{path} has the column {short_repr(column)} twice: remove one of them."
            )
    return table


def _read_csv(handle: IO[bytes], name: str, encoding: str) -> pa.Table:
    """Read a CSV file that is open."""
    try:
        return read_csv(
            handle,
            name,
            blank_lines=True,
            encoding=encoding,
            remedy=_REMEDY,
            separator=find_separator(handle, encoding),
        )
    except LookupError:
        raise InputError(
            f"There is no encoding {encoding!r}: cp1252 and utf-16 are common ones."
        ) from None


def _split_ending(path: Path) -> tuple[str, str]:
    """Return the name of a file without its ending, and the ending, that of a packing left out."""
    name = Path(path.stem if path.suffix.lower() in PACKED_SUFFIXES else path.name)
    return name.stem, name.suffix


# --- where the answers go ---


def target_beside(path: Path, run: str) -> Path:
    """Return where the answers of a run go unless another file is named; raises InputError for a pipe."""
    if not path.exists():
        raise InputError(f"{path} is missing.")
    if not (path.is_file() or path.is_dir()):
        raise InputError(
            f"{path} is not a file that another could be put beside: name one with --out."
        )

    # A folder of part files has the ending of its parts.
    stem, ending = _split_ending(path)
    return path.with_name(f"{stem}-{run}{ending or _split_ending(part_files(path)[0])[1]}")


def check_target(path: Path, table: pa.Table, columns: Sequence[str]) -> None:
    """Refuse a file that could not be written.

    Args:
        path: of the file.
        table: the rows that are copied into it.
        columns: that are added to them.

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

    # The type alone decides whether a CSV file can hold a column, so no row is needed.
    if path.suffix.lower() == ".csv":
        for column in table.column_names:
            as_cells(table[column].slice(0, 0), column, str(path))


def write_file(path: Path, table: pa.Table, answers: pd.DataFrame) -> None:
    """Write rows and the answers to them as UTF-8 CSV or as parquet, whole or not at all.

    Every value of `table` comes back. A parquet file keeps types and pandas' index.

    Args:
        path: of the file, which is replaced.
        table: the rows as they were read.
        answers: a line per row, in the same order.
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
        # Python's writer would leave a carriage return bare, and a reader may take the lines of a
        # text for rows: all text is quoted where one holds a line's end.
        has_line_end = any("\r" in column or "\n" in column for column in copied) or any(
            cells.dtype == "str" and cells.str.contains("[\r\n]").any() for cells in copied.values()
        )
        quoting: Literal[0, 2] = csv.QUOTE_NONNUMERIC if has_line_end else csv.QUOTE_MINIMAL

        frame = pd.concat([pd.DataFrame(copied), answers], axis=1)
        frame.to_csv(temporary, index=False, lineterminator="\n", quoting=quoting)
