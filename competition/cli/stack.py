"""`comp stack`: fit an ensemble by every method and compare the methods."""

from typing import TYPE_CHECKING, Annotated

import typer

from competition.cli.app import HERE, WorkspaceOption, app
from competition.cli.options import complete_recipe
from competition.cli.output import OutputCell, help_epilog, is_json, show_table
from competition.cli.scores import explain_marks, show_scores
from competition.cli.verdicts import show_verdict
from competition.core.console import console, progress
from competition.core.json_files import read_json
from competition.core.workspace import Workspace

if TYPE_CHECKING:
    import pandas as pd

    from competition.analysis.ensemble_study import EnsembleStudy


@app.command(epilog=help_epilog("comp stack blend", "comp stack blend.greedy --only"))
def stack(
    name: Annotated[
        str,
        typer.Argument(
            help="An ensemble recipe, such as blend, or a variant, such as six-model.lightgbm.",
            autocompletion=complete_recipe,
        ),
    ],
    leave_out: Annotated[
        bool, typer.Option("--leave-out", help="Also fit the ensemble without each member in turn.")
    ] = False,
    only: Annotated[bool, typer.Option("--only", help="Fit the recipe's own method only.")] = False,
    everything: Annotated[
        bool,
        typer.Option("--all", help="Show the scores of every split and group of queries."),
    ] = False,
    workspace: WorkspaceOption = HERE,
) -> None:
    """Fit an ensemble by every method and compare the methods.

    An ensemble combines complete runs; it is cross-fitted over folds. `comp run` and `comp submit` use
    the method of its recipe. Write NAME.METHOD to use another one, here or in competition.toml.
    """
    import pandas as pd

    from competition.analysis.diagnoses.judge import judge
    from competition.analysis.ensemble_study import EnsembleStudy
    from competition.pipeline.execute import execute
    from competition.pipeline.steps import Pipeline

    space = Workspace.open(workspace)
    pipeline = Pipeline(space)
    stacks = EnsembleStudy(
        pipeline, pipeline.recipes.ensemble(name), leave_out, every_method=not only
    )
    made = execute(space, stacks.steps())
    with progress("comparison"):
        tables = stacks.tables()
    stacks.write(*tables)
    # One table for the members and methods, and with --leave-out one without each member.
    for table in tables:
        shown = table if everything or is_json() else _leading(table)
        for (*_, floor), lines in shown.groupby(["task", "split", "group", "floor"], sort=False):
            show_scores(lines, f"minus {floor}", narrow=True)
    explain_marks(pd.concat(tables))
    _show_learned(stacks)
    if not made:
        console.print("Nothing to do: the ensemble is up to date.")
    console.print(f"Table: {stacks.path}")
    show_verdict(judge(pipeline))


def _leading(table: "pd.DataFrame") -> "pd.DataFrame":
    """Return the lines that tell runs apart: out-of-fold, over the queries that say most."""
    import pandas as pd

    from competition.scoring.scoreboard import leading_lines

    graded = table[table["split"] == "out-of-fold"]
    by_task = (graded if len(graded) else table).groupby("task", sort=False)
    return pd.concat([leading_lines(lines) for _, lines in by_task]) if len(table) else table


def _show_learned(stacks: "EnsembleStudy") -> None:
    """Show the weights of the members, or of trees the features with the largest gain."""
    from competition.analysis.ensemble_study import mean_importance, mean_weights

    rows = []
    for task in stacks.tasks_of(stacks.recipe):
        run = stacks.recipe.run_name(task)
        weights = mean_weights(read_json(stacks.pipeline.workspace.run_card(run))["weights"])
        if weights:
            rows.append([run, "weights", _shares(weights, ".2f")])
            continue

        # Trees have no weights of members: show the features with the largest gain.
        top = mean_importance(stacks.pipeline, run, task).head(8)
        importance = {str(feature): share for feature, share in top.items()}
        rows.append([run, "importance", _shares(importance, ".3f")])

    header = {"run": "run", "what": "", "mean": "mean over the folds"}
    show_table(f"{stacks.recipe.name}, method {stacks.recipe.method}", header, rows, left=3)


def _shares(shares: dict[str, float], number_format: str) -> OutputCell:
    """Return shares by name as one cell: `lexical 0.62, c1 0.38`."""
    parts = (f"{name} {share:{number_format}}" for name, share in shares.items())
    return OutputCell(shares, text=", ".join(parts))
