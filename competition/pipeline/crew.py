"""The processes that build steps side by side: started as they are needed, each with its threads and its GPU."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from rich.progress import TaskID

from competition.core.commands import named_workspace
from competition.core.console import console
from competition.core.errors import CompError
from competition.core.signals import critical_section
from competition.core.workspace import Workspace
from competition.pipeline.execute import Step
from competition.pipeline.schedule import Machine, Work
from competition.pipeline.worker import Failed, Order, Settings, serve

# A fresh interpreter: a fork would copy the locks of threads, and a GPU cannot be used in both.
CONTEXT: multiprocessing.context.BaseContext = multiprocessing.get_context("spawn")
THREADS = "OMP_NUM_THREADS"  # read by torch, LightGBM and BLAS when they are imported
GPUS = "CUDA_VISIBLE_DEVICES"


@dataclass(eq=False)
class Builder:
    """What builds one step at a time, and the step that it builds now."""

    step: Step | None = None
    began: float = 0.0
    lines: dict[TaskID, TaskID] = field(default_factory=dict)  # of progress -> that on the board
    own_line: TaskID | None = None


class Worker(Builder):
    """A process that builds steps."""

    def __init__(self, settings: Settings, gpu: str | None, threads: int) -> None:
        super().__init__()
        self.connection, theirs = CONTEXT.Pipe()
        self.gpu = gpu
        process = CONTEXT.Process(target=serve, args=(theirs, settings))  # type: ignore[attr-defined]
        self.process: BaseProcess = process

        environment = {THREADS: str(threads)} | ({} if gpu is None else {GPUS: gpu})
        # Ctrl-C is this process's to hear, also while the other one still imports. Python's tracker of resources, which
        # would start along with the first of them, lets it through again.
        resource_tracker.ensure_running()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            with _environment(environment):
                self.process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set variables of the environment within, for processes that are started."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@dataclass
class Crew:
    """The processes that build, started as they are needed."""

    settings: Settings
    machine: Machine
    work: Work
    workers: list[Worker] = field(default_factory=list)

    def worker_for(self, on_gpu: bool) -> Worker | None:
        """Return a process that is idle, with a GPU that is free where one is needed; None if there is none."""
        taken = {each.gpu for each in self.workers if each.step is not None and each.step.shared}
        idle = [each for each in self.workers if each.step is None]
        # A process sees one GPU for as long as it lives, so what needs none leaves free ones alone.
        idle.sort(key=lambda each: (each.gpu in taken) == on_gpu)
        if idle and not (on_gpu and idle[0].gpu in taken):
            return idle[0]

        number = len(self.workers)
        gpu = self._gpu(number)
        if number == self.machine.jobs or (on_gpu and gpu in taken):
            return None
        self.workers.append(Worker(self.settings, gpu, self.machine.threads))
        return self.workers[-1]

    def _gpu(self, number: int) -> str | None:
        if not self.machine.gpus:
            return None
        known = os.environ.get(GPUS, "")
        names = known.split(",") if known else [str(k) for k in range(self.machine.gpus)]
        return names[number % len(names)]

    def begin(self, worker: Worker, step: Step) -> None:
        """Let a process build a step."""
        worker.step = step
        # Of one that has died, it is heard where all are waited for.
        with suppress(OSError):
            order = Order(step.name, step.fingerprint, self.work.recipes.get(step.name))
            worker.connection.send(order)

    def messages(self) -> Iterator[tuple[Worker, tuple[object, ...]]]:
        """Wait for processes to say something, or to die, and yield it."""
        by_connection = {each.connection: each for each in self.workers}
        for connection in wait(list(by_connection)):
            assert isinstance(connection, Connection)
            worker = by_connection[connection]
            try:
                # Half a message that is read would make nonsense of those behind it.
                with critical_section():
                    message = connection.recv()
            except (EOFError, OSError):
                self._release(worker)
                if worker.step is None:
                    continue
                number = -(worker.process.exitcode or 0)
                message = ("end", Failed(ended_by(worker.step, number)))
            yield worker, message

    def stop(self) -> None:
        """End all processes: idle ones at once, others where nothing is half done, and read what they still say."""
        for worker in list(self.workers):
            if worker.step is None:
                self._release(worker)
            else:
                worker.process.terminate()
        while self.workers:
            # A full pipe would keep a process from ending.
            for worker, message in self.messages():
                if message[0] == "end":
                    self._release(worker)

    def _release(self, worker: Worker) -> None:
        """Let a process end that is idle, or has ended."""
        if worker in self.workers:
            self.workers.remove(worker)
            worker.connection.close()
            worker.process.join()


@contextmanager
def open_crew(workspace: Workspace, machine: Machine, work: Work, has_bars: bool) -> Iterator[Crew]:
    """Yield processes for the steps of a workspace, which end behind it; `has_bars` is whether they send progress."""
    settings = Settings(workspace.root, named_workspace(), console.quiet, has_bars)
    crew = Crew(settings, machine, work)
    try:
        yield crew
    finally:
        crew.stop()


def ended_by(step: Step, number: int) -> CompError:
    """Return the error of a step whose process has ended by a signal; 0 where it ended by itself."""
    how = f"was ended by {signal.Signals(number).name}" if number > 0 else "ended"
    full = ", as a system does whose memory is full: use fewer --jobs then" if number == 9 else ""
    return CompError(
        f"The process that builds {step.name} {how}{full}; the same command goes on from what is done."
    )
