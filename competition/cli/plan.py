"""`comp plan`: what is left, for several machines."""

from pathlib import Path
from typing import Annotated

import typer

from competition.cli.app import HERE, WorkspaceOption, app
from competition.cli.output import help_epilog, show_table
from competition.core.console import console
from competition.core.workspace import Workspace


@app.command(epilog=help_epilog("comp plan", "comp plan --slurm"))
def plan(
    slurm: Annotated[
        bool,
        typer.Option("--slurm", help="Write slurm/submit.sh, by which Slurm makes what is left."),
    ] = False,
    workspace: WorkspaceOption = HERE,
) -> None:
    """Show what is left in waves that several machines can share.

    The trainings of a wave need nothing of each other: each of them is built by `comp run --step NAME`.
    """
    from competition.core.atomic import write_text
    from competition.pipeline.steps import Pipeline
    from competition.pipeline.waves import slurm_files, waves

    space = Workspace.open(workspace)
    left = waves(Pipeline(space).steps())
    stages = {"inputs": left.inputs}
    stages |= {f"trainings {number}": wave for number, wave in enumerate(left.trainings, 1)}
    stages["rest"] = left.rest
    rows: list[list[object]] = [
        [stage, step.name, "out of date" if step.state == "stale" else step.state]
        for stage, steps in stages.items()
        for step in steps
    ]
    if not rows:
        console.print("Nothing to do: everything is up to date.")
        return

    show_table("Steps to run, by wave", {"wave": "wave", "step": "step", "state": ""}, rows, left=3)
    if slurm:
        for name, text in slurm_files(space, left).items():
            write_text(_folder(space) / name, text)
        console.print(
            f"Run it where sbatch is: sh {_folder(space) / 'submit.sh'} [OPTIONS OF SBATCH]"
        )


def _folder(space: Workspace) -> Path:
    return space.root / "slurm"
