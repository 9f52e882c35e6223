"""`comp doctor`: find problems and name the command that fixes each."""

import typer

from competition.cli.app import HERE, WorkspaceOption, app
from competition.cli.output import OutputCell, help_epilog, show_table
from competition.core.console import console

# Level -> what people see, and its style.
_LOOKS = {"well": ("ok", "green"), "look": ("look", "yellow"), "stop": ("STOP", "bold red")}


@app.command(epilog=help_epilog("comp doctor", "comp doctor --json"))
def doctor(workspace: WorkspaceOption = HERE) -> None:
    """Find problems and name the command that fixes each.

    Checks Python, packages, devices, disk and the workspace. The exit code is 1 if something would stop
    `comp run`, else 0.
    """
    from competition.analysis.doctor import diagnose

    rows: list[list[object]] = []
    stops = 0
    for found in diagnose(workspace):
        text, style = _LOOKS[found.level]
        level = OutputCell(found.level, style=style, text=text)
        rows.append([level, found.subject, found.message, found.fix])
        stops += found.level == "stop"

    header = {"level": "", "what": "check", "said": "result", "mend": "fix"}
    show_table("Health", header, rows, left=4, stops=stops)
    if stops:
        console.print(
            f"{stops} of {len(rows)} checks would stop `comp run`: fix them from the top."
        )
        raise typer.Exit(1)
    console.print("Ready: `comp run` will work.")
