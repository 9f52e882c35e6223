"""`comp leaderboard`: what was submitted, and what the competition answered."""

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from competition.cli.app import HERE, WorkspaceOption, app
from competition.cli.options import complete_task, opened, task_named
from competition.cli.output import OutputCell, first_names, show
from competition.cli.scores import MARK
from competition.core.commands import pasteable
from competition.core.console import console
from competition.core.workspace import Workspace

if TYPE_CHECKING:
    import pandas as pd

group = typer.Typer(
    help="Show what was submitted, or record what the competition answered.",
    invoke_without_command=True,
    epilog=first_names("comp leaderboard"),
)
app.add_typer(group, name="leaderboard")


@group.callback()
def leaderboard(context: typer.Context, workspace: WorkspaceOption = HERE) -> None:
    """Show the log of submissions beside the competition's answers, newest last."""
    context.obj = workspace
    if context.invoked_subcommand is None:
        from competition.scoring.leaderboard import read_log

        space = Workspace.open(workspace)
        _show(space, read_log(space))


@group.command(
    epilog=first_names(
        "comp leaderboard add main --task task1 --public 0.8731",
        "comp leaderboard add main --task task2 --public 0.7412 --private 0.7398",
    )
)
def add(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="A submission, a folder of submissions/.")],
    public: Annotated[float | None, typer.Option(help="The public score, 0 to 1.")] = None,
    private: Annotated[float | None, typer.Option(help="The private score, 0 to 1.")] = None,
    task: Annotated[
        str | None,
        typer.Option(
            help="Of which file; needed where the submission has several.",
            autocompletion=complete_task,
        ),
    ] = None,
    workspace: WorkspaceOption = HERE,
) -> None:
    """Record what the competition answered to the newest file of a submission."""
    from competition.scoring.leaderboard import read_log, record_scores

    space = opened(context, workspace)
    asked = task_named(task).name if task else None
    line = record_scores(space, name, asked, {"public": public, "private": private})
    _show(space, read_log(space).loc[[line]])


def _show(space: Workspace, log: "pd.DataFrame") -> None:
    from competition.scoring.basis import APPROXIMATE

    header: dict[str, str | None] = {
        "time": "time (UTC)",
        "submission": "file",
        "task": None,
        "run": "run",
        "metric": None,
    }
    header |= {
        "out_of_fold": "out-of-fold [95 %]",
        "public": "public",
        "above": "above",
        "private": "private",
    }
    header |= dict.fromkeys(("can_move", "full_depth", "above_full_depth", "basis"))
    show(
        space.leaderboard.name,
        header,
        [
            _cells({str(name): cell for name, cell in line.items()})
            for line in log.to_dict("records")
        ],
        5,
    )
    if log["public"].any():
        console.print("above: the public score minus the out-of-fold score.")
    _say_groups(log)
    if (log["basis"] == APPROXIMATE).any():
        console.print(
            f"{MARK} approximate: labels reached the out-of-fold score that they grade, see `comp run`."
        )
    if log.empty:
        console.print(pasteable("Nothing was submitted yet: `comp submit` writes the files."))


def _say_groups(log: "pd.DataFrame") -> None:
    """Say what the newest line of each ranking scores over the lists that say something about ranking."""
    newest = log[log["can_move"] != ""].drop_duplicates(["submission", "task"], keep="last")
    for line in newest.to_dict("records"):
        said = f"{line['submission']}/{line['task']}: {float(line['can_move']):.4f} over lists whose order matters"
        if line["full_depth"]:
            said += f", {float(line['full_depth']):.4f} over lists of full depth"
            if line["public"]:
                said += f", which the public score is {float(line['public']) - float(line['full_depth']):+.4f} above"
        console.print(f"{said}.")


def _cells(line: dict[str, str]) -> list[object]:
    from competition.scoring.basis import APPROXIMATE
    from competition.scoring.leaderboard import format_minute, logged_estimate

    scores = ("out_of_fold", "low", "high", "public", "private", "can_move", "full_depth")
    value, low, high, public, private, *groups = (
        float(line[name]) if line[name] else None for name in scores
    )
    time = OutputCell(line["time"], text=format_minute(line["time"]))
    own = (
        None
        if value is None
        else logged_estimate(value, *(math.nan if end is None else end for end in (low, high)))
    )
    score = OutputCell(own and asdict(own) | {"queries": None}, text=str(own or ""))
    above = None if public is None or value is None else public - value
    file = OutputCell(line["submission"], text=f"{line['submission']}/{line['task']}")
    run = OutputCell(
        line["run"], text=f"{line['run']} {MARK}" if line["basis"] == APPROXIMATE else line["run"]
    )
    above_deep = None if public is None or groups[1] is None else public - groups[1]
    told = [line["task"], run, line["metric"]]
    return [
        time,
        file,
        *told,
        score,
        public,
        OutputCell(above, "+.4f"),
        private,
        *groups,
        above_deep,
        line["basis"],
    ]
