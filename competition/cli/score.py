"""`comp score`: grade a file against the labels of the test rows."""

from pathlib import Path
from typing import Annotated

import typer

from competition.cli.app import HERE, WorkspaceOption, app
from competition.cli.options import TaskOption, parse_task
from competition.cli.output import OutputCell, help_epilog, show_table
from competition.core.console import console
from competition.core.errors import pluralize, unknown_name
from competition.core.workspace import Workspace


@app.command(epilog=help_epilog("comp score submissions/main/task1.csv --task task1"))
def score(
    file: Annotated[Path, typer.Argument(help="An answer file.")],
    task: TaskOption,
    protocol: Annotated[
        str, typer.Option(help="paper, or released-script, which swaps the gains of S and C.")
    ] = "paper",
    allow_missing: Annotated[
        bool, typer.Option(help="Grade a file that lacks rows; they add nothing.")
    ] = False,
    workspace: WorkspaceOption = HERE,
) -> None:
    """Grade an answer file: the task's metric over all queries and per locale, with intervals over queries."""
    from competition.data import store
    from competition.scoring.evaluation import estimates
    from competition.scoring.submissions import check_answer, grade, read_answer
    from competition.scoring.tasks import GAINS

    asked = parse_task(task)
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
        for metric, groups in estimates(counts).items()
        for group, e in groups.items()
    ]
    show_table(
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
        said = "scored 0" if protocol == "released-script" else "left out"
        console.print(
            f"Without any gain, hence {said}: {pluralize(counts.ungraded, 'query', 'queries')}."
        )
