"""`comp run`: make everything that is missing, from folds to submissions."""

from typing import TYPE_CHECKING

from competition.cli.app import HERE, WorkspaceOption, app
from competition.cli.output import help_epilog
from competition.cli.scores import explain_marks, show_scores
from competition.core.commands import command_for
from competition.core.console import console
from competition.core.workspace import Workspace

if TYPE_CHECKING:
    import pandas as pd


@app.command(epilog=help_epilog("comp run"))
def run(workspace: WorkspaceOption = HERE) -> None:
    """Run everything that is missing or out of date.

    The order is folds, training, audit, ensembles, submission, scores. A run that was interrupted
    continues where it stopped.
    """
    from competition.pipeline.execute import execute
    from competition.pipeline.output_steps import SUBMISSION
    from competition.pipeline.steps import Pipeline
    from competition.scoring.standing import describe_standing

    space = Workspace.open(workspace)
    pipeline = Pipeline(space)
    made = execute(space, pipeline.steps())
    if not made:
        console.print("Nothing to do: everything is up to date.")
    board = _show_scores(space)
    for sentence in describe_standing(board):
        console.print(sentence)
    if pipeline.plan.card.has_test_rows:
        console.print(f"Submission: {space.submission(SUBMISSION)}    Scores: {space.scores}")
    else:
        console.print(f"No submission: the data have no test rows.    Scores: {space.scores}")
    report = command_for("comp report", workspace)
    console.print(f"Next: {report} shows where the runs are wrong.")


def _show_scores(space: Workspace) -> "pd.DataFrame":
    """Show every score of the workspace, and return them."""
    import pandas as pd

    # An empty cell of a text column is read as NaN.
    board = pd.read_csv(space.scores).astype({"label_paths": "str"}).fillna({"label_paths": ""})
    for _, lines in board.groupby(["task", "split", "group"], sort=False):
        show_scores(lines, "minus lexical")
    explain_marks(board)
    return board
