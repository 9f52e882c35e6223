"""What happens on the machines of a Ray cluster: a task builds one step, as `worker` does; an actor hears all tasks."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from competition import __version__
from competition.core.errors import InputError
from competition.core.locks import HOST
from competition.core.workspace import Workspace
from competition.pipeline.parcels import Parcel, files_of, pack, unpack
from competition.pipeline.worker import (
    Built,
    Failed,
    Opened,
    Order,
    Settings,
    attempt,
    portable,
    spoken_through,
)


class Desk:
    """Takes what tasks say until the command asks for it, and hands out locks: an actor of Ray."""

    def __init__(self) -> None:
        self._said: list[tuple[int, tuple[object, ...]]] = []
        self._news = asyncio.Event()
        self._holders: dict[str, int] = {}
        self._ended: set[int] = set()
        self._freed = asyncio.Condition()
        self._addresses: dict[int, asyncio.Future[tuple[str, int]]] = {}

    async def say(self, number: int, message: tuple[object, ...]) -> None:
        """Take a message of a task."""
        self._said.append((number, message))
        self._news.set()

    async def hear(self) -> list[tuple[int, tuple[object, ...]]]:
        """Return what was said since the last time, once there is something, or after `wake`."""
        await self._news.wait()
        self._news.clear()
        said, self._said = self._said, []
        return said

    async def wake(self) -> None:
        """Let `hear` return at once."""
        self._news.set()

    async def acquire(self, lock: str, number: int) -> None:
        """Wait until a task holds a lock."""
        async with self._freed:
            await self._freed.wait_for(
                lambda: number in self._ended or self._holders.setdefault(lock, number) == number
            )

    async def release(self, lock: str) -> None:
        """Free a lock."""
        async with self._freed:
            self._holders.pop(lock, None)
            self._freed.notify_all()

    async def end(self, number: int) -> None:
        """Free all that a task holds, which has ended or died."""
        async with self._freed:
            self._ended.add(number)
            self._holders = {key: held for key, held in self._holders.items() if held != number}
            self._freed.notify_all()

    async def meet(self, number: int, address: tuple[str, int] | None) -> tuple[str, int]:
        """Return the address at which the processes of a task meet, once the first of them has said it."""
        future = self._addresses.setdefault(number, asyncio.get_running_loop().create_future())
        if address is not None:
            future.set_result(address)
        return await future


@dataclass(frozen=True)
class Task:
    """A step that is to be built, and how.

    Attributes:
        number: by which the desk knows the task.
        order: of the step.
        settings: with the root of the workspace of the command.
        note: a file of the running command, which is there where the file system is shared.
        home: the node of the command.
        scratch: where other machines have a copy of the workspace; None where they share it.
        inputs: what the step reads, where there is such a copy.
        version: of this package.
        rank: among the processes that build the step together.
        world: how many they are.
    """

    number: int
    order: Order
    settings: Settings
    note: Path
    home: str
    scratch: Path | None
    inputs: Parcel
    version: str
    rank: int = 0
    world: int = 1


def build(task: Task, desk: Any) -> tuple[Built | Failed, Parcel]:
    """Build a step; return how it ended, and its files where this machine has a copy of the workspace."""
    import ray

    _end_with_parent()
    said = None

    def send(*message: object) -> None:
        nonlocal said
        if task.rank == 0:
            said = desk.say.remote(task.number, message)

    send("host", HOST)
    with spoken_through(send, task.settings):
        try:
            ended, parcel = _build(task, desk)
        except Exception as error:
            ended, parcel = Failed(portable(error)), {}
    # What is said is heard before the end.
    if said is not None:
        ray.get(said)
    return ended, parcel


def _build(task: Task, desk: Any) -> tuple[Built | Failed, Parcel]:
    import ray

    if task.version != __version__:
        raise InputError(
            f"{HOST} has version {__version__} of comp, and this machine {task.version}: "
            "install the same on all."
        )

    root = task.settings.root
    is_home = ray.get_runtime_context().get_node_id() == task.home
    if task.scratch is not None and not is_home:
        root = task.scratch
        unpack(task.inputs, root, ray.get)
    elif not task.note.exists():
        raise InputError(
            f"{HOST} does not see the workspace {root}: share its file system, or name a folder for copies by "
            "--scratch."
        )

    opened = _opened.setdefault(root, Opened(_Unlocked(root)))
    workspace = opened.workspace
    assert isinstance(workspace, _Unlocked)
    workspace.desk, workspace.number = desk, task.number
    workspace.shared_by = "" if task.scratch is None else HOST
    if task.world > 1:
        _connect(task, desk)
    ended = attempt(opened, task.order)
    if root == task.settings.root or isinstance(ended, Failed) or task.rank:
        return ended, {}

    step = opened.steps[task.order.name]
    built = [each for each in opened.steps.values() if step in (each, each.along)]
    paths = [path for each in built for path in each.files]
    if step.trains is not None:
        paths.append(workspace.log(step.trains))
    return ended, {str(path.relative_to(root)): pack(path) for path in files_of(paths)}


class _Unlocked(Workspace):
    """A workspace whose locks are those of the desk: a file system need not share any between machines."""

    desk: Any = None
    number: int = 0
    shared_by: str = ""  # the machine, where others have copies

    def lock(
        self, name: str, wait: bool = False, shared: bool = False
    ) -> AbstractContextManager[None]:
        """Hold a lock that is not the command's: it has those of the data and of the steps."""
        is_step = any(name in opened.steps for opened in _opened.values())
        return (
            nullcontext()
            if shared or is_step
            else self._held(f"{self.shared_by} {self.root} {name}")
        )

    @contextmanager
    def _held(self, name: str) -> Iterator[None]:
        import ray

        ray.get(self.desk.acquire.remote(name, self.number))
        try:
            yield
        finally:
            ray.get(self.desk.release.remote(name))


# What this process has opened: steps that follow each other share tables.
_opened: dict[Path, Opened] = {}


def _connect(task: Task, desk: Any) -> None:
    """Set what a launcher would, for a process whose one GPU is the first that it sees."""
    import ray

    address = None
    if task.rank == 0:
        with socket.socket() as free:
            free.bind(("", 0))
            address = ray.util.get_node_ip_address(), free.getsockname()[1]
    host, port = ray.get(desk.meet.remote(task.number, address))
    os.environ |= {
        "RANK": str(task.rank),
        "WORLD_SIZE": str(task.world),
        "LOCAL_RANK": "0",
        "LOCAL_WORLD_SIZE": "1",
        "MASTER_ADDR": host,
        "MASTER_PORT": str(port),
    }


def _end_with_parent() -> None:
    """End this process at once when the raylet that has started it is gone: it holds no lock that others heed."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGKILL)

    if not any(thread.name == _WATCH for thread in threading.enumerate()):
        threading.Thread(target=watch, name=_WATCH, daemon=True).start()


_WATCH = "end with the raylet"
