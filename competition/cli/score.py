"""`comp score`: grade an answer file with the labels of the test rows."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from competition.cli.app import HERE, WorkspaceOption, app
from competition.cli.options import TaskOption, open_contest
from competition.cli.output import OutputCell, help_epilog, show_table
from competition.core.console import console, warn
from competition.core.errors import pluralize
from competition.core.workspace import Workspace

if TYPE_CHECKING:
    from competition.scoring.evaluation import Counts
    from competition.scoring.task import Task


@app.command(epilog=help_epilog("comp score submissions/main/task1.csv --task task1"))
def score(
    file: Annotated[Path, typer.Argument(help="An answer file.")],
    task: TaskOption,
    protocol: Annotated[
        str,
        typer.Option(
            help="The gains that rankings are graded by: `paper`, or another of the competition, such as ESCI's "
            "`official_script`, which swaps substitute and complement."
        ),
    ] = "paper",
    allow_missing: Annotated[
        bool,
        typer.Option(help="Grade a file that lacks rows; the missing rows count as wrong."),
    ] = False,
    workspace: WorkspaceOption = HERE,
) -> None:
    """Grade an answer file with the labels of the test rows.

    Shows the task's metric over all queries and per locale, with 95 % intervals.
    """
    from competition.data import store
    from competition.scoring.submissions import check_answer, grade, read_answer

    space = Workspace.open(workspace)
    contest = open_contest(space)
    answered_task = contest.task(task)
    protocol = _current_protocol(protocol)
    if answered_task.ranks:
        contest.labels.check_protocol(protocol)

    examples = store.load_examples(space)
    answer = read_answer(file, str(file), answered_task)
    check_answer(answer, str(file), answered_task, examples, complete=not allow_missing)
    counts = grade(answer, answered_task, examples, protocol)

    _show_grades(file, answered_task, protocol, counts)


def _show_grades(file: Path, task: "Task", protocol: str, counts: "Counts") -> None:
    """Show each metric of a task by group, and how many queries it cannot grade."""
    from competition.scoring.evaluation import estimate_metrics

    rows = [
        [
            metric,
            group,
            estimate.queries,
            OutputCell(estimate.value, ".6f"),
            OutputCell([estimate.low, estimate.high], text=estimate.interval()),
        ]
        for metric, groups in estimate_metrics(counts).items()
        for group, estimate in groups.items()
    ]
    header = {
        "metric": "metric",
        "group": "group",
        "queries": "rows" if task.by_rows else "queries",
        "score": "score",
        "interval": "95 % interval",
    }
    show_table(
        f"{file.name}, {task.name}, protocol {protocol}",
        header,
        rows,
        left=2,
        file=file,
        task=task.name,
        protocol=protocol,
        ungraded=counts.ungraded,
    )
    if counts.ungraded:
        handling = "left out" if protocol == "paper" else "scored 0"
        queries = pluralize(counts.ungraded, "query", "queries")
        console.print(f"{queries} without a relevant product: {handling}.")


def _current_protocol(name: str) -> str:
    """Return today's name of a protocol: the old one works for one release."""
    if name != "released-script":
        return name

    warn(
        "--protocol released-script is now called official_script; the next release will not "
        "know the old name."
    )
    return "official_script"
