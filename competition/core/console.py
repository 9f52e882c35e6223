"""Progress of long work: a bar with rate and time left on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Protocol, cast

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bar
from rich.progress import Task as BarTask
from rich.text import Text

from competition.core import distributed
from competition.core.commands import pasteable

PLAIN_WIDTH = 1_000_000  # columns where the output is no terminal: no line is wrapped there


class _Console(Console):
    """Leaves lines to the terminal to wrap, which knows then that they are one: commands in them can be copied."""

    def print(self, *objects: Any, **options: Any) -> None:
        """Print, and leave text alone to the terminal to wrap."""
        if all(isinstance(each, str | Text) for each in objects):
            options.setdefault("soft_wrap", True)
        super().print(*objects, **options)


def _console() -> Console:
    # No markup: titles and queries may hold anything, square brackets among it. Of several
    # processes, one speaks.
    width = None if sys.stdout.isatty() else PLAIN_WIDTH
    return _Console(
        highlight=False, markup=False, width=width, quiet=not distributed.is_main_process()
    )


console = _console()  # what is going on, which `--quiet` silences and `--json` sends to stderr
results = _console()  # of commands, on stdout
PLAIN_EVERY = 15.0  # seconds between two plain lines


class _RateColumn(ProgressColumn):
    """Units per second; the tasks of the bar bring the name of their unit as the field `unit`.

    Rich has such a column for bytes alone.
    """

    def render(self, task: BarTask) -> Text:
        """Return the rate, or nothing before the first units are done."""
        speed = task.finished_speed or task.speed
        return Text(_per_second(speed, task.fields["unit"]) if speed else "")


def _per_second(rate: float, unit: str) -> str:
    return f"{rate:,.0f} {unit}/s" if rate >= 10 else f"{rate:.2g} {unit}/s"


class Bars(Protocol):
    """What draws the lines of progress: Rich's on this terminal, or the board of another process."""

    def add_task(self, description: str, *, total: float | None, unit: str) -> TaskID:
        """Add a line."""

    def advance(self, task_id: TaskID, advance: float) -> None:
        """Count units of a line as done."""

    def update(self, task_id: TaskID, *, completed: float) -> None:
        """Say how many units of a line are done."""

    def remove_task(self, task_id: TaskID) -> None:
        """Take a line away."""


class Progress:
    """Counts the units of work, such as `rows`, of one named step; `total` is None where nobody knows how many."""

    def __init__(self, name: str, total: int | None, bar: Bars | None, unit: str = "") -> None:
        self.name = name
        self.total = total
        self.unit = unit
        self.done = 0
        self._before = 0  # units that were done before this process began
        self._bar = bar
        self._task = bar.add_task(name, total=total, unit=unit) if bar else None
        self._start = self._printed = time.monotonic()

    def advance(self, units: int) -> None:
        """Count `units` more as done."""
        self.done += units
        if self._bar is not None and self._task is not None:
            self._bar.advance(self._task, units)

        # Without a terminal, a line now and then, so that a log shows that work goes on.
        elif self.total is not None and time.monotonic() - self._printed > PLAIN_EVERY:
            self._printed = time.monotonic()
            seconds = (self.total - self.done) / max(self.rate, 1e-9)
            left = timedelta(seconds=round(seconds))
            rate = _per_second(self.rate, self.unit)
            console.print(
                f"{self.name}: {self.done:,} of {self.total:,} {self.unit}, {rate}, {left} left"
            )

    def reach(self, units: int) -> None:
        """Count as done what was done before this process began, up to `units` in all; no rate is due to it."""
        if units <= self.done:
            return

        self._before += units - self.done
        self.done = units
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=units)

    @property
    def rate(self) -> float:
        """Units per second since the start."""
        return (self.done - self._before) / max(time.monotonic() - self._start, 1e-9)

    def close(self) -> None:
        """Print what was done, and take the bar away."""
        if self._bar is not None and self._task is not None:
            self._bar.remove_task(self._task)

        seconds = time.monotonic() - self._start
        if self.total is None:
            console.print(f"{self.name}: {seconds:,.1f} s")
        # Nothing is due to work that an earlier process had done.
        elif here := self.done - self._before:
            rate = _per_second(self.rate, self.unit)
            console.print(f"{self.name}: {here:,} {self.unit} in {seconds:,.1f} s, {rate}")


# The bars that are drawn: at most one set, to which work within work adds a line.
_live: list[Bars] = []


@contextmanager
def drawn_by(other: Bars) -> Iterator[None]:
    """Let `other` draw the progress of what is done within."""
    _live.append(other)
    try:
        yield
    finally:
        _live.pop()


@contextmanager
def progress(name: str, total: int | None = None, unit: str = "") -> Iterator[Progress]:
    """Show the progress of `total` units of work, such as `rows`, under `name`; ends with one line that stays.

    Without a total, the time that has passed is shown: for what a library does in one call.
    """
    with bars() as bar:
        work = Progress(name, total, bar, unit)
        yield work
        work.close()


@contextmanager
def bars() -> Iterator[Bars | None]:
    """Yield the bars on the terminal; None where there is none."""
    # Rich can draw one set of bars at a time.
    if _live:
        yield _live[0]
    elif not console.is_terminal or console.quiet:
        yield None
    else:
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            _RateColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )

        with Bar(*columns, console=console, transient=True) as bar, drawn_by(cast(Bars, bar)):
            yield _live[0]


@contextmanager
def silent() -> Iterator[None]:
    """Show no progress: for those who call from Python and not from a terminal."""
    before = console.quiet
    console.quiet = True
    try:
        yield
    finally:
        console.quiet = before


def warn(sentence: str) -> None:
    """Warn the user of something that stops nothing."""
    if distributed.is_main_process():
        print(f"warning: {pasteable(sentence)}", file=sys.stderr)
