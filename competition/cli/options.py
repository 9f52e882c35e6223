"""Options that several commands share, with shell completion."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from competition.cli.app import HERE
from competition.core.errors import unknown_name
from competition.core.workspace import Workspace

if TYPE_CHECKING:
    from competition.scoring.contest import Contest


def complete_task(context: typer.Context, incomplete: str) -> list[str]:
    """Return the workspace's tasks that begin with what was typed."""
    contest = stated_contest(Workspace(context.params.get("workspace") or HERE))
    return [name for name in contest.tasks if name.startswith(incomplete)]


def complete_recipe(context: typer.Context, incomplete: str) -> list[str]:
    """Return the workspace's and the built-in recipes that begin with what was typed."""
    from competition.config.settings import recipe_names

    workspace = Workspace(context.params.get("workspace") or HERE)
    return [name for name in recipe_names(workspace) if name.startswith(incomplete)]


TaskOption = Annotated[
    str,
    typer.Option(help="A task of the competition, such as task1.", autocompletion=complete_task),
]


def stated_contest(workspace: Workspace) -> "Contest":
    """Return the contest of a workspace, as its definition states it."""
    from competition.config.settings import read_settings

    _, contest = read_settings(workspace)
    return contest


def open_contest(workspace: Workspace) -> "Contest":
    """Return the contest of a workspace, with what its data say if it has any."""
    from competition.data.store import load_card

    contest = stated_contest(workspace)
    has_data = workspace.data_card.is_file()
    return contest.completed(load_card(workspace).found) if has_data else contest


def parse_tracker(name: str) -> str:
    """Return the name of an experiment tracker; raise InputError with the nearest name if unknown."""
    from typing import get_args

    from competition.config.keys import Tracker

    known = get_args(Tracker)
    if name not in known:
        raise unknown_name("tracker", name, known)
    return name


def open_workspace(context: typer.Context, workspace: Path) -> Workspace:
    """Open the workspace of a subcommand, whose `-w` may stand before it: `comp data -w work sample`."""
    return Workspace.open(context.obj if workspace == HERE else workspace)
