"""`comp report`: one page of what the workspace knows."""

from pathlib import Path
from typing import Annotated

import typer

from competition.cli.app import HERE, WorkspaceOption, app
from competition.cli.output import first_names
from competition.core.atomic import write_text
from competition.core.console import console
from competition.core.workspace import Workspace


@app.command(epilog=first_names("comp report", "comp report --out page.html"))
def report(
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The page; reports/report.html unless named."),
    ] = None,
    workspace: WorkspaceOption = HERE,
) -> None:
    """Write one HTML page, which works offline: scores, differences, errors, training, cost, and what is missing."""
    from competition.analysis.report.page import render_report
    from competition.pipeline.steps import Pipeline

    space = Workspace.open(workspace)
    page = out or space.report
    write_text(page, render_report(Pipeline(space)))
    console.print(f"{page}: open it in a browser.")
