"""Parquet files from outside, as Arrow has them: pandas would make floats of integers with gaps."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from competition.core.archives import PARQUET_MAGIC, open_unpacked
from competition.core.csv_files import ColumnCheck
from competition.core.errors import InputError, short_repr
from competition.core.lazy import pa, pd, pq

_PANDAS = b"pandas"  # the key of its metadata
_BUFFER = 1 << 20  # bytes of a column's pages that are read at a time


def is_parquet(handle: IO[bytes]) -> bool:
    """Return whether a file that was just opened begins as a parquet file does."""
    head = handle.read(len(PARQUET_MAGIC))
    handle.seek(0)
    return head == PARQUET_MAGIC


def read_parquet(
    path: Path, name: str, columns: Sequence[str] | None = None, check: ColumnCheck | None = None
) -> pa.Table:
    """Read a parquet file, with pandas' index as columns like others.

    Args:
        path: the file.
        name: what messages call it.
        columns: those to read; all unless given.
        check: gets the columns before any row is read, to refuse them.

    Raises:
        InputError: the file cannot be opened or read, or holds text that is not UTF-8.
    """
    with open_unpacked(path, name) as handle:
        if not is_parquet(handle):
            raise InputError(f"{name} is not a readable parquet file: it does not begin as one.")
        return parquet_table(handle, name, columns, check)


def parquet_table(
    handle: IO[bytes],
    name: str,
    columns: Sequence[str] | None = None,
    check: ColumnCheck | None = None,
) -> pa.Table:
    """Read an open parquet file, see `read_parquet`."""
    try:
        file = pq.ParquetFile(handle, buffer_size=_BUFFER)
        index = _range_index(file.schema_arrow)
        if check is not None:
            check([*index, *file.schema_arrow.names])

        # Text that is not UTF-8 shows here, or else in the middle of a training.
        table = file.read(columns=None if columns is None else list(columns))
        table.validate(full=True)
    except (pa.ArrowException, OSError) as error:
        reason = str(error).rstrip(".")
        raise InputError(f"{name} is not a readable parquet file: {reason}.") from None

    if len(table) != file.metadata.num_rows:
        raise InputError(
            f"{name}: {len(table):,} of its {file.metadata.num_rows:,} rows can be read."
        )

    for column, numbers in index.items():
        # Rows that another program took out or added leave an index that does not fit.
        if len(numbers) == len(table) and (columns is None or column in columns):
            table = table.add_column(0, column, pa.array(numbers, pa.int64()))

            # pandas' metadata, with the column as the index.
            metadata = json.loads(table.schema.metadata[_PANDAS])
            kind = {"pandas_type": "int64", "numpy_type": "int64", "metadata": None}
            described = [*metadata["columns"], {"name": column, "field_name": column, **kind}]
            metadata |= {"index_columns": [column], "columns": described}
            table = table.replace_schema_metadata(
                table.schema.metadata | {_PANDAS: json.dumps(metadata).encode()}
            )
    return table


def _range_index(schema: pa.Schema) -> dict[str, range]:
    """Return pandas' index where it is evenly spaced numbers with a name, which only the metadata hold."""
    metadata = json.loads((schema.metadata or {}).get(_PANDAS, "{}"))

    # An index of other values is a column already, which the metadata only name.
    ranges = [
        entry
        for entry in metadata.get("index_columns", [])
        if isinstance(entry, dict) and entry["kind"] == "range"
    ]
    return {
        entry["name"]: range(entry["start"], entry["stop"], entry["step"])
        for entry in ranges
        if entry["name"] and entry["name"] not in schema.names
    }


def concat_tables(parts: Sequence[pa.Table], names: Sequence[str]) -> pa.Table:
    """Concatenate part files; raises InputError where they differ in their columns or what these hold."""
    first = parts[0]
    for part, name in zip(parts, names, strict=True):
        if sorted(part.column_names) != sorted(first.column_names):
            raise InputError(
                f"{name} has other columns than {names[0]}: {', '.join(part.column_names)}."
            )

    try:
        tables = [part.select(first.column_names) for part in parts]
        return pa.concat_tables(tables, promote_options="default")
    except pa.ArrowException as error:
        raise InputError(
            f"{names[0]} and what lies beside it do not fit together: {error}."
        ) from None


def as_text(values: pa.ChunkedArray, column: str, name: str) -> pa.ChunkedArray:
    """Return a column of text or integers, also as categories, as text.

    Raises:
        InputError: it holds anything else, of which a text could be made in several ways.
    """
    kind = values.type
    if pa.types.is_dictionary(kind):
        values = pa.chunked_array(
            [chunk.dictionary_decode() for chunk in values.chunks], kind.value_type
        )
        kind = kind.value_type

    # A column without a value may have any type.
    if values.null_count == len(values):
        return pa.chunked_array([pa.nulls(len(values), pa.large_string())])

    is_text = (
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    )
    if is_text or pa.types.is_integer(kind):
        return values.cast(pa.large_string())
    raise InputError(
        f"{name}: the column {short_repr(column)} holds {kind}, which is not what it is for: make it text."
    )


def as_cells(values: pa.ChunkedArray, column: str, name: str) -> pd.Series:
    """Return a column as the cells of a CSV file: text, empty where there is none, or floats with all their digits.

    Raises:
        InputError: it holds what no cell can, such as lists.
    """
    kind = values.type
    if pa.types.is_dictionary(kind):
        values = pa.chunked_array(
            [chunk.dictionary_decode() for chunk in values.chunks], kind.value_type
        )

    if pa.types.is_floating(values.type):
        numbers: pd.Series = values.to_pandas()
        return numbers

    refusal = InputError(
        f"{name}: the column {short_repr(column)} holds {kind}, which no CSV file can: name a .parquet file with --out."
    )
    # Arrow would take bytes for text.
    if "binary" in str(values.type):
        raise refusal

    try:
        text: pd.Series = values.cast(pa.large_string()).to_pandas()
    except pa.ArrowException:
        raise refusal from None
    return text
