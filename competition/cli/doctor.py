"""`comp doctor`: is all well here, and what mends it if not?"""

import typer

from competition.cli.app import HERE, WorkspaceOption, app
from competition.cli.output import OutputCell, first_names, show
from competition.core.console import console

_LOOKS = {"well": ("ok", "green"), "look": ("look", "yellow"), "stop": ("STOP", "bold red")}


@app.command(epilog=first_names("comp doctor", "comp doctor --json"))
def doctor(workspace: WorkspaceOption = HERE) -> None:
    """Look at Python, packages, devices, disk and the workspace, and name the command that mends each problem.

    Exit code 1 where something would stop `comp run`, else 0.
    """
    from competition.analysis.doctor import diagnose

    rows: list[list[object]] = []
    stops = 0
    for found in diagnose(workspace):
        text, style = _LOOKS[found.level]
        rows.append(
            [
                OutputCell(found.level, style=style, text=text),
                found.subject,
                found.message,
                found.fix,
            ]
        )
        stops += found.level == "stop"
    show(
        "Health",
        {"level": "", "what": "what", "said": "what was found", "mend": "what mends it"},
        rows,
        4,
        stops=stops,
    )
    if stops:
        console.print(f"{stops} of {len(rows)} findings stop `comp run`: mend them from the top.")
        raise typer.Exit(1)
    console.print("Nothing stops `comp run`.")
