"""`comp stack`: cross-fit an ensemble by every method and compare."""

from typing import TYPE_CHECKING, Annotated

import typer

from competition.cli.app import HERE, WorkspaceOption, app
from competition.cli.options import complete_recipe
from competition.cli.output import OutputCell, first_names, show
from competition.cli.scores import explain_marks, show_scores
from competition.core.console import console, progress
from competition.core.json_files import read_json
from competition.core.workspace import Workspace

if TYPE_CHECKING:
    from competition.analysis.ensemble_study import Stacks


@app.command(epilog=first_names("comp stack blend", "comp stack blend.greedy --only"))
def stack(
    name: Annotated[
        str,
        typer.Argument(
            help="An ensemble recipe, such as blend, or a variant: six-model.lightgbm.",
            autocompletion=complete_recipe,
        ),
    ],
    leave_out: Annotated[
        bool, typer.Option("--leave-out", help="Also leave each member out.")
    ] = False,
    only: Annotated[
        bool, typer.Option("--only", help="Only the recipe itself, not every method.")
    ] = False,
    workspace: WorkspaceOption = HERE,
) -> None:
    """Combine complete runs, by every method; what is learned for a fold comes from the other folds.

    The recipe's own `method` is what `comp submit` and `comp run` take; the others can be named in
    competition.toml and on the command line as NAME.METHOD.
    """
    import pandas as pd

    from competition.analysis.ensemble_study import Stacks
    from competition.pipeline.execute import execute
    from competition.pipeline.steps import Pipeline

    space = Workspace.open(workspace)
    pipeline = Pipeline(space)
    stacks = Stacks(pipeline, pipeline.recipes.ensemble(name), leave_out, every_method=not only)
    made = execute(space, stacks.steps())
    with progress("comparison"):
        tables = stacks.tables()
    stacks.write(*tables)
    for table in tables:
        for (*_, floor), lines in table.groupby(["task", "split", "group", "floor"], sort=False):
            show_scores(lines, f"minus {floor}", narrow=True)
    explain_marks(pd.concat(tables))
    _show_learned(stacks)
    if not made:
        console.print("Nothing to do: the ensemble is up to date.")
    console.print(f"Table: {stacks.path}")


def _show_learned(stacks: "Stacks") -> None:
    """What the ensemble takes of its members: weights, or the features that trees gain most by."""
    from competition.analysis.ensemble_study import mean_importance, mean_weights

    rows = []
    for task in stacks.tasks_of(stacks.recipe):
        run = stacks.recipe.run_name(task)
        if mean := mean_weights(read_json(stacks.pipeline.workspace.run_card(run))["weights"]):
            rows.append([run, "weights", _listed(mean, ".2f")])
        else:
            top = mean_importance(stacks.pipeline, run, task).head(8)
            rows.append(
                [
                    run,
                    "importance",
                    _listed({str(feature): share for feature, share in top.items()}, ".3f"),
                ]
            )
    header = {"run": "run", "what": "", "mean": "mean over the folds"}
    show(f"{stacks.recipe.name} answers by {stacks.recipe.method}", header, rows, 3)


def _listed(shares: dict[str, float], form: str) -> OutputCell:
    return OutputCell(
        shares, text=", ".join(f"{name} {share:{form}}" for name, share in shares.items())
    )
