"""What several commands parse alike."""

from typing import TYPE_CHECKING

from competition.errors import InputError

if TYPE_CHECKING:
    from competition.tasks import Task


def task_named(name: str) -> "Task":
    """The task called `name`; raises InputError with the nearest name."""
    from competition.settings import nearest
    from competition.tasks import TASKS

    if name not in TASKS:
        raise InputError(f"There is no task {name!r}{nearest(name, TASKS)}: known are {', '.join(TASKS)}.")
    return TASKS[name]
