"""`comp ablate`: the published ablations on this workspace's rows."""

from typing import TYPE_CHECKING, Annotated

import typer

from competition.cli.app import HERE, WorkspaceOption, app, show
from competition.progress import console
from competition.workspace import Workspace

if TYPE_CHECKING:
    from competition.ablation import Line


@app.command()
def ablate(
    table: Annotated[str, typer.Argument(help="pretraining, losses, methods or char3.")],
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds each row is trained with.")] = 1,
    fold: Annotated[int | None, typer.Option(help="One fold alone; all folds unless named.")] = None,
    workspace: WorkspaceOption = HERE,
) -> None:
    """Train the rows of a published table over the same folds and seeds and compare each with the one before it."""
    from competition.ablation import Ablation
    from competition.pipeline import execute

    space = Workspace.open(workspace)
    ablation = Ablation.plan(space, table, seeds, fold)
    execute(space, ablation.steps())
    tables = ablation.lines()
    ablation.write(tables)
    for measured, lines in tables.items():
        _show(f"{table} (table {ablation.table.number} of the paper): {measured}", lines, seeds)
    console.print("Intervals are over queries (titles); what another seed would have given is not in them.")
    console.print(f"Table: {ablation.path}")


def _show(title: str, lines: list["Line"], seeds: int) -> None:
    header = ["row", f"{lines[0].metric} [95 %]", "minus the row before", "significant", "paper", "paper, minus"]
    title += f", {lines[0].score.queries:,} held out"
    rows = [_cells(*pair) for pair in zip(lines, [None, *lines], strict=False)]
    if seeds > 1:
        title += f", mean of {seeds} seeds"
        header.append("deviation of seeds")
        rows = [[*row, f"{line.deviation:.4f}" if line.of_seeds else ""] for row, line in zip(rows, lines, strict=True)]
    show(title, header, rows)
    first = next(line for line in lines if line.of_seeds)
    if len(lines) > 1 and (difference := lines[-1].to_first) is not None:
        console.print(f"{lines[-1].name} minus {first.name}: {difference:+}")


def _cells(line: "Line", before: "Line | None") -> list[str]:
    said = "" if line.difference is None else "yes" if line.significant else "no"
    moved = line.paper - before.paper if before and line.paper and before.paper else None
    return [
        line.name,
        str(line.score),
        f"{line.difference:+}" if line.difference else "",
        said,
        f"{line.paper:.4f}" if line.paper else "",
        f"{moved:+.4f}" if moved is not None else "",
    ]
