"""Options that several commands share, with shell completion."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from competition.cli.app import HERE
from competition.core.errors import unknown_name
from competition.core.workspace import Workspace

if TYPE_CHECKING:
    from competition.scoring.tasks import Task


def complete_task(incomplete: str) -> list[str]:
    """Return the tasks that begin with what was typed."""
    from competition.scoring.tasks import TASKS

    return [name for name in TASKS if name.startswith(incomplete)]


def complete_recipe(context: typer.Context, incomplete: str) -> list[str]:
    """Return the workspace's and the built-in recipes that begin with what was typed."""
    from competition.config.settings import recipe_names

    workspace = Workspace(context.params.get("workspace") or HERE)
    return [name for name in recipe_names(workspace) if name.startswith(incomplete)]


TaskOption = Annotated[
    str, typer.Option(help="The task: task1, task2 or task3.", autocompletion=complete_task)
]


def parse_task(name: str) -> "Task":
    """Return the task called `name`; raise InputError with the nearest name if there is none."""
    from competition.scoring.tasks import TASKS

    if name not in TASKS:
        raise unknown_name("task", name, TASKS)
    return TASKS[name]


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
