"""What a command prints: tables for people, or with `--json` one document for machines. Both come from `show`.

The document is `{"command", "exit_code", "error", "tables"}`. `error` is a sentence or null; a
table is `{"title", "about", "rows"}`, where `about` says what all rows share and a row is key ->
value. Estimates are `{"value", "low", "high", "queries"}`, what is unknown is null.
"""

import codecs
import io
import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from itertools import compress
from pathlib import Path
from typing import Any

from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from competition.core import distributed
from competition.core.commands import set_workspace
from competition.core.console import PLAIN_WIDTH, console, results
from competition.core.errors import escape_controls

GLOBAL_OPTIONS = "--json, --quiet and --debug go with every command, wherever they stand."


@dataclass(frozen=True)
class OutputCell:
    """A value as machines get it, and how people see it: formatted, in a style of Rich, or as another `text`."""

    value: object
    form: str = ""
    style: str = ""
    text: str | None = None

    def shown(self) -> Text:
        """The cell of a table."""
        return Text(
            escape_controls(_text(self.value, self.form) if self.text is None else self.text),
            style=self.style,
        )


class _Document:
    """What the running command has shown; none of it is kept unless machines read it."""

    def __init__(self) -> None:
        self.wanted = False
        self.tables: list[dict[str, Any]] = []


_document = _Document()


# How signs that a terminal or a log cannot encode are written; others become their number.
_SPELLED = dict(zip("■◧▲·─━│┃╇┼…–—×≥≤↑↓→←“”‘’", "#+!.--||++.--x><^v><\"\"''", strict=True))


def _spell(error: UnicodeError) -> tuple[str, int]:
    """What stands for the characters that an encoding lacks, one for one where there is one."""
    assert isinstance(error, UnicodeEncodeError)
    lacking = error.object[error.start : error.end]
    return "".join(_SPELLED.get(c) or ascii(c)[1:-1] for c in lacking), error.end


def replace_unencodable() -> None:
    """Let nothing that is printed fail for the encoding of stdout or stderr, which a pipe or a log file may choose."""
    codecs.register_error("spell-out", _spell)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(
            stream, io.TextIOWrapper
        ):  # what tests and notebooks put there encodes nothing
            stream.reconfigure(errors="spell-out")


def start_output(quiet: bool, machine: bool) -> None:
    """Start a command: `quiet` shows results and nothing else, for a `machine` they become a document."""
    replace_unencodable()
    _document.wanted, _document.tables = machine, []
    set_workspace(Path())
    console.quiet, console.stderr = quiet or not distributed.is_main_process(), machine
    results.quiet = not distributed.is_main_process()


def finish_output(command: str | None, exit_code: int = 0, error: str | None = None) -> None:
    """End a command: print the document where it is wanted."""
    if _document.wanted and distributed.is_main_process():
        told = {
            "command": command,
            "exit_code": exit_code,
            "error": error,
            "tables": _document.tables,
        }
        print(json.dumps(told, indent=2, allow_nan=False))


def show_table(
    title: str,
    header: Sequence[str] | Mapping[str, str | None],
    rows: Sequence[Sequence[object]],
    left: int = 1,
    **about: object,
) -> None:
    """Show a result.

    Args:
        title: of the table.
        header: the columns, or the key of each for machines -> its heading for people; None where
            they do without.
        rows: cells; what is no text goes to machines as it is, see `Cell` for how people see it.
        left: how many columns are text, which stands on the left; the others are numbers. People
            see narrow tables: what is usual should fit into 100 columns. A row becomes lines where
            a terminal is narrower than its words.
        about: what all rows share, for machines.
    """
    headings = dict(header) if isinstance(header, Mapping) else {name: name for name in header}
    if _document.wanted:
        named = [dict(zip(headings, map(_plain, row), strict=True)) for row in rows]
        _document.tables.append({"title": title, "about": _plain(about), "rows": named})
        return
    table = Table(header_style="bold", show_edge=False, pad_edge=False)
    seen = [name is not None for name in headings.values()]
    for i, name in enumerate(headings.values()):
        if name is not None:
            table.add_column(name, justify="left" if i < left else "right", overflow="fold")
    cells = [
        [
            (cell if isinstance(cell, OutputCell) else OutputCell(cell)).shown()
            for cell in compress(row, seen)
        ]
        for row in rows
    ]
    for row in cells:
        table.add_row(*row)
    results.print(
        Text(title, style="italic")
    )  # a title of the table's would be wrapped at its width
    if (
        Measurement.get(results, results.options.update(width=PLAIN_WIDTH), table).minimum
        <= results.width
    ):
        results.print(table)
        return
    names = [name for name in headings.values() if name is not None]
    for row in cells:
        _print_lines(names, row)


def _print_lines(names: Sequence[str], cells: Sequence[Text]) -> None:
    """A row, where a terminal is too narrow for the words of a table: a line for each cell that is not empty."""
    for i, (name, cell) in enumerate(zip(names, cells, strict=True)):
        if cell.plain:
            results.print(Text.assemble("" if i == 0 else "  ", f"{name}: " if name else "", cell))


def help_epilog(*lines: str) -> str:
    """The end of a command's help: commands that work as they stand, which a test runs; `\\b` keeps their lines."""
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines), "", GLOBAL_OPTIONS])


def as_toml(value: object) -> OutputCell:
    """The value of a key as it is written in a TOML file; keys of a table stand beside each other."""
    if isinstance(value, Mapping):
        return OutputCell(
            value, text=", ".join(f"{key} = {as_toml(each).text}" for key, each in value.items())
        )
    return OutputCell(value, text=json.dumps(value, ensure_ascii=False))


def _text(value: object, form: str = "") -> str:
    """A value as people read it: whole numbers with commas, fractions with four digits, nothing for None."""
    value = _number(value)
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not form and isinstance(value, int | float):
        form = ",d" if isinstance(value, int) else ",.4f"
    return format(value, form)


def _plain(value: object) -> Any:
    """A value as JSON takes it."""
    if isinstance(value, OutputCell):
        return _plain(value.value)
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    value = _number(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def _number(value: object) -> object:
    """NumPy's numbers as Python's; anything else as it is."""
    return value.item() if hasattr(value, "item") else value
