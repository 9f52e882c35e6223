"""Progress of long work: a bar with rate and time left on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.progress import Task as BarTask
from rich.text import Text

from competition import processes

PLAIN_WIDTH = 120  # columns where the output is no terminal
# No markup: titles and queries may hold anything, square brackets among it. Of several processes, one speaks.
console = Console(
    highlight=False, markup=False, width=None if sys.stdout.isatty() else PLAIN_WIDTH, quiet=not processes.is_first()
)
PLAIN_EVERY = 15.0  # seconds between two plain lines


class _Rate(ProgressColumn):
    def render(self, task: BarTask) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.0f}/s" if speed else "")


class Progress:
    """Counts units of work (usually pairs) of one named step."""

    def __init__(self, name: str, total: int, bar: Bar | None) -> None:
        self.name, self.total, self.done = name, total, 0
        self._before = 0  # units that were done before this process began
        self._bar = bar
        self._task = bar.add_task(name, total=total) if bar else None
        self._start = self._said = time.monotonic()

    def advance(self, units: int) -> None:
        """Count `units` more as done."""
        self.done += units
        if self._bar is not None and self._task is not None:
            self._bar.advance(self._task, units)
        elif time.monotonic() - self._said > PLAIN_EVERY:
            self._said = time.monotonic()
            left = (self.total - self.done) / max(self.rate, 1e-9)
            console.print(f"{self.name}: {self.done:,} of {self.total:,}, {self.rate:,.0f}/s, {left:,.0f} s left")

    def reach(self, units: int) -> None:
        """Count as done what was done before this process began, up to `units` in all; no rate is due to it."""
        if units > self.done:
            self._before += units - self.done
            self.done = units
            if self._bar is not None and self._task is not None:
                self._bar.update(self._task, completed=units)

    @property
    def rate(self) -> float:
        """Units per second since the start."""
        return (self.done - self._before) / max(time.monotonic() - self._start, 1e-9)

    def close(self) -> None:
        if not self.total:
            return
        seconds = time.monotonic() - self._start
        console.print(f"{self.name}: {self.done:,} in {seconds:,.1f} s, {self.rate:,.0f}/s")


@contextmanager
def progress(name: str, total: int) -> Iterator[Progress]:
    """Show the progress of `total` units of work under `name`; ends with one line that stays."""
    if not console.is_terminal:
        work = Progress(name, total, None)
        yield work
        work.close()
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=console, transient=True) as bar:
        work = Progress(name, total, bar)
        yield work
    work.close()


def warn(sentence: str) -> None:
    """Say something that the user should know but that stops nothing."""
    if processes.is_first():
        print(f"warning: {sentence}", file=sys.stderr)
