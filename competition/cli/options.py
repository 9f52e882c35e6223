"""What several commands parse alike."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from competition.cli.app import HERE
from competition.errors import InputError
from competition.workspace import Workspace

if TYPE_CHECKING:
    from competition.tasks import Task


def task_named(name: str) -> "Task":
    """The task called `name`; raises InputError with the nearest name."""
    from competition.settings import nearest
    from competition.tasks import TASKS

    if name not in TASKS:
        raise InputError(f"There is no task {name!r}{nearest(name, TASKS)}: known are {', '.join(TASKS)}.")
    return TASKS[name]


def opened(context: typer.Context, workspace: Path) -> Workspace:
    """The workspace that was named behind a subcommand, or before it."""
    return Workspace.open(context.obj if workspace == HERE else workspace)
