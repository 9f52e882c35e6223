"""Parquet tables of a workspace: written whole, each with its digest and the fingerprint of what it was made from."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from competition.core.atomic import atomic_file
from competition.core.errors import CompError
from competition.core.lazy import pa, pd, pq
from competition.core.seals import SEALED, intact_footer, is_intact, write_with_digest

_METADATA_KEY = b"comp"
# In the footer (thrift's compact protocol): the key, and behind its length the JSON object of `write_frame`.
_METADATA = re.compile(rb"\x18\x04" + _METADATA_KEY + rb"\x18[\x00-\xff]{1,2}?(\{[^{}]*\})")
_SLICE = 50_000  # rows
_BUFFER = 1 << 20  # bytes of a column's pages


def write_table(path: Path, frame: pd.DataFrame, inputs: str) -> None:
    """Write `frame` as parquet with its digest and the fingerprint of its inputs in the file's own metadata."""
    with atomic_file(path) as temporary:
        write_frame(temporary, frame, inputs)


def write_frame(temporary: Path, frame: pd.DataFrame, inputs: str) -> None:
    """Write `frame` at the path of an atomic writer."""
    table = pa.Table.from_pandas(frame, preserve_index=False)

    # Only ours: pandas' own metadata would differ from release to release.
    metadata = {_METADATA_KEY: json.dumps({"inputs": inputs, SEALED: True})}
    write_with_digest(temporary, table.replace_schema_metadata(metadata))


def read_table(path: Path, inputs: str, remedy: str = "`comp run` rebuilds it") -> pd.DataFrame:
    """Read a parquet file of the workspace.

    Args:
        path: the file.
        inputs: the fingerprint that it must have been written with.
        remedy: how the file comes back, for the message.

    Raises:
        CompError: it is missing, damaged, or made from other inputs.
    """
    frame: pd.DataFrame = _read(path, inputs, remedy).to_pandas()
    return frame


def read_columns(path: Path, inputs: str, remedy: str) -> dict[str, NDArray[Any]]:
    """Read the columns of numbers of a parquet file without a copy, `(rows,)` each; read-only, else as `read_table`."""
    table = _read(path, inputs, remedy)
    return {name: table.column(name).to_numpy() for name in table.column_names}


def _read(path: Path, inputs: str, remedy: str) -> pa.Table:
    try:
        if not is_intact(path):
            raise CompError(
                f"{path} is damaged, its bytes are not those that were written: {remedy}."
            )

        # Page by page: ahead of them, Arrow would hold the whole file, too.
        with pq.ParquetFile(path, pre_buffer=False, buffer_size=_BUFFER) as file:
            recorded = _recorded(file.schema_arrow)
            table = file.read(use_threads=False)
    except FileNotFoundError:
        raise CompError(f"{path} is missing: {remedy}.") from None
    except (pa.ArrowException, OSError) as error:
        raise CompError(f"{path} cannot be read ({error}): {remedy}.") from None

    if recorded != inputs:
        raise CompError(
            f"{path} is out of date, it was made from other rows, recipes or settings: {remedy}."
        )
    return table


def read_fingerprint(path: Path) -> str | None:
    """Return the fingerprint that `write_table` left in a file; None where there is none or the file is damaged."""
    try:
        footer = intact_footer(path)
        if footer is None:
            return None
        # To open the file as parquet takes as long as all else, and to import what opens it far longer.
        found: list[bytes] = _METADATA.findall(footer)
        if found:
            return _inputs(found[-1])  # statistics of text stand before it
        return _recorded(pq.read_schema(path))
    except (OSError, pa.ArrowException):
        return None


def _recorded(schema: pa.Schema) -> str | None:
    return _inputs((schema.metadata or {}).get(_METADATA_KEY, b""))


def _inputs(metadata: bytes) -> str | None:
    """Return the fingerprint in a file's own metadata, JSON."""
    try:
        return str(json.loads(metadata)["inputs"])
    except (KeyError, TypeError, ValueError):
        return None


def row_slices(rows: int) -> Iterator[slice]:
    """Yield slices of rows: what is done slice by slice makes no copy of a whole column of text."""
    for first in range(0, rows, _SLICE):
        yield slice(first, first + _SLICE)


def row_parts(frame: pd.DataFrame, positions: NDArray[np.int64]) -> Iterator[pd.DataFrame]:
    """Yield the rows at ascending positions, some at a time.

    To pick a few rows of a long column at once would copy the whole column.
    """
    for part in row_slices(len(frame)):
        bounds = np.searchsorted(positions, [part.start, part.stop])
        inside = positions[slice(*bounds)]
        if len(inside):
            yield frame.iloc[part].iloc[inside - part.start]


def row_hashes(frame: pd.DataFrame) -> NDArray[np.uint64]:
    """Return a hash of each row's values, `(rows,)`, the same in every process and on every machine."""
    # One without rows goes first: there may be no other.
    parts: list[NDArray[np.uint64]] = [np.empty(0, np.uint64)]
    for part in row_slices(len(frame)):
        hashes = pd.util.hash_pandas_object(frame.iloc[part], index=False)
        parts.append(np.asarray(hashes, np.uint64))
    return np.concatenate(parts)


def fingerprint_rows(columns: Iterable[str], hashes: NDArray[np.uint64]) -> str:
    """Return a stable name for the rows of a frame, in their order, from their `row_hashes`."""
    content = ",".join(columns).encode() + hashes.tobytes()
    return hashlib.sha256(content).hexdigest()[:16]


def mean_by_id(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return the arithmetic mean of frames over the same examples, joined by example_id and sorted by it.

    Raises:
        ValueError: they do not hold the same examples.
    """
    aligned = [frame.set_index("example_id").sort_index() for frame in frames]
    if not all(frame.index.equals(aligned[0].index) for frame in aligned):
        raise ValueError("frames to be averaged must hold the same examples")

    # The sum of five equal numbers, rounded, need not be five times the number.
    if all(frame.equals(aligned[0]) for frame in aligned[1:]):
        return aligned[0].reset_index()
    mean: pd.DataFrame = (sum(aligned[1:], start=aligned[0]) / len(aligned)).reset_index()
    return mean
