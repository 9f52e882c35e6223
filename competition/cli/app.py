"""The application, and how a command ends when something is wrong: one sentence and an exit code."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from typer.core import TyperGroup

from competition import __version__
from competition.errors import CompError, visible
from competition.progress import console

DEBUG = "--debug"


class Commands(TyperGroup):
    """Turns errors into a sentence on stderr: exit code 2 for wrong input, 1 for a step that failed."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """`--debug` is understood wherever it stands."""
        if DEBUG in args:
            args = [DEBUG, *(arg for arg in args if arg != DEBUG)]
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run the command; with `--debug`, errors keep their traceback."""
        if ctx.params.get("debug"):
            return super().invoke(ctx)
        try:
            return super().invoke(ctx)
        except CompError as error:
            print(f"error: {visible(str(error))}", file=sys.stderr)
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt:
            print("error: interrupted; `comp run` goes on from what is done.", file=sys.stderr)
            raise typer.Exit(1) from None
        except OSError as error:
            said = f"{error.strerror or error}: {error.filename or ''}".rstrip(": ")
            print(f"error: {visible(said)}", file=sys.stderr)
            raise typer.Exit(1) from None
        except (typer.Exit, typer.Abort):
            raise
        except Exception as error:
            if hasattr(error, "format_message"):  # the parser's own: it prints itself and exits with 2
                raise
            said = f"unexpected {type(error).__name__}: {error}; `--debug` shows where."
            print(f"error: {visible(said)}", file=sys.stderr)
            raise typer.Exit(1) from None


app = typer.Typer(cls=Commands, no_args_is_help=True, pretty_exceptions_enable=False)

WorkspaceOption = Annotated[
    Path, typer.Option("--workspace", "-w", metavar="DIR", help="The workspace; the current folder unless named.")
]
HERE = Path(".")


def _version(asked: bool) -> None:
    if asked:
        print(f"comp {__version__}")
        raise typer.Exit


@app.callback()
def main(
    debug: Annotated[bool, typer.Option(DEBUG, help="Show where an error came from.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """A competition harness for query-product relevance: from raw ESCI files to leaderboard files."""


def show(title: str, header: Sequence[str], rows: Sequence[Sequence[object]], left: int = 1) -> None:
    """Print a table; the first `left` columns are text, the others numbers."""
    table = Table(title=title, title_justify="left", header_style="bold")
    for i, name in enumerate(header):
        table.add_column(name, justify="left" if i < left else "right", overflow="fold")
    for row in rows:
        table.add_row(*(visible(str(cell)) for cell in row))
    console.print(table)
