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


def tracker_named(name: str) -> str:
    """The experiment tracker called `name`; raises InputError with the nearest name."""
    from typing import get_args

    from competition.keys import Tracker
    from competition.settings import nearest

    known = get_args(Tracker)
    if name not in known:
        raise InputError(f"There is no tracker {name!r}{nearest(name, known)}: known are {', '.join(known)}.")
    return name
