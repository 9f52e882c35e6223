"""What several commands parse alike, and how a shell completes it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from competition.cli.app import HERE
from competition.core.errors import unknown_name
from competition.core.workspace import Workspace

if TYPE_CHECKING:
    from competition.scoring.tasks import Task


def complete_task(incomplete: str) -> list[str]:
    """The tasks that begin like what was typed."""
    from competition.scoring.tasks import TASKS

    return [name for name in TASKS if name.startswith(incomplete)]


def complete_recipe(context: typer.Context, incomplete: str) -> list[str]:
    """The recipes of the workspace, and those that are built in, that begin like what was typed."""
    from competition.config.settings import recipe_names

    workspace = Workspace(context.params.get("workspace") or HERE)
    return [name for name in recipe_names(workspace) if name.startswith(incomplete)]


TaskOption = Annotated[
    str, typer.Option(help="The task that it answers.", autocompletion=complete_task)
]


def parse_task(name: str) -> "Task":
    """The task called `name`; raises InputError with the nearest name."""
    from competition.scoring.tasks import TASKS

    if name not in TASKS:
        raise unknown_name("task", name, TASKS)
    return TASKS[name]


def open_workspace(context: typer.Context, workspace: Path) -> Workspace:
    """The workspace that was named behind a subcommand, or before it."""
    return Workspace.open(context.obj if workspace == HERE else workspace)


def parse_tracker(name: str) -> str:
    """The experiment tracker called `name`; raises InputError with the nearest name."""
    from typing import get_args

    from competition.config.keys import Tracker

    known = get_args(Tracker)
    if name not in known:
        raise unknown_name("tracker", name, known)
    return name
