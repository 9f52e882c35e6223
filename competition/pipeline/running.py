"""What the commands of a workspace build now, for whoever looks: a note of each command beside the locks."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from competition.core.locks import HOST, hold_note, live_notes, this_process, utc_now
from competition.core.workspace import Workspace


@dataclass(frozen=True)
class RunningStep:
    """A step that is built now."""

    name: str
    host: str  # where; empty while it waits for a machine that has room
    since: str  # by the clock of the machine that the command runs on; for people, never compared


@dataclass(frozen=True)
class RunningCommand:
    """A command that builds steps of a workspace."""

    host: str
    pid: int
    command: str
    steps: tuple[RunningStep, ...]
    left: str  # the time left, in words; empty before it is known


class Announcement:
    """Says what this command builds, to `running_commands`."""

    def __init__(self, write: Callable[[Mapping[str, Any]], None]) -> None:
        self._write = write
        self._steps: dict[str, RunningStep] = {}
        self._left = ""

    def begin(self, name: str, host: str = HOST) -> None:
        """Say that a step begins, or that it begins on another machine than it was said to."""
        self._steps[name] = RunningStep(name, host, utc_now())
        self._say()

    def end(self, name: str, left: str | None = None) -> None:
        """Say that a step has ended, and the time left where it has changed."""
        self._steps.pop(name, None)
        self._left = self._left if left is None else left
        self._say()

    def _say(self) -> None:
        steps = [asdict(step) for step in self._steps.values()]
        self._write(this_process() | {"steps": steps, "left": self._left})


def note_of_this_process(workspace: Workspace) -> Path:
    """Return the file of the note."""
    return workspace.running / f"{HOST}.{os.getpid()}"


@contextmanager
def announce(workspace: Workspace) -> Iterator[Announcement]:
    """Let others see what is built within."""
    with hold_note(note_of_this_process(workspace)) as write:
        yield Announcement(write)


def running_commands(workspace: Workspace) -> list[RunningCommand]:
    """Return the commands that build steps of a workspace now, and live."""
    return [
        RunningCommand(
            note["host"],
            note["pid"],
            note["command"],
            tuple(RunningStep(**step) for step in note["steps"]),
            note["left"],
        )
        for note in live_notes(workspace.running)
        if note
    ]
