"""`comp report`: write one HTML page about the workspace."""

from pathlib import Path
from typing import Annotated

import typer

from competition.cli.app import HERE, WorkspaceOption, app
from competition.cli.output import help_epilog
from competition.core.atomic import write_text
from competition.core.console import console
from competition.core.workspace import Workspace


@app.command(epilog=help_epilog("comp report", "comp report --out page.html"))
def report(
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Where to write the page; default: reports/report.html."),
    ] = None,
    workspace: WorkspaceOption = HERE,
) -> None:
    """Write an HTML page about all runs.

    It works offline and shows scores, differences, errors, training and cost.
    """
    from competition.analysis.report.page import render_report
    from competition.pipeline.steps import Pipeline

    space = Workspace.open(workspace)
    page = out or space.report
    write_text(page, render_report(Pipeline(space)))
    console.print(f"{page}: open it in a browser.")
