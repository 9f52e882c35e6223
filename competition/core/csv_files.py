"""CSV files from outside: every cell as the text that it is, or one sentence of refusal that names the line."""

from __future__ import annotations

import codecs
import csv
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from io import StringIO, TextIOWrapper
from itertools import islice
from pathlib import Path
from typing import IO

import numpy as np

from competition.core.archives import ARCHIVE_ERRORS, open_unpacked
from competition.core.errors import InputError, join_names, short_repr
from competition.core.lazy import pa, pd

_UTF8 = "UTF-8"
SEPARATORS = (";", "\t", "|")  # that other programs put where a comma belongs
# Stand behind commas of a text; of a file behind all that part its cells, or none.
_BLANKS = " \u00a0"
_CHUNK = 20_000  # rows that are Python's before they are Arrow's
_PIECE = 1 << 20  # bytes
_REASONS = {  # what the parser says -> what is wrong
    "new-line character": "a carriage return stands outside of quotation marks",
    "expected after": 'text follows a closing quotation mark (a mark within a quoted cell is written twice, "")',
    "unexpected end": "its quotation mark is never closed",
}
ColumnCheck = Callable[[list[str]], None]  # raises InputError for columns that do not fit


def refuse_misspelled(column: str, header: Iterable[object], name: str) -> None:
    """Raise InputError where one of the columns of `header` is `column` but for its case or blanks around it."""
    for other in map(str, header):
        # Blanks that nobody sees: a byte order mark, and one that does not break.
        if other != column and other.strip("\ufeff \t\r\n\u00a0").casefold() == column:
            raise InputError(f"{name}: the column {short_repr(other)} is to be written {column!r}.")


def read_text(
    source: Path | StringIO, name: str, check: ColumnCheck | None = None, blank_lines: bool = False
) -> pd.DataFrame:
    """Read all columns of a CSV file in UTF-8, see `read_csv`, as a frame of text."""
    frame: pd.DataFrame = read_csv(source, name, check, blank_lines).to_pandas()
    return frame


def read_cells(source: Path | StringIO, name: str, columns: Sequence[str]) -> pd.DataFrame:
    """Read these columns of a CSV file from outside, in any order in the file, each cell as the text that it holds.

    Raises:
        InputError: it cannot be read, see `read_csv`, or has other columns.
    """

    def check(header: list[str]) -> None:
        for column in columns:
            if column not in header:
                refuse_misspelled(column, header, name)

        if sorted(header) != sorted(columns):
            # What pandas writes by default.
            index = ": leave out the column without a name, an index (index=False)"
            hint = index if "" in header else ""
            has = join_names(column or "''" for column in header)
            raise InputError(
                f"{name}: the columns must be {', '.join(columns)}; found {has}{hint}."
            )

    return read_text(source, name, check)[list(columns)]


def refuse_rows(name: str, frame: pd.DataFrame, bad: pd.Series, what: str) -> None:
    """Raise InputError that names the first of the rows where `bad` holds (1 is the first below the header)."""
    if bad.any():
        row = int(np.flatnonzero(bad.to_numpy())[0])
        # Cell by cell: a row of integers and floats would be one of floats.
        cells = ", ".join(
            f"{column} {short_repr(frame.iat[row, i])}" for i, column in enumerate(frame.columns)
        )
        raise InputError(f"{name}: row {row + 1} ({cells}) {what}.")


def parse_integers(values: pd.Series, column: str, source: object) -> pd.Series:
    """Return ids as int64, also where they are written as text.

    Raises:
        InputError: naming `source`, `column` and the first row (from 1) that does not hold an integer
            of 64 bits.
    """
    types = pd.api.types
    is_signed = types.is_integer_dtype(values) and not types.is_unsigned_integer_dtype(values)
    if is_signed and not values.isna().any():
        return values.astype("int64")

    # A gap makes a column of integers one of floats.
    text = values.astype("str")
    if types.is_float_dtype(values):
        text = text.str.removesuffix(".0")

    bad = (text.isna() | ~text.fillna("").str.fullmatch("-?[0-9]{1,19}")).to_numpy(bool)
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise InputError(
            f"{source}: row {row + 1} has the {column} {short_repr(text.iloc[row])}, which is not an integer."
        )

    # Of 19 digits, some fit and some do not.
    try:
        return text.astype("int64")
    except (OverflowError, ValueError):
        raise InputError(f"{source}: a number in {column} is too large for 64 bits.") from None


