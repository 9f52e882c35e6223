"""CSV files from outside, also packed as `.csv.zip`: every cell as the text that it is, or one sentence of refusal."""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path, PurePosixPath
from typing import IO, Any

from competition.errors import InputError, shown
from competition.frames import pd

# What a packed file may unpack to: text packs 3 to 10 times, and the largest real table has 3 GB.
LARGEST = 16 << 30  # bytes
RATIO = 100  # times its size, for what is larger than
SMALL = 64 << 20  # bytes
_TOO_LONG = re.compile(r"Expected \d+ fields in line (\d+), saw \d+")
_SEPARATORS = (";", "\t", "|")  # that other programs put where a comma belongs


def header(source: Path | StringIO, name: str, skip_blank_lines: bool = False) -> list[str]:
    """The columns of a CSV file as it names them; raises InputError like `read_text`."""
    columns = [str(column) for column in _rows(source, name, nrows=1, skip_blank_lines=skip_blank_lines).iloc[0]]
    sign = next((sign for sign in _SEPARATORS if len(columns) == 1 and sign in columns[0]), None)
    if sign is not None:
        raise InputError(f"{name}: the columns are separated by {sign!r}, not by commas: save it with commas.")
    return columns


def spelled(column: str, found: Iterable[object], name: str) -> None:
    """Raise InputError where one of the columns that were found is `column` but for its case or blanks around it."""
    for other in map(str, found):
        if other != column and other.strip().casefold() == column:
            raise InputError(f"{name}: the column {shown(other)} is to be written {column!r}.")


def read_text(source: Path | StringIO, name: str, skip_blank_lines: bool = False) -> pd.DataFrame:
    """All columns of a CSV file in UTF-8; `nan`, `none`, `007` and `=1+1` stay themselves.

    Raises:
        InputError: `name` is missing, empty, not UTF-8 or no CSV, separates its columns by another sign, names a column
            twice, has a row with more cells than the header, or is packed and holds more than one file, or too large a
            one.
    """
    columns = header(source, name, skip_blank_lines)  # before a comma in a text makes a row too long
    frame = _rows(source, name, skip_blank_lines=skip_blank_lines)
    for i, column in enumerate(columns):
        if column in columns[:i]:
            raise InputError(f"{name} has the column {shown(column)} twice: remove one of them.")
    return frame.iloc[1:].set_axis(columns, axis=1).reset_index(drop=True)


def _rows(source: Path | StringIO, name: str, **how: Any) -> pd.DataFrame:
    """The rows of a CSV file; its header is one like others, so that no column is renamed and none becomes an index."""
    try:
        with _opened(source, name) as handle:
            return pd.read_csv(handle, header=None, dtype=str, keep_default_na=False, encoding="utf-8", **how)
    except FileNotFoundError:
        raise InputError(f"{name} is missing.") from None
    except pd.errors.EmptyDataError:
        raise InputError(f"{name} is empty.") from None
    except UnicodeDecodeError:
        line = _first_bad_line(source, name)
        raise InputError(f"{name} is no readable CSV file: line {line} is not UTF-8, convert it first.") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:  # the last: a password, an odd method
        raise InputError(f"{name} is no readable CSV file: {error}.") from None
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        if long := _TOO_LONG.search(reason):
            reason = f"it has more cells in line {long[1]} than in its header"
        raise InputError(f"{name} is no readable CSV file: {reason}.") from None


def _first_bad_line(source: Path | StringIO, name: str) -> int:
    """The number, from 1, of the first line that is not UTF-8."""
    with _opened(source, name) as handle:
        for number, line in enumerate(handle, start=1):
            if isinstance(line, bytes) and line.decode(errors="ignore").encode() != line:
                return number
    raise AssertionError(f"{name} is UTF-8")


@contextmanager
def _opened(source: Path | StringIO, name: str) -> Iterator[IO[bytes] | StringIO]:
    """The bytes of a file, those of the only file in it where it is packed. Nothing is unpacked to the disk."""
    if isinstance(source, StringIO):
        source.seek(0)
        yield source
    elif source.suffix != ".zip":
        with source.open("rb") as plain:
            yield plain
    else:
        with zipfile.ZipFile(source) as archive, archive.open(_only(archive, name)) as packed:
            yield packed


def _only(archive: zipfile.ZipFile, name: str) -> zipfile.ZipInfo:
    """The only file of an archive; `zipfile` reads no more of it than the size that is checked here."""
    files = [file for file in archive.infolist() if not file.is_dir()]
    if len(files) != 1:
        raise InputError(f"{name} holds {len(files)} files, it must hold one CSV file.")
    (file,) = files
    path = PurePosixPath(file.filename.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in file.filename:
        raise InputError(f"{name} holds a file that points out of it, {shown(file.filename)}: pack the CSV file anew.")
    if file.file_size > min(LARGEST, max(SMALL, RATIO * file.compress_size)):
        raise InputError(
            f"{name} would unpack to {file.file_size / 1e9:,.1f} GB from {file.compress_size / 1e6:,.1f} MB, more than "
            f"{RATIO} times its size or {LARGEST >> 30} GiB: if it is what you want, unpack it yourself."
        )
    return file
