"""`comp check`: would the leaderboard take this file?"""

from pathlib import Path
from typing import Annotated

import typer

from competition.cli.app import HERE, WorkspaceOption, app
from competition.cli.options import TaskOption, parse_task
from competition.cli.output import help_epilog, show_table
from competition.core.workspace import Workspace


@app.command(epilog=help_epilog("comp check submissions/main/task1.csv --task task1"))
def check(
    file: Annotated[Path, typer.Argument(help="An answer file.")],
    task: TaskOption,
    workspace: WorkspaceOption = HERE,
) -> None:
    """Check an answer file against the test rows; the first offending row is named."""
    from competition.data import store
    from competition.scoring.submissions import check_answer, read_answer

    asked = parse_task(task)
    examples = store.load_examples(Workspace.open(workspace))
    answer = read_answer(file, str(file), asked)
    check_answer(answer, str(file), asked, examples)
    show_table(
        f"{file.name}: a valid answer to {asked.name}",
        ["file", "task", "rows"],
        [[file, asked.name, len(answer)]],
        2,
    )
