"""A process that builds one step of a workspace after the other, as another process names them.

What it says goes to the other process through a pipe, as tuples: a line of text, a change of a line
of progress, or how a step ended.
"""

from __future__ import annotations

import io
import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from itertools import count
from multiprocessing import parent_process
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING

from rich.progress import TaskID

from competition.config.recipe import MemberRecipe
from competition.core import distributed
from competition.core.commands import set_workspace
from competition.core.console import console, drawn_by
from competition.core.errors import CompError, Diverged, InputError
from competition.core.signals import Interrupted, install_handlers
from competition.core.workspace import DATA_LOCK, Workspace
from competition.pipeline.execute import Step, in_order

if TYPE_CHECKING:
    from competition.pipeline.steps import Pipeline

Send = Callable[..., None]


@dataclass(frozen=True)
class Built:
    """A step is there: whether it was built here, and its summary in a line."""

    here: bool
    summary: str = ""


@dataclass(frozen=True)
class Failed:
    """A step is not there: why; a signal is None."""

    error: Exception | None


@dataclass(frozen=True)
class Lost:
    """A step is not there, and nothing is wrong with it: its process or its machine has died."""

    why: str


@dataclass(frozen=True)
class Settings:
    """How a worker behaves."""

    root: Path  # of the workspace
    named: Path  # as the user named it
    quiet: bool
    has_bars: bool  # whether the other process draws progress


@dataclass(frozen=True)
class Order:
    """A step that is to be built.

    Attributes:
        name: of the step.
        fingerprint: that it must have.
        recipe: that has the step, where the workspace may not ask for it; no file need hold it.
    """

    name: str
    fingerprint: str
    recipe: MemberRecipe | None = None


@dataclass
class Opened:
    """A workspace that this process builds steps of, which share tables."""

    workspace: Workspace
    steps: dict[str, Step] = field(default_factory=dict)  # that are known, by their names
    _pipeline: Pipeline | None = None

    def find(self, order: Order) -> Step | None:
        """Return the step of an order; None where there is no such step, or another of that name."""
        from competition.pipeline.steps import Pipeline

        if self._pipeline is None:
            pipeline = Pipeline(self.workspace)
            self.steps |= {step.name: step for step in pipeline.steps()}
            self._pipeline = pipeline
        if order.recipe is not None and order.name not in self.steps:
            self._pipeline.recipes.add(order.recipe)
            steps = in_order(self._pipeline.recipe_steps(order.recipe.name))
            self.steps |= {step.name: step for step in steps}

        step = self.steps.get(order.name)
        return step if step is not None and step.fingerprint == order.fingerprint else None


def serve(connection: Connection, settings: Settings) -> None:
    """Build the steps that are ordered through a connection, until it is closed."""
    # Ctrl-C reaches all processes of a terminal: the other one hears it, and ends this one by SIGTERM.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    threading.Thread(target=_end_with_parent, daemon=True).start()

    lock = threading.Lock()

    def send(*message: object) -> None:
        try:
            with lock:
                connection.send(message)
        except OSError:
            # The other process has died: SIGTERM is on its way.
            pass

    opened = Opened(Workspace(settings.root))
    with spoken_through(send, settings):
        while (order := _receive(connection)) is not None:
            send("end", attempt(opened, order))


@contextmanager
def spoken_through(send: Send, settings: Settings) -> Iterator[None]:
    """Send all that is written and drawn within."""
    console.quiet = settings.quiet
    set_workspace(settings.named)
    with (
        redirect_stdout(_Lines(send, "stdout")),
        redirect_stderr(_Lines(send, "stderr")),
        drawn_by(_Board(send)) if settings.has_bars else nullcontext(),
    ):
        yield


def _receive(connection: Connection) -> Order | None:
    try:
        order = connection.recv()
    except (EOFError, OSError):
        return None
    assert isinstance(order, Order)
    return order


def _end_with_parent() -> None:
    """Ask this process to end once the other one has: training leaves a checkpoint then."""
    parent = parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os.kill(os.getpid(), signal.SIGTERM)


def attempt(opened: Opened, order: Order) -> Built | Failed:
    """Build a step."""
    try:
        with install_handlers():
            return _build(opened, order)
    except Interrupted:
        return Failed(None)
    except Exception as error:
        return Failed(portable(error))


def _build(opened: Opened, order: Order) -> Built:
    workspace = opened.workspace
    with distributed.process_group(), workspace.lock(DATA_LOCK, shared=True):
        step = opened.find(order)
        if step is None:
            raise CompError(
                f"The settings or the data have changed since this command began, so {order.name} is another step "
                "now: run the same command again."
            )

        with workspace.lock(step.name, wait=True):
            # Along with another step, or by another command.
            if distributed.broadcast_from_main(step.state) == "done":
                return Built(here=False)
            step.build()
            # What is built is read by all.
            distributed.barrier()
        return Built(True, step.summary() if step.summary is not None else "")


def portable(error: Exception) -> Exception:
    """Return an error that another process can read, with its traceback as a note."""
    copy = error
    if isinstance(error, CompError):
        kinds = (InputError, Diverged, CompError)
        copy = next(kind for kind in kinds if isinstance(error, kind))(str(error))
    elif type(error).__module__ != "builtins":
        copy = RuntimeError(f"{type(error).__name__}: {error}")
    copy.add_note(traceback.format_exc())
    return copy


class _Lines(io.TextIOBase):
    """Sends what is written, line by line."""

    def __init__(self, send: Send, stream: str) -> None:
        self._send = send
        self._stream = stream
        self._rest = ""

    def write(self, text: str) -> int:
        """Send the lines that are complete."""
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self._send(self._stream, line)
        return len(text)


class _Board:
    """Sends the changes of lines of progress, see `Bars`."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._ids = count()

    def add_task(self, description: str, *, total: float | None, unit: str) -> TaskID:
        """Add a line."""
        number = TaskID(next(self._ids))
        self._send("add", number, description, total, unit)
        return number

    def advance(self, task_id: TaskID, advance: float) -> None:
        """Count units of a line as done."""
        self._send("advance", task_id, advance)

    def update(self, task_id: TaskID, *, completed: float) -> None:
        """Say how many units of a line are done."""
        self._send("update", task_id, completed)

    def remove_task(self, task_id: TaskID) -> None:
        """Take a line away."""
        self._send("remove", task_id)
