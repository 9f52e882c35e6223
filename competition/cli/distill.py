"""`comp distill`: train a model that servers load from a run that they do not."""

from typing import Annotated

import typer

from competition.cli.app import HERE, WorkspaceOption, app
from competition.cli.compare import show_comparison
from competition.cli.options import complete_recipe
from competition.cli.output import help_epilog
from competition.core.commands import command_for, shell_quoted
from competition.core.console import console
from competition.core.workspace import Workspace


@app.command(
    epilog=help_epilog(
        "comp distill blend --into small",
        'comp distill c1 --into c1-small --set epochs=3 --set \'distill_rows=["labelled", "test"]\'',
    )
)
def distill(
    run: Annotated[
        str,
        typer.Argument(
            help="The teacher: a recipe, an ensemble or a member.", autocompletion=complete_recipe
        ),
    ],
    into: Annotated[str, typer.Option("--into", help="The name of the student's recipe.")],
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Set a key of the student; may be repeated."
        ),
    ] = None,
    workspace: WorkspaceOption = HERE,
) -> None:
    """Train a student that servers load, at a price.

    The student is the recipe `served` with the run as its teacher, by default on test rows. Its folds
    are trained, and its scores are compared with the teacher's over the same queries.
    """
    from competition.analysis.compare import compare_runs
    from competition.analysis.distillation import write_student
    from competition.config.variants import parse_changes
    from competition.pipeline.execute import execute
    from competition.pipeline.steps import Pipeline

    space = Workspace.open(workspace)
    path = write_student(space, run, into, parse_changes(changes or []))
    console.print(f"{into} learns from {run}: {path}")

    execute(space, Pipeline(space).recipe_steps(into))
    show_comparison(compare_runs(space, into, run), into, run)
    name = shell_quoted(into)
    command = command_for(f"comp train --all --recipe {name} && comp export {name} DIR")
    console.print(f"Next: {command} writes a model of all rows for other tools.")
