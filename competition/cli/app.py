"""The application, and how a command ends on an error: one sentence on stderr and an exit code."""

import errno
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

DEBUG = "--debug"
QUIET = "--quiet"
JSON = "--json"
GLOBAL_FLAGS = (DEBUG, QUIET, JSON)

# The commands that several processes of a launcher may run together.
MULTI_PROCESS = ("pretrain", "train")


class CommandGroup(TyperGroup):
    """Turn errors into a sentence: exit code 2 for wrong input, 1 for a failed step, 128 + a signal."""

    # `ctx` is a click.Context, of which typer carries a private copy.
    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Accept the options of all commands anywhere on the command line."""
        flags = [arg for arg in GLOBAL_FLAGS if arg in args]
        others = [arg for arg in args if arg not in flags]
        return super().parse_args(ctx, [*flags, *others])

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
            # A signal is not a fault of the program, so it has no traceback even with `--debug`.
            if ctx.params["debug"] and not isinstance(error, Interrupted):
                raise
            outcome = _describe_error(error)
            if outcome is None:
                raise

            message, exit_code = outcome
            sentence = escape_controls(pasteable(message))
            # All processes of a launch get the signal; one line about it is enough.
            if distributed.is_main_process() or not isinstance(error, Interrupted):
                print(f"error: {sentence}", file=sys.stderr)
            finish_output(ctx.invoked_subcommand, exit_code, sentence)
            raise typer.Exit(exit_code) from None

        finish_output(ctx.invoked_subcommand)
        return result


def _describe_error(error: BaseException) -> tuple[str, int] | None:
    """Return the sentence and the exit code of an error; None for those that click prints itself."""
    if isinstance(error, CompError):
        return str(error), error.exit_code

    if isinstance(error, Interrupted):
        progress = str(error) or "the same command continues from what is done"
        return f"interrupted; {progress}.", error.exit_code

    if isinstance(error, OSError):
        sentence = f"{error.strerror or error}: {error.filename or ''}".rstrip(": ")
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            sentence += "; let this user read and write there, or work in a copy of the folder."
        return sentence, 1

    printed_by_click = isinstance(error, typer.Abort) or hasattr(error, "format_message")
    if printed_by_click or not isinstance(error, Exception):
        return None
    return f"unexpected {type(error).__name__}: {error}; run it with `--debug` for a traceback.", 1


# Plain help: Rich's boxes import a Markdown reader, which takes half the time of `comp --help`.
app = typer.Typer(
    cls=CommandGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"max_content_width": 120},
)

HERE = Path(".")


def _remember_workspace(workspace: Path) -> Path:
    """Note a workspace other than the current folder, so that commands in messages name it."""
    # The option may stand before or after a subcommand: its default must not overwrite the other.
    if workspace != HERE:
        set_workspace(workspace)
    return workspace


WorkspaceOption = Annotated[
    Path,
    typer.Option(
        "--workspace",
        "-w",
        metavar="DIR",
        callback=_remember_workspace,
        help="The workspace folder; default: the current folder.",
    ),
]


def _print_version(requested: bool) -> None:
    if requested:
        print(f"comp {__version__}")
        raise typer.Exit


@app.callback()
def main(
    context: typer.Context,
    debug: Annotated[bool, typer.Option(DEBUG, help="Show the traceback of an error.")] = False,
    quiet: Annotated[
        bool, typer.Option(QUIET, help="Print only results, warnings and errors.")
    ] = False,
    json: Annotated[
        bool,
        typer.Option(JSON, help="Print results as one JSON document; progress goes to stderr."),
    ] = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Train, validate and ensemble product-search models, from raw ESCI files to leaderboard files."""
    if distributed.world_size() > 1 and context.invoked_subcommand not in MULTI_PROCESS:
        allowed = " and ".join(f"`comp {command}`" for command in MULTI_PROCESS)
        raise InputError(
            f"`comp {context.invoked_subcommand}` runs as one process: start it without a launcher "
            f"such as torchrun. Only {allowed} can use several processes."
        )
