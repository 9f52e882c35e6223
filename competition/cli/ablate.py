"""`comp ablate`: tables of recipes that differ in some keys, the paper's and a user's own, on the workspace's rows."""

from typing import TYPE_CHECKING, Annotated

import typer

from competition.cli.app import HERE, WorkspaceOption, app
from competition.cli.output import OutputCell, help_epilog, show_table
from competition.core.console import console
from competition.core.workspace import Workspace

if TYPE_CHECKING:
    from competition.scoring.intervals import Estimate
    from competition.scoring.paired import FlawedRow, PairedRow


@app.command(
    epilog=help_epilog(
        "comp ablate losses --fold 0",
        "comp ablate noise --recipe lexical --fold 0",
        "comp ablate mine.toml --seeds 3",
    )
)
def ablate(
    table: Annotated[
        str,
        typer.Argument(
            help="A TOML file, or a table that is included: pretraining, losses, methods, noise, char3, "
            "tuning or ranking."
        ),
    ],
    seeds: Annotated[int, typer.Option(min=1, help="Number of seeds to train each row with.")] = 1,
    fold: Annotated[
        int | None, typer.Option(help="Train one fold only; default: all folds.")
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(help="The recipe that the rows change; default: the table's own recipe."),
    ] = None,
    nested: Annotated[
        bool,
        typer.Option(
            "--nested",
            help="For `noise`: audits and teachers that have never seen the labels of the scored fold.",
        ),
    ] = False,
    workspace: WorkspaceOption = HERE,
) -> None:
    """Train a table of recipes and compare its rows.

    A table is a TOML file of your own, or one that is included: those of the paper, `tuning`, for an
    encoder of your own, and `ranking`, losses of whole lists. Its rows are recipes that differ in some
    keys. All are trained on the same folds and seeds and compared in pairs over queries, each with the row
    before it or with the first.
    """
    from competition.analysis.ablation import Ablation
    from competition.pipeline.execute import execute
    from competition.scoring.basis import describe_basis

    space = Workspace.open(workspace)
    ablation = Ablation.plan(space, table, seeds, fold, recipe, nested)
    execute(space, ablation.steps())
    tables = ablation.lines()
    flattered = ablation.flattered()
    ablation.write(tables, flattered)

    number = ablation.table.number
    title = ablation.name
    if number is not None:
        title += f" (table {number} of the paper)"
    if nested:
        title += ", nested"
    for measured, lines in tables.items():
        _show(f"{title}: {measured}", lines, seeds, ablation.table.to_first)
    for task, rows in flattered.items():
        _show_biased(
            f"{task}, evaluated without the rows that the audit drops (biased, as a warning)", rows
        )

    if ablation.table.audits and not ablation.dropped_rows:
        console.print(
            "The audit drops no row, so scores without the rows that it drops are those above."
        )

    for row, paths in ablation.label_paths().items():
        console.print(f"{row} is {describe_basis(paths)}.")
    if ablation.table.learns and not nested:
        console.print(
            "With --nested, audits and teachers have not seen the labels of the scored fold."
        )
    console.print(
        "Intervals are over queries (or titles); they do not include the variation between seeds."
    )
    console.print(f"Table: {ablation.path}")


def _show(title: str, lines: list["PairedRow"], seeds: int, to_first: bool) -> None:
    """Show a table whose rows are compared with the first one, or each with the one before."""
    first = next(line for line in lines if line.of_seeds)
    title += f", {lines[0].score.queries:,} held out"
    header = {
        "row": "row",
        "score": f"{lines[0].metric} [95 %]",
        "difference": f"minus {first.name}" if to_first else "minus the row before",
        "significant": "significant",
        "paper": "paper",
        "paper_minus": "paper, minus",
    }
    rows = []
    for line in lines:
        # The first row has no difference to itself, but one to the trivial baseline above it.
        difference = (line.to_first or line.difference) if to_first else line.difference
        rows.append(_cells(line, difference))

    if to_first:
        console.print(f"{first.name} is compared with {lines[0].name}, the trivial baseline.")
    if seeds > 1:
        title += f", mean of {seeds} seeds"
        header["deviation"] = "std over seeds"
        rows = [[*row, line.deviation] for row, line in zip(rows, lines, strict=True)]
    show_table(title, header, rows, metric=lines[0].metric, seeds=seeds)

    total = lines[-1].to_first
    if not to_first and len(lines) > 1 and total is not None:
        console.print(f"{lines[-1].name} minus {first.name}: {total:+}")


def _cells(line: "PairedRow", difference: "Estimate | None") -> list[object]:
    return [
        line.name,
        line.score,
        OutputCell(difference, "+"),
        difference.differs if difference else None,
        line.paper or None,
        OutputCell(line.paper_minus, "+.4f"),
    ]


def _show_biased(title: str, rows: list["FlawedRow"]) -> None:
    """Show scores without the rows that the audit drops, beside those on all rows."""
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
    show_table(title, header, cells, metric=rows[0].metric)