def read_csv(
    source: Path | StringIO | IO[bytes],
    name: str,
    check: ColumnCheck | None = None,
    blank_lines: bool = False,
    encoding: str = _UTF8,
    remedy: str = "convert it first",
    separator: str = ",",
) -> pa.Table:
    """Read all columns of a CSV file; `nan`, `none`, `007`, `=1+1` and line breaks in quoted cells stay themselves.

    Args:
        source: a file, perhaps packed or a pipe (see `archives.open_unpacked`), one that was opened so, or
            its text.
        name: what messages call it.
        check: gets the columns before any row is read, to refuse them.
        blank_lines: whether lines without a cell are passed over; else they are refused.
        encoding: of a file. A byte order mark before the first cell is no part of it.
        remedy: what helps where the encoding is another.
        separator: what stands between cells; another one is refused.

    Raises:
        InputError: the file cannot be opened, is empty, has another encoding, separates its columns
            by another sign, names a column twice, has a row with more or fewer cells than the
            header, a quotation mark that is not closed or has text behind it, or rows that a stray
            mark made one.
        LookupError: there is no such encoding.
    """
    if isinstance(source, Path):
        with open_unpacked(source, name) as handle:
            return read_csv(handle, name, check, blank_lines, encoding, remedy, separator)

    # `newline=""` leaves the ends of lines as they are, which is for the parser to judge.
    if isinstance(source, StringIO):
        return _read(StringIO(source.getvalue(), newline=""), name, check, blank_lines, separator)

    text = TextIOWrapper(source, encoding, newline="")
    try:
        return _read(text, name, check, blank_lines, separator)
    except UnicodeDecodeError:
        line = _first_bad_line(source, encoding)
        raise InputError(
            f"{name} is not a readable CSV file: line {line} is not {encoding}, {remedy}."
        ) from None
    except ARCHIVE_ERRORS as error:
        raise InputError(f"{name} is not a readable CSV file: {error}.") from None
    finally:
        text.detach()  # the caller closes what it opened


def find_separator(handle: IO[bytes], encoding: str) -> str:
    """Return what stands between the names of columns most often: a comma unless another sign does.

    Args:
        handle: of a CSV file at its beginning, to which it returns.
        encoding: of the file.

    Raises:
        LookupError: there is no such encoding.
    """
    text = TextIOWrapper(handle, encoding, errors="replace", newline="")
    header = text.readline()
    text.detach()
    handle.seek(0)

    # What is in quotes is no separator.
    outside = "".join(header.split('"')[::2])
    return max((",", *SEPARATORS), key=outside.count)


def _lines(text: IO[str]) -> Iterator[str]:
    """Yield lines that end as the first does: a lone carriage return ends none, unless it ends the first."""
    pieces: list[str] = []
    old_mac = None
    for piece in text:
        if old_mac is None:
            old_mac = piece.endswith("\r")
            piece = piece.lstrip("\ufeff")

        pieces.append(piece)
        if old_mac or not piece.endswith("\r"):
            yield "".join(pieces)
            pieces.clear()

    if pieces:
        yield "".join(pieces)


class _Records:
    """The records of a CSV file with the lines that each of them took."""

    def __init__(self, text: IO[str], name: str, separator: str) -> None:
        # Python refuses cells of more than 131,072 characters, unless asked not to.
        csv.field_size_limit(sys.maxsize)

        self.lines: list[str] = []  # of the last record
        self.separator = separator
        self._name = name
        self._reader = csv.reader(self._kept(text), strict=True, delimiter=separator)

    def _kept(self, text: IO[str]) -> Iterator[str]:
        for line in _lines(text):
            self.lines.append(line)
            yield line

    @property
    def line(self) -> int:
        """The number, from 1, of the line in which the last record begins."""
        return max(1, self._reader.line_num - len(self.lines) + 1)

    def __iter__(self) -> Iterator[list[str]]:
        while True:
            self.lines.clear()
            try:
                record = next(self._reader)
            except StopIteration:
                return
            except csv.Error as error:
                raise self._refusal(error) from None
            yield record

    def _refusal(self, error: csv.Error) -> InputError:
        """Return what is wrong with the record at which the parser stopped."""
        # Where the first line is separated by another sign, that is the fault.
        if self._reader.line_num == 1:
            _check_header(self.lines, self._name, self.separator)

        message = str(error)
        reason = next((why for words, why in _REASONS.items() if words in message), message)

        # A cell that is never closed reaches the end of the file: where it begins helps more.
        unclosed = "never" in reason
        line = self.line if unclosed else self._reader.line_num
        closes = len(self.lines) > 1 and not unclosed
        cell = f", where a quoted cell of line {self.line} ends" if closes else ""
        return InputError(f"{self._name} is not a readable CSV file: line {line}: {reason}{cell}.")


def _read(
    text: IO[str], name: str, check: ColumnCheck | None, blank_lines: bool, separator: str
) -> pa.Table:
    records = _Records(text, name, separator)
    rows = _rows(records, name, blank_lines)
    columns = next(rows, None)
    if columns is None:
        raise InputError(f"{name} is empty.")

    _check_header(columns, name, separator)
    for i, column in enumerate(columns):
        if column in columns[:i]:
            raise InputError(
                f"{name} has the column {short_repr(column)} twice: remove one of them."
            )

    if check is not None:
        check(columns)

    # Python's cells take more memory than Arrow's: rows become columns some at a time.
    chunks: list[list[pa.Array]] = []
    checked = _of_one_width(rows, records, name, len(columns))
    while chunk := list(islice(checked, _CHUNK)):
        chunks.append([pa.array(cells, pa.string()) for cells in zip(*chunk, strict=True)])

    arrays = [
        pa.chunked_array([chunk[i] for chunk in chunks], pa.string()) for i in range(len(columns))
    ]
    return pa.table(arrays, names=columns)


