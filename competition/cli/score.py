"""`comp score`: grade a file against the labels of the test rows."""

from pathlib import Path
from typing import Annotated

import typer

from competition.cli.app import HERE, WorkspaceOption, app
from competition.cli.options import TaskOption, task_named
from competition.cli.output import OutputCell, first_names, show
from competition.core.console import console, warn
from competition.core.errors import pluralize, unknown_name
from competition.core.workspace import Workspace


@app.command(epilog=first_names("comp score submissions/main/task1.csv --task task1"))
def score(
    file: Annotated[Path, typer.Argument(help="An answer file.")],
    task: TaskOption,
    protocol: Annotated[
        str, typer.Option(help="paper, or official_script, which swaps the gains of S and C.")
    ] = "paper",
    allow_missing: Annotated[
        bool, typer.Option(help="Grade a file that lacks rows; they add nothing.")
    ] = False,
    workspace: WorkspaceOption = HERE,
) -> None:
    """Grade an answer file: the task's metric over all queries and per locale, with intervals over queries."""
    from competition.data import store
    from competition.scoring.evaluation import estimate_metrics
    from competition.scoring.submissions import check_answer, grade, read_answer
    from competition.scoring.tasks import GAINS

    asked = task_named(task)
    if protocol == "released-script":
        warn(
            "--protocol released-script is now called official_script; the next release will not know the old name."
        )
        protocol = "official_script"
    if protocol not in GAINS:
        raise unknown_name("protocol", protocol, GAINS)
    examples = store.load_examples(Workspace.open(workspace))
    answer = read_answer(file, str(file), asked)
    check_answer(answer, str(file), asked, examples, complete=not allow_missing)
    counts = grade(answer, asked, examples, protocol)
    rows = [
        [
            metric,
            group,
            e.queries,
            OutputCell(e.value, ".6f"),
            OutputCell([e.low, e.high], text=e.interval()),
        ]
        for metric, groups in estimate_metrics(counts).items()
        for group, e in groups.items()
    ]
    show(
        f"{file.name}, {task}, protocol {protocol}",
        {
            "metric": "metric",
            "group": "queries of",
            "queries": "count",
            "score": "score",
            "interval": "95 % interval",
        },
        rows,
        2,
        file=file,
        task=asked.name,
        protocol=protocol,
        ungraded=counts.ungraded,
    )
    if counts.ungraded:
        said = "scored 0" if protocol == "official_script" else "left out"
        console.print(
            f"Without any gain, hence {said}: {pluralize(counts.ungraded, 'query', 'queries')}."
        )
