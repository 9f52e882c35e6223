"""`comp check`: refuse an answer file that a leaderboard would refuse."""

from pathlib import Path
from typing import Annotated

import typer

from competition.cli.app import HERE, WorkspaceOption, app
from competition.cli.options import TaskOption, open_contest
from competition.cli.output import help_epilog, show_table
from competition.core.workspace import Workspace


@app.command(epilog=help_epilog("comp check submissions/main/task1.csv --task task1"))
def check(
    file: Annotated[Path, typer.Argument(help="An answer file.")],
    task: TaskOption,
    workspace: WorkspaceOption = HERE,
) -> None:
    """Check that the leaderboard would accept an answer file.

    If not, the first wrong row is named.
    """
    from competition.data import store
    from competition.scoring.submissions import check_answer, read_answer

    space = Workspace.open(workspace)
    answered_task = open_contest(space).task(task)
    examples = store.load_examples(space)
    answer = read_answer(file, str(file), answered_task)
    check_answer(answer, str(file), answered_task, examples)

    show_table(
        f"{file.name}: a valid answer to {answered_task.name}",
        ["file", "task", "rows"],
        [[file, answered_task.name, len(answer)]],
        left=2,
    )
