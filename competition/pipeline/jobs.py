"""Independent steps side by side: `execute_jobs` schedules, others build.

They are processes of this machine (`crew`) or tasks of Ray (`ray_crew`). This process builds nothing,
so that it can listen: it hands out steps, draws their progress and, when it is asked to end or a
step fails, sees that all end cleanly.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Any, Protocol

from rich.progress import TaskID

from competition.core.console import Bars, bars, console, warn
from competition.core.errors import CompError, Diverged, pluralize
from competition.core.workspace import DATA_LOCK, Workspace
from competition.pipeline.crew import THREADS, Builder, ended_by, open_crew
from competition.pipeline.execute import Step, counted_steps, in_order, unmet_sentence
from competition.pipeline.running import Announcement, announce
from competition.pipeline.schedule import Machine, Schedule, Work
from competition.pipeline.time_left import TimeLeft
from competition.pipeline.worker import Built, Failed, Lost

_ATTEMPTS = 3  # at a step whose process or machine dies: it may be the step that kills them


class Crew(Protocol):
    """Builds the steps that it is given: by processes of this machine (`crew`), or on several (`ray_crew`)."""

    @property
    def workers(self) -> list[Any]:
        """The builders that there are, idle ones among them."""

    def worker_for(self, on_gpu: bool) -> Any | None:
        """Return a builder that is idle; None if there is none."""

    def begin(self, worker: Any, step: Step) -> None:
        """Let a builder build a step; raises CompError where it cannot."""

    def messages(self) -> Iterator[tuple[Any, tuple[object, ...]]]:
        """Wait until a builder says something, and yield it: see `worker`; `("host", name)` is its machine."""


# Of a workspace, a machine, the work, and whether progress is drawn.
OpenCrew = Callable[[Workspace, Machine, Work, bool], AbstractContextManager[Crew]]
# Hears of a step that is done, or whose training diverged; returns the steps that are to be built, too.
Follow = Callable[[Step, Diverged | None], Iterable[Step]]


def find_machine(jobs: int, steps: Iterable[Step]) -> Machine:
    """Return what this machine has for `jobs` steps at a time; a user's OMP_NUM_THREADS is kept.

    GPUs are looked for only where a step of `steps` can use one, since that imports torch.
    """
    import psutil

    gpus = 0
    if any(step.shared for step in steps):
        import torch

        gpus = torch.accelerator.device_count() if torch.accelerator.is_available() else 0
    return Machine(jobs, gpus, psutil.virtual_memory().available, step_threads(jobs))


def step_threads(jobs: int) -> int:
    """Return the threads of each of `jobs` steps: OMP_NUM_THREADS, or this process's cores divided."""
    asked = os.environ.get(THREADS, "")
    if asked.isdecimal() and int(asked) > 0:
        return int(asked)

    has_affinity = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    return max(1, cores // jobs)


def execute_jobs(
    workspace: Workspace,
    targets: Iterable[Step],
    machine: Machine,
    work: Work,
    start: OpenCrew = open_crew,
    follow: Follow | None = None,
) -> int:
    """Build what is not done of all steps of a workspace, several at a time, each under its lock.

    Where a step fails, no other begins, and those that run go on to their end.

    Args:
        workspace: whose settings the processes read again.
        targets: steps of the work.
        machine: what the steps share.
        work: all that may be built; a step whose memory it does not know counts as nothing.
        start: those who build; processes of this machine unless given.
        follow: asks for more steps behind some; with it, a training that diverges is no failure.

    Returns:
        The number of steps that were built.

    Raises:
        CompError: a step failed, its process was killed, or the data are being replaced; whatever
            `follow` raised.
        Interrupted: this process was asked to end; so were those of the steps, and they have.
    """
    steps = in_order(targets)
    with workspace.lock(DATA_LOCK, shared=True):
        if unmet := unmet_sentence(steps):
            raise CompError(unmet)
        missing = [step for step in steps if step.state != "done"]
        if not missing:
            return 0

        console.print(
            f"Up to {pluralize(machine.jobs, 'step')} at a time, each with {pluralize(machine.threads, 'thread')}: "
            f"the bytes of models depend on the number of threads, which {THREADS} sets."
        )
        with bars() as board, announce(workspace) as announcement:
            run = _Run(missing, machine, work, board, announcement, follow)
            with start(workspace, machine, work, board is not None) as crew:
                run.finish_all(crew)
    return run.built


class _Run:
    """Steps that are built side by side, up to the first failure."""

    def __init__(
        self,
        missing: list[Step],
        machine: Machine,
        work: Work,
        board: Bars | None,
        announcement: Announcement,
        follow: Follow | None = None,
    ) -> None:
        self.built = 0
        self._schedule = Schedule(missing, machine, work.memory)
        self._jobs = machine.jobs
        names = [step.name for step in counted_steps(missing)]
        self._left = TimeLeft(names, open_ended=follow is not None)
        self._board = board
        self._announcement = announcement
        self._follow = follow
        self._lost: Counter[str] = Counter()
        self._failure: Exception | None = None

    def finish_all(self, crew: Crew) -> None:
        """Build everything.

        Raises:
            CompError: a step failed; whatever else it raised.
        """
        while True:
            self._hand_out(crew)
            if not any(worker.step for worker in crew.workers):
                break
            for worker, message in crew.messages():
                self._hear(worker, message)

        if self._failure is not None:
            raise self._failure

    def _hand_out(self, crew: Crew) -> None:
        """Begin every step that can begin."""
        while self._failure is None:
            for step in self._schedule.startable():
                # Along with another step, or by another command.
                if step.state == "done":
                    self._schedule.begin(step)
                    self._schedule.finish(step)
                    self._left.skip(step.name)
                    self._go_on(step)
                    break
                worker = crew.worker_for(self._schedule.on_gpu(step))
                if worker is not None:
                    running = sum(each.step is not None for each in crew.workers)
                    self._begin(crew, worker, step, running)
                    break
            else:
                return

    def _begin(self, crew: Crew, worker: Builder, step: Step, running: int) -> None:
        self._schedule.begin(step)
        note = " (out of date)" if step.state == "stale" else ""
        console.print(f"{self._left.place(step.name, running)} {step.name}{note}", style="bold")
        worker.step = step
        worker.began = time.monotonic()
        self._announcement.begin(step.name)
        if self._board is not None:
            worker.own_line = self._board.add_task(step.name, total=None, unit="")
        try:
            crew.begin(worker, step)
        except CompError as error:
            self._fail(worker, error)

    def _hear(self, worker: Builder, message: tuple[object, ...]) -> None:
        """Do what a builder asks for."""
        match message:
            case ("stdout", line):
                console.print(line)
            case ("stderr", line):
                print(line, file=sys.stderr)
            case ("host", str(host)):
                assert worker.step is not None
                self._announcement.begin(worker.step.name, host)
            case ("end", Built() as built):
                self._end(worker, built)
            case ("end", Failed(Diverged() as error)) if self._follow is not None:
                step = self._clear(worker)
                self._schedule.finish(step)
                self._left.skip(step.name)
                self._announcement.end(step.name)
                self._go_on(step, error)
            case ("end", Failed(error)):
                assert worker.step is not None
                self._fail(worker, error or ended_by(worker.step, signal.SIGTERM))
            case ("end", Lost(why)):
                self._lose(worker, why)
            case _:
                self._draw(worker, *message)

    def _end(self, worker: Builder, built: Built) -> None:
        step = self._clear(worker)
        self._schedule.finish(step)
        if not built.here:
            self._left.skip(step.name)
            self._announcement.end(step.name)
            self._go_on(step)
            return

        self.built += 1
        self._left.record(step.name, time.monotonic() - worker.began)
        left = self._left.sentence(self._jobs)
        self._announcement.end(step.name, left)
        # A search says by itself what its trainings score.
        if not self._left.open_ended:
            console.print(f"{built.summary or f'{step.name}: built'}; {left}")
        self._go_on(step)

    def _go_on(self, step: Step, diverged: Diverged | None = None) -> None:
        """Take up what follows a step."""
        if self._follow is None or self._failure is not None:
            return
        try:
            new = in_order(self._follow(step, diverged))
            if unmet := unmet_sentence(new):
                raise CompError(unmet)
        except CompError as error:
            self._failure = error
            return

        missing = [each for each in new if each.state != "done"]
        self._schedule.add(missing)
        self._left.add(each.name for each in missing)

    def _fail(self, worker: Builder, error: Exception) -> None:
        step = self._clear(worker)
        self._schedule.finish(step)
        self._announcement.end(step.name)
        if self._failure is not None:
            warn(f"{step.name} failed, too: {error}")
            return

        self._failure = error
        warn(f"{step.name} failed: no other step begins, those that run go on to their end.")

    def _lose(self, worker: Builder, why: str) -> None:
        """Let a step begin again whose process or machine has died, unless it does so time and again."""
        step = worker.step
        assert step is not None
        self._lost[step.name] += 1
        if self._failure is not None or self._lost[step.name] == _ATTEMPTS:
            times = pluralize(self._lost[step.name], "time")
            self._fail(worker, CompError(f"{step.name} was begun {times} and lost: {why}."))
            return

        self._clear(worker)
        self._schedule.put_back(step)
        self._announcement.end(step.name)
        warn(f"{step.name} was lost and begins again: {why}.")

    # --- the board ---

    def _draw(self, worker: Builder, *message: object) -> None:
        """Change a line of progress of a process."""
        if self._board is None:
            return
        match message:
            case ("add", int(number), str(name), total, str(unit)):
                assert total is None or isinstance(total, int | float)
                worker.lines[TaskID(number)] = self._board.add_task(name, total=total, unit=unit)
            case ("advance", int(number), int() | float() as units):
                self._board.advance(worker.lines[TaskID(number)], units)
            case ("update", int(number), int() | float() as units):
                self._board.update(worker.lines[TaskID(number)], completed=units)
            case ("remove", int(number)):
                self._board.remove_task(worker.lines.pop(TaskID(number)))

    def _clear(self, worker: Builder) -> Step:
        """Return the step of a builder that is idle, or has ended, and take its lines from the board."""
        step, worker.step = worker.step, None
        assert step is not None
        lines = [worker.own_line, *worker.lines.values()]
        worker.own_line = None
        worker.lines.clear()
        for line in lines:
            if self._board is not None and line is not None:
                self._board.remove_task(line)
        return step
