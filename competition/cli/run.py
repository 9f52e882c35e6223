"""`comp run`: everything that is missing, in order, to the submissions."""

from competition.cli.app import HERE, WorkspaceOption, app
from competition.cli.output import first_names
from competition.cli.scores import explain_marks, show_scores
from competition.core.console import console
from competition.core.workspace import Workspace


@app.command(epilog=first_names("comp run"))
def run(workspace: WorkspaceOption = HERE) -> None:
    """Do what is missing or out of date, in order: folds, training, audit, ensembles, submissions; then the scores."""
    from competition.pipeline.execute import execute
    from competition.pipeline.output_steps import SUBMISSION
    from competition.pipeline.steps import Pipeline

    space = Workspace.open(workspace)
    pipeline = Pipeline(space)
    made = execute(space, pipeline.steps())
    if not made:
        console.print("Nothing to do: everything is up to date.")
    _show_scores(space)
    console.print(f"Submission: {space.submission(SUBMISSION)}    Scores: {space.scores}")


def _show_scores(space: Workspace) -> None:
    import pandas as pd

    board = pd.read_csv(space.scores).fillna({"label_paths": ""})
    for _, lines in board.groupby(["task", "split", "group"], sort=False):
        show_scores(lines, "minus lexical")
    explain_marks(board)
