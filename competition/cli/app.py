"""The application, and how a command ends when something is wrong: one sentence and an exit code."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from competition import __version__
from competition.cli.output import finish_output, start_output
from competition.core import distributed
from competition.core.commands import pasteable, set_workspace
from competition.core.errors import CompError, InputError, escape_controls
from competition.core.signals import Interrupted, install_handlers

DEBUG, QUIET, JSON = "--debug", "--quiet", "--json"
SHARED = ("pretrain", "train")  # commands whose work several processes share


class Commands(TyperGroup):
    """Turns errors into a sentence on stderr: exit code 2 for wrong input, 1 for a step that failed, 128 + a signal."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Options of all commands are understood wherever they stand."""
        everywhere = [arg for arg in (DEBUG, QUIET, JSON) if arg in args]
        return super().parse_args(
            ctx, [*everywhere, *(arg for arg in args if arg not in everywhere)]
        )

    def invoke(self, ctx: Any) -> Any:
        """Run the command; with `--debug`, errors keep their traceback."""
        start_output(ctx.params["quiet"], ctx.params["json"])
        with install_handlers():
            return self._invoke(ctx)

    def _invoke(self, ctx: Any) -> Any:
        try:
            result = super().invoke(ctx)
        except typer.Exit as ended:
            finish_output(ctx.invoked_subcommand, ended.exit_code)
            raise
        except BaseException as error:
            said = (
                None if ctx.params["debug"] and not isinstance(error, Interrupted) else _said(error)
            )
            if said is None:
                raise
            sentence, exit_code = escape_controls(pasteable(said[0])), said[1]
            if distributed.is_main_process() or not isinstance(error, Interrupted):
                print(f"error: {sentence}", file=sys.stderr)
            finish_output(ctx.invoked_subcommand, exit_code, sentence)
            raise typer.Exit(exit_code) from None
        finish_output(ctx.invoked_subcommand)
        return result


def _said(error: BaseException) -> tuple[str, int] | None:
    """What is said of an error, and the exit code; None for those of the parser, which say it themselves."""
    if isinstance(error, CompError):
        return str(error), error.exit_code
    if isinstance(error, Interrupted):
        return (
            f"interrupted; {str(error) or 'the same command goes on from what is done'}.",
            error.exit_code,
        )
    if isinstance(error, OSError):
        return f"{error.strerror or error}: {error.filename or ''}".rstrip(": "), 1
    if (
        not isinstance(error, Exception)
        or isinstance(error, typer.Abort)
        or hasattr(error, "format_message")
    ):
        return None
    return f"unexpected {type(error).__name__}: {error}; `--debug` shows where.", 1


# Plain help: what draws boxes imports a reader of Markdown, half of all that `comp --help` would
# take.
app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"max_content_width": 120},
)

HERE = Path(".")


def _named(workspace: Path) -> Path:
    """Remember a workspace that is not the current folder, for messages; it may stand before a subcommand."""
    if workspace != HERE:
        set_workspace(workspace)
    return workspace


WorkspaceOption = Annotated[
    Path,
    typer.Option(
        "--workspace",
        "-w",
        metavar="DIR",
        callback=_named,
        help="The workspace; the current folder unless named.",
    ),
]


def _version(asked: bool) -> None:
    if asked:
        print(f"comp {__version__}")
        raise typer.Exit


@app.callback()
def main(
    context: typer.Context,
    debug: Annotated[bool, typer.Option(DEBUG, help="Show where an error came from.")] = False,
    quiet: Annotated[
        bool, typer.Option(QUIET, help="Show results, warnings and errors, and nothing else.")
    ] = False,
    json: Annotated[
        bool, typer.Option(JSON, help="Print results as one JSON document, the rest to stderr.")
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """A competition harness for query-product relevance: from raw ESCI files to leaderboard files."""
    if distributed.world_size() > 1 and context.invoked_subcommand not in SHARED:
        raise InputError(
            f"`comp {context.invoked_subcommand}` runs as one process: start it without a launcher of several; "
            f"{' and '.join(f'`comp {command}`' for command in SHARED)} share their work."
        )
