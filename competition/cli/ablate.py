"""`comp ablate`: the published ablations, and that of tuning, on this workspace's rows."""

from typing import TYPE_CHECKING, Annotated

import typer

from competition.cli.app import HERE, WorkspaceOption, app
from competition.cli.output import OutputCell, first_names, show
from competition.core.console import console
from competition.core.workspace import Workspace

if TYPE_CHECKING:
    from competition.scoring.metrics import Estimate
    from competition.scoring.paired import FlawedRow, PairedRow


@app.command(
    epilog=first_names("comp ablate losses --fold 0", "comp ablate noise --recipe lexical --fold 0")
)
def ablate(
    table: Annotated[
        str, typer.Argument(help="pretraining, losses, methods, noise, char3 or tuning.")
    ],
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds each row is trained with.")] = 1,
    fold: Annotated[
        int | None, typer.Option(help="One fold alone; all folds unless named.")
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(help="What rows differ from; the table's own recipe unless named.")
    ] = None,
    nested: Annotated[
        bool,
        typer.Option(
            "--nested", help="Of `noise`: learn from models that never saw the fold that is scored."
        ),
    ] = False,
    workspace: WorkspaceOption = HERE,
) -> None:
    """Train the rows of a table, a published one or `tuning`, over the same folds and seeds and compare them in pairs.

    Each row is compared with the one before it, those of `noise` with the first.
    """
    from competition.analysis.ablation import Ablation
    from competition.pipeline.execute import execute

    space = Workspace.open(workspace)
    ablation = Ablation.plan(space, table, seeds, fold, recipe, nested)
    execute(space, ablation.steps())
    tables, flattered = ablation.lines(), ablation.flattered()
    ablation.write(tables, flattered)
    number = ablation.table.number
    about = table if number is None else f"{table} (table {number} of the paper)"
    about += ", nested" if nested else ""
    for measured, lines in tables.items():
        _show(f"{about}: {measured}", lines, seeds, ablation.table.labels)
    for task, found in flattered.items():
        _show_flattered(
            f"Flawed on purpose: rows that the audit drops are left out of the evaluation, too; {task}",
            found,
        )
    if ablation.table.labels and not nested:
        console.print(
            "Approximate: the audit and the teacher saw the labels of the fold that is scored; see --nested."
        )
    console.print(
        "Intervals are over queries (titles); what another seed would have given is not in them."
    )
    console.print(f"Table: {ablation.path}")


def _show(title: str, lines: list["PairedRow"], seeds: int, to_first: bool) -> None:
    first = next(line for line in lines if line.of_seeds)
    header = {"row": "row", "score": f"{lines[0].metric} [95 %]"}
    header["difference"] = f"minus {first.name}" if to_first else "minus the row before"
    header |= {"significant": "significant", "paper": "paper", "paper_minus": "paper, minus"}
    title += f", {lines[0].score.queries:,} held out"
    rows = [
        _cells(line, (line.to_first or line.difference) if to_first else line.difference)
        for line in lines
    ]
    if to_first:
        console.print(f"The difference of {first.name} is to {lines[0].name}, which costs nothing.")
    if seeds > 1:
        title += f", mean of {seeds} seeds"
        header["deviation"] = "deviation of seeds"
        rows = [[*row, line.deviation] for row, line in zip(rows, lines, strict=True)]
    show(title, header, rows, metric=lines[0].metric, seeds=seeds)
    if not to_first and len(lines) > 1 and (difference := lines[-1].to_first) is not None:
        console.print(f"{lines[-1].name} minus {first.name}: {difference:+}")


def _cells(line: "PairedRow", difference: "Estimate | None") -> list[object]:
    significant = difference.differs if difference else None
    return [
        line.name,
        line.score,
        OutputCell(difference, "+"),
        significant,
        line.paper or None,
        OutputCell(line.paper_minus, "+.4f"),
    ]


def _show_flattered(title: str, rows: list["FlawedRow"]) -> None:
    header = {
        "row": "row",
        "score": f"{rows[0].metric} without them",
        "flatters": "minus the same on all rows",
        "claim": f"minus {rows[0].name} on all rows",
    }
    cells = [
        [row.name, row.score, OutputCell(row.flatters, "+"), OutputCell(row.claim, "+")]
        for row in rows
    ]
    show(title, header, cells, metric=rows[0].metric)
