"""What a command prints: tables for people, or with `--json` one document for scripts.

Both come from `show_table`. The document is `{"command", "exit_code", "error", "tables"}`. `error`
is a sentence or null; a table is `{"title", "about", "rows"}`, where `about` holds what all rows
share and a row maps keys to values. Estimates are `{"value", "low", "high", "queries"}`; what is
unknown is null.
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

from rich.cells import cell_len
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from competition.core import distributed
from competition.core.commands import set_workspace
from competition.core.console import PLAIN_WIDTH, console, results
from competition.core.errors import escape_controls

GLOBAL_OPTIONS = "Every command also takes --json, --quiet and --debug, anywhere on the line."


@dataclass(frozen=True)
class OutputCell:
    """A cell of a table.

    Attributes:
        value: what a JSON document holds.
        number_format: how people see a number, as in `format(value, number_format)`.
        style: a style of Rich.
        text: what people see in place of the formatted value.
    """

    value: object
    number_format: str = ""
    style: str = ""
    text: str | None = None

    def as_text(self) -> Text:
        """Return the cell as people see it."""
        text = _format(self.value, self.number_format) if self.text is None else self.text
        return Text(escape_controls(text), style=self.style)


class _Document:
    """The tables that the running command has shown; empty unless `--json` is given."""

    def __init__(self) -> None:
        self.enabled = False
        self.tables: list[dict[str, Any]] = []


_document = _Document()


_BETWEEN = 3  # characters between two columns of a table, at most
# ASCII for the signs that a terminal or a log file may be unable to encode.
_SIGNS = "■◧▲·─━│┃╇┼…–—×≥≤↑↓→←“”‘’"
_ASCII = "#+!.--||++.--x><^v><\"\"''"
_REPLACEMENTS = dict(zip(_SIGNS, _ASCII, strict=True))


def _replacement(error: UnicodeError) -> tuple[str, int]:
    """Return ASCII for the characters that an encoding lacks: a similar sign, else their number."""
    assert isinstance(error, UnicodeEncodeError)
    lacking = error.object[error.start : error.end]
    return "".join(_REPLACEMENTS.get(c) or ascii(c)[1:-1] for c in lacking), error.end


def replace_unencodable() -> None:
    """Keep printing from failing where stdout or stderr, a pipe or a log, cannot encode a sign."""
    codecs.register_error("similar-ascii", _replacement)
    for stream in (sys.stdout, sys.stderr):
        # Tests and notebooks put other objects there, which do not encode.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="similar-ascii")


def start_output(quiet: bool, as_json: bool) -> None:
    """Set up the output of a command.

    Args:
        quiet: print only results, warnings and errors.
        as_json: collect tables for one JSON document on stdout; everything else goes to stderr.
    """
    replace_unencodable()
    set_workspace(Path())
    _document.enabled = as_json
    _document.tables = []

    # Of several processes, only the main one speaks.
    main_process = distributed.is_main_process()
    console.quiet = quiet or not main_process
    console.stderr = as_json
    results.quiet = not main_process


def finish_output(command: str | None, exit_code: int = 0, error: str | None = None) -> None:
    """End the output of a command: with `--json`, print the document."""
    if not _document.enabled or not distributed.is_main_process():
        return

    document = {
        "command": command,
        "exit_code": exit_code,
        "error": error,
        "tables": _document.tables,
    }
    print(json.dumps(document, indent=2, allow_nan=False))


def show_table(
    title: str,
    header: Sequence[str] | Mapping[str, str | None],
    rows: Sequence[Sequence[object]],
    left: int = 1,
    **about: object,
) -> None:
    """Show a result.

    Args:
        title: of the table; one without a title follows a sentence, and has no rules.
        header: the columns, or JSON key -> heading; a heading of None is a column for JSON alone.
        rows: cells, as values or as `OutputCell`.
        left: how many columns are text and aligned left; the others are numbers. Tables should
            usually fit into 100 columns; where a terminal is too narrow, rows become lines.
        about: what all rows share, for JSON.
    """
    headings = dict(header) if isinstance(header, Mapping) else {name: name for name in header}
    if _document.enabled:
        records = [dict(zip(headings, map(_as_json, row), strict=True)) for row in rows]
        _document.tables.append({"title": title, "about": _as_json(about), "rows": records})
        return

    visible = [name is not None for name in headings.values()]
    cells = [
        [
            (cell if isinstance(cell, OutputCell) else OutputCell(cell)).as_text()
            for cell in compress(row, visible)
        ]
        for row in rows
    ]

    table = Table(header_style="bold", show_edge=False, pad_edge=False)
    if not title:
        table.box, table.padding = None, (0, 2, 0, 0)
    names = [(name, i < left) for i, name in enumerate(headings.values()) if name is not None]
    columns = [(name, *(row[k].plain for row in cells)) for k, (name, _) in enumerate(names)]
    widths = [max(map(cell_len, column)) for column in columns]
    fits = sum(widths) + _BETWEEN * len(widths) <= results.width
    for (name, is_text), width in zip(names, widths, strict=True):
        # Where all have room, Rich need not measure each cell again, which takes longer than to print it.
        fixed = width if fits else None
        if is_text:
            table.add_column(name, overflow="fold", width=fixed)
        else:
            # Nobody reads a number that goes on in the next line.
            table.add_column(name, justify="right", no_wrap=True, min_width=width, width=fixed)
    for row in cells:
        table.add_row(*row)

    # Printed apart, because Rich wraps a table's own title at the table's width.
    if title:
        results.print(Text(title, style="italic"))
    unlimited = results.options.update(width=PLAIN_WIDTH)
    if fits or Measurement.get(results, unlimited, table).minimum <= results.width:
        results.print(table)
    else:
        _print_lines([name for name in headings.values() if name is not None], cells)


def show_sentences(
    title: str,
    header: Sequence[str],
    rows: Sequence[Sequence[object]],
    sentences: Sequence[str],
    **about: object,
) -> None:
    """Show a result that people read as sentences, and scripts as the rows of a table, see `show_table`."""
    if _document.enabled:
        show_table(title, header, rows, 1, **about)
        return

    for sentence in sentences:
        results.print(escape_controls(sentence))


def is_json() -> bool:
    """Return whether the running command collects its tables for one JSON document."""
    return _document.enabled


def _print_lines(headings: Sequence[str], rows: Sequence[Sequence[Text]]) -> None:
    """Print a table for a narrow terminal: each cell that is not empty on a line of its own."""
    for row in rows:
        for i, (heading, cell) in enumerate(zip(headings, row, strict=True)):
            if cell.plain:
                indent = "" if i == 0 else "  "
                label = f"{heading}: " if heading else ""
                results.print(Text.assemble(indent, label, cell))


def help_epilog(*examples: str) -> str:
    """Return the end of a command's help: examples, which a test runs, and the global options."""
    # Click re-wraps paragraphs, but not one that begins with \\b.
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in examples), "", GLOBAL_OPTIONS])


def as_toml(value: object) -> OutputCell:
    """Return the value of a key as a TOML file has it; the keys of a table on one line."""
    if isinstance(value, Mapping):
        pairs = (f"{key} = {as_toml(each).text}" for key, each in value.items())
        return OutputCell(value, text=", ".join(pairs))
    return OutputCell(value, text=json.dumps(value, ensure_ascii=False))


def _format(value: object, number_format: str = "") -> str:
    """Return a value as people read it: integers with commas, fractions with four digits."""
    value = _as_python(value)
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not number_format and isinstance(value, int | float):
        number_format = ",d" if isinstance(value, int) else ",.4f"
    return format(value, number_format)


def _as_json(value: object) -> Any:
    """Return a value as JSON holds it; NaN and infinity become null."""
    if isinstance(value, OutputCell):
        return _as_json(value.value)
    if is_dataclass(value) and not isinstance(value, type):
        return _as_json(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): _as_json(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_as_json(each) for each in value]

    value = _as_python(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def _as_python(value: object) -> object:
    """Return a NumPy number as Python's, anything else as it is."""
    return value.item() if hasattr(value, "item") else value
