"""`comp leaderboard`: the log of submissions and their public and private scores."""

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from competition.cli.app import HERE, WorkspaceOption, app
from competition.cli.options import complete_task, open_contest, open_workspace
from competition.cli.output import OutputCell, help_epilog, show_table
from competition.cli.scores import APPROXIMATE_MARK, mark_run
from competition.core.commands import pasteable
from competition.core.console import console
from competition.core.workspace import Workspace

if TYPE_CHECKING:
    import pandas as pd

group = typer.Typer(
    help="Show or record the scores of submissions.",
    invoke_without_command=True,
    epilog=help_epilog("comp leaderboard"),
)
app.add_typer(group, name="leaderboard")


@group.callback()
def leaderboard(context: typer.Context, workspace: WorkspaceOption = HERE) -> None:
    """Show the log of submissions with their public and private scores, newest last."""
    context.obj = workspace
    if context.invoked_subcommand is None:
        from competition.scoring.leaderboard import read_log

        space = Workspace.open(workspace)
        _show(space, read_log(space))


@group.command(
    epilog=help_epilog(
        "comp leaderboard add main --task task1 --public 0.8731",
        "comp leaderboard add main --task task2 --public 0.7412 --private 0.7398",
    )
)
def add(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The submission: a folder in submissions/.")],
    public: Annotated[float | None, typer.Option(help="Its public score.")] = None,
    private: Annotated[float | None, typer.Option(help="Its private score.")] = None,
    task: Annotated[
        str | None,
        typer.Option(
            help="The task that the score is for; needed if the submission answers several.",
            autocompletion=complete_task,
        ),
    ] = None,
    workspace: WorkspaceOption = HERE,
) -> None:
    """Record the score that the competition gave to the newest file of a submission."""
    from competition.scoring.leaderboard import read_log, record_scores

    space = open_workspace(context, workspace)
    contest = open_contest(space)
    tasks = [contest.task(task)] if task else list(contest.tasks.values())
    # Without a task, the only one that was submitted is meant, whichever it is.
    bounds = [each.metric.within for each in tasks]
    within = min(low for low, _ in bounds), max(high for _, high in bounds)
    scores = {"public": public, "private": private}
    line = record_scores(space, name, tasks[0].name if task else None, scores, within)
    _show(space, read_log(space).loc[[line]])


def _show(space: Workspace, log: "pd.DataFrame") -> None:
    from competition.scoring.basis import APPROXIMATE

    # A heading of None is a column for JSON alone.
    header: dict[str, str | None] = {
        "time": "time (UTC)",
        "submission": "file",
        "task": None,
        "run": "run",
        "leading": "out-of-fold [95 %]",
        "group": None,
        "metric": None,
        "out_of_fold": None,
        "public": "public" if log["public"].any() else None,
        "above": None,
        "above_leading": "above" if log["public"].any() else None,
        "private": "private" if log["private"].any() else None,
        "can_move": None,
        "full_depth": None,
        "above_full_depth": None,
        "basis": None,
    }
    lines = [{str(name): cell for name, cell in line.items()} for line in log.to_dict("records")]
    show_table(space.leaderboard.name, header, [_cells(line) for line in lines], left=4)

    if log["public"].any():
        console.print("above: public score minus the out-of-fold score of the table.")
    _print_ranking_scores(log)
    if (log["basis"] == APPROXIMATE).any():
        console.print(
            f"{APPROXIMATE_MARK} approximate: the run has learned from labels that it is scored on; "
            "`comp run` shows how."
        )
    if log.empty:
        console.print(pasteable("No submission yet: `comp submit` writes the files."))


def _print_ranking_scores(log: "pd.DataFrame") -> None:
    """Compare the newest public score of each ranking with its scores over other queries than those of the table."""
    ranked = log[(log["can_move"] != "") & (log["public"] != "")]
    newest = ranked.drop_duplicates(["submission", "task"], keep="last")

    for line in newest.to_dict("records"):
        others = {"all queries": line["out_of_fold"]}
        if line["full_depth"]:
            others["queries whose products have different labels"] = line["can_move"]
        scores = (
            f"{float(score):.4f} over {over} (public score: {float(line['public']) - float(score):+.4f})"
            for over, score in others.items()
        )
        console.print(f"{line['submission']}/{line['task']}: {', '.join(scores)}.")


def _cells(line: dict[str, str]) -> list[object]:
    """Return a line of the log as the cells of the table."""
    from competition.scoring.evaluation import DEEP, MOVABLE
    from competition.scoring.leaderboard import format_minute, logged_estimate

    def number(column: str) -> float | None:
        return float(line[column]) if line[column] else None

    def difference(column: str) -> OutputCell:
        """Return the public score minus another."""
        if public is None or (other := number(column)) is None:
            return OutputCell(None, "+.4f")
        return OutputCell(public - other, "+.4f")

    # Of a ranking, the score over the queries that tell runs apart.
    groups = {DEEP: number("full_depth"), MOVABLE: number("can_move")}
    over = next((name for name, value in groups.items() if value is not None), "all")
    leading = groups.get(over)

    public = number("public")
    out_of_fold = number("out_of_fold")
    score = None
    if out_of_fold is not None:
        # Fewer than ten queries have no interval.
        bounds = (number("low"), number("high"))
        score = logged_estimate(out_of_fold, *(math.nan if end is None else end for end in bounds))

    cell = OutputCell(number("out_of_fold"), text=str(score or ""))
    if leading is not None:
        cell = OutputCell(leading, text=f"{leading:.4f} ({over})")

    return [
        OutputCell(line["time"], text=format_minute(line["time"])),
        OutputCell(line["submission"], text=f"{line['submission']}/{line['task']}"),
        line["task"],
        mark_run(line["run"], line["basis"]),
        cell,
        over,
        line["metric"],
        OutputCell(score and asdict(score) | {"queries": None}, text=str(score or "")),
        public,
        difference("out_of_fold"),
        difference({DEEP: "full_depth", MOVABLE: "can_move"}.get(over, "out_of_fold")),
        number("private"),
        number("can_move"),
        number("full_depth"),
        difference("full_depth"),
        line["basis"],
    ]
