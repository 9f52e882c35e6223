"""`comp merge`: bring together what was made in several folders."""

from pathlib import Path
from typing import Annotated

import typer

from competition.cli.app import HERE, WorkspaceOption, app
from competition.cli.output import help_epilog, show_table
from competition.core.commands import command_for
from competition.core.console import console
from competition.core.errors import join_names, pluralize
from competition.core.workspace import Workspace


@app.command(epilog=help_epilog("comp merge machine-1", "comp merge machine-1 machine-2"))
def merge(
    parts: Annotated[
        list[Path],
        typer.Argument(
            help="Workspaces of the same settings and rows, or copies of them without the tables in data/."
        ),
    ],
    workspace: WorkspaceOption = HERE,
) -> None:
    """Bring together what other machines made.

    Copies what this workspace lacks and would make from the same inputs. Other rows or settings,
    damaged files and results that differ are refused by name; then nothing is copied.
    """
    from competition.pipeline.merge import merge as merge_parts
    from competition.pipeline.steps import Pipeline

    merged = merge_parts(Pipeline(Workspace.open(workspace)), parts)
    rows: list[list[object]] = [[name, str(part)] for name, part in merged.taken.items()]
    show_table(
        "Taken",
        {"step": "step", "part": "from"},
        rows,
        left=2,
        there=merged.there,
        unknown=merged.unknown,
    )

    console.print(
        f"{pluralize(len(merged.taken), 'step')} taken, {len(merged.there)} there already with the same bytes."
    )
    if merged.unknown:
        console.print(
            f"Not asked for by competition.toml here, so left: {join_names(merged.unknown)}"
        )
    if merged.taken:
        console.print(f"Next: {command_for('comp run')} makes the rest.")