def _rows(records: _Records, name: str, blank_lines: bool) -> Iterator[list[str]]:
    """Yield the records that hold cells."""
    for number, record in enumerate(records):
        if record and (len(record) > 1 or records.lines[0].strip()):
            yield record
        elif not blank_lines:
            row = f" (row {number} is blank)" if number else ""
            raise InputError(f"{name}: line {records.line} is empty{row}: remove it.")


def _check_header(columns: list[str], name: str, separator: str) -> None:
    """Refuse columns that another sign separates."""
    first = columns[0]
    if first.casefold().startswith("sep="):
        raise InputError(
            f"{name}: line 1 is {short_repr(first)}, which only Excel understands: remove the line."
        )

    # A sign in each name on the average is no accident.
    for sign in SEPARATORS if separator == "," else ():
        if sum(column.count(sign) for column in columns) >= len(columns):
            raise InputError(
                f"{name}: the columns are separated by {sign!r}, not by commas: save it with commas."
            )


def _of_one_width(
    rows: Iterator[list[str]], records: _Records, name: str, width: int
) -> Iterator[list[str]]:
    """Yield the rows, each as wide as the header; the first that is not, or that swallowed another, is refused."""
    suspect = 0  # the first line of a row that another may have swallowed; 0 for none
    quotes_well = False  # whether a cell with a separator is quoted somewhere
    for number, row in enumerate(rows, start=1):
        if len(row) != width:
            what = "more" if len(row) > width else "fewer"
            where = f"in line {records.line} than in its header (row {number} has {len(row)} of {width})"
            raise InputError(f"{name} is not a readable CSV file: it has {what} cells {where}.")

        if _escaped(records.lines, row):
            raise InputError(
                f"{name} is not a readable CSV file: a backslash stands before a quotation mark in line "
                f"{records.line}, as Spark and MySQL write it: write the mark twice within a quoted cell, "
                "or the table as parquet."
            )

        if len(records.lines) > 1 and _swallowed(records.lines, row, width, records.separator):
            if width > 2:
                raise _merged(name, records.line)
            suspect = suspect or records.line
        elif width == 2 and len(records.lines) == 1:
            quotes_well = quotes_well or any(records.separator in cell for cell in row)
        yield row

    # Of two cells, a text may look like a row: who quotes commas elsewhere meant it.
    if suspect and not quotes_well:
        raise _merged(name, suspect)


def _escaped(lines: list[str], row: list[str]) -> bool:
    r"""Return whether `\"` stands for a mark.

    Within a quoted cell, a backslash and a mark of the text are `\""`.
    """
    # Nearly every row ends here.
    if '\\"' not in "".join(row):
        return False

    of_cells = sum(cell.count('\\"') for cell in row)
    of_text = sum(line.count('\\""') for line in lines)
    return of_cells > of_text


def _swallowed(lines: list[str], row: list[str], width: int, separator: str) -> bool:
    """Return whether each line of a record looks like a row of its own.

    Where a cell is quoted that need not be, the writer knows how to quote: the record is one row.
    """
    # How many marks the lines have where only what must be quoted is.
    needs_quotes = [any(sign in cell for sign in (separator, "\n", "\r")) for cell in row]
    fewest = sum(
        2 + 2 * cell.count('"') if quoted else cell.count('"')
        for cell, quoted in zip(row, needs_quotes, strict=True)
    )
    marks = sum(line.count('"') for line in lines)

    # Commas of a text have blanks and a word behind them, separators all or none.
    separators = width - 1  # of a row
    comma = re.compile(
        rf"{re.escape(separator)}[{_BLANKS}]+(?=[^{_BLANKS}\r\n{re.escape(separator)}])"
    )
    blanks = sum(len(comma.findall(line)) for line in lines)
    return (
        width > 1
        and marks == fewest
        and all(line.count(separator) == separators for line in lines)
        and blanks in (0, len(lines) * separators)
    )


def _merged(name: str, line: int) -> InputError:
    return InputError(
        f"{name} is not a readable CSV file: a quotation mark in line {line} makes one row of lines that look like "
        "rows of their own: write the mark twice within a quoted cell, or, if it is one row, quote its "
        "other cells, too."
    )


def _first_bad_line(handle: IO[bytes], encoding: str) -> int:
    """Return the number, from 1, of the first line that the encoding does not fit."""
    decoder = codecs.getincrementaldecoder(encoding)()
    line = 1
    handle.seek(0)
    while piece := handle.read(_PIECE):
        try:
            line += decoder.decode(piece).count("\n")
        except UnicodeDecodeError as error:
            readable = error.object[: error.start].decode(encoding, "ignore")
            return line + readable.count("\n")

    # A character is cut off at the end.
    return line
