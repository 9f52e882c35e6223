"""`comp curve`: a learning curve over the number of training queries."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from competition.cli.app import HERE, WorkspaceOption, app
from competition.cli.options import complete_recipe
from competition.cli.output import OutputCell, help_epilog, show_table
from competition.core.console import console, progress
from competition.core.workspace import Workspace

if TYPE_CHECKING:
    from competition.analysis.learning_curve import CurvePoint
    from competition.scoring.task import Task


@app.command(epilog=help_epilog("comp curve --queries 30 --queries 40"))
def curve(
    ensemble: Annotated[
        str | None,
        typer.Argument(
            help="The ensemble whose members to train; default: the first of competition.toml.",
            autocompletion=complete_recipe,
            show_default=False,
        ),
    ] = None,
    queries: Annotated[
        list[int] | None,
        typer.Option(
            min=1,
            help="A number of training queries; can be repeated. Default: 250, 500 and 1,000 (those up to half of all "
            "queries), or a quarter and a half of all. All queries are always added.",
            show_default=False,
        ),
    ] = None,
    workspace: WorkspaceOption = HERE,
) -> None:
    """Measure what more training queries would gain.

    Trains lexical, the members and the ensemble on more and more queries. Each size includes the
    smaller ones, and all sizes are scored on the same held-out rows.
    """
    from competition.analysis.learning_curve import LearningCurve, describe_points
    from competition.analysis.report.charts import plot_learning_curves
    from competition.pipeline.execute import execute

    space = Workspace.open(workspace)
    study = LearningCurve.plan(space, queries or (), ensemble)
    execute(space, study.steps())
    with progress("comparison"):
        points = study.points()

    shown = {}
    tasks = study.contest.tasks
    for task in tasks:
        of_task = study.representatives([point for point in points if point.task == task])
        if of_task:
            shown[task] = of_task

    panels = {
        f"{task}, {tasks[task].metric.label}": _lines(of_task) for task, of_task in shown.items()
    }
    study.write(points, plot_learning_curves(study.ensemble, panels))

    for of_task in shown.values():
        _show(of_task, study.floor, tasks[of_task[0].task])
    for of_task in shown.values():
        console.print(describe_points(of_task, study.floor, tasks[of_task[0].task].metric))
    console.print(f"Table: {study.path}    Plot: {study.path.with_suffix('.svg')}")


def _lines(
    points: Sequence["CurvePoint"],
) -> dict[str, list[tuple[int, tuple[float, float, float]]]]:
    """Return model -> a list of training queries and (score, low, high)."""
    lines: dict[str, list[tuple[int, tuple[float, float, float]]]] = {}
    for point in points:
        interval = (point.score.value, point.score.low, point.score.high)
        lines.setdefault(point.model, []).append((point.queries, interval))
    return lines


def _show(points: Sequence["CurvePoint"], floor: str, task: "Task") -> None:
    """Show the curve of a task: a row per size and model."""
    first = points[0]
    header = {
        "train_queries": "queries",
        "train_rows": None,
        "model": "model",
        "score": f"{task.metric.label} [95 %]",
        "above_floor": f"minus {floor}",
        "gained": "minus fewer queries",
    }
    rows = [
        [
            point.queries,
            point.rows,
            point.model,
            point.score,
            OutputCell(point.above_floor, "+"),
            OutputCell(point.gained, "+"),
        ]
        for point in points
    ]

    scored = task.count_units(first.score.queries)
    if first.group != "all":
        scored += f" with {first.group}"
    title = f"{first.task}, out-of-fold, {scored}, by training queries"
    show_table(title, header, rows, left=3, task=first.task, group=first.group, floor=floor)
