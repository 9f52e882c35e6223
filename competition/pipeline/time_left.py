"""The place of a step among those that are built, and the time that they will still take."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from competition.core.errors import pluralize


class TimeLeft:
    """Counts the steps of a command and the seconds of those that are done.

    A step will take as long as the last of its kind did, such as another fold of the same recipe.
    """

    def __init__(self, names: Iterable[str] = (), open_ended: bool = False) -> None:
        """Begin before steps are built.

        Args:
            names: of the steps, in order.
            open_ended: whether what ends may be followed by more, as in a search: then neither the number of
                all steps nor the time that they take is known.
        """
        self.open_ended = open_ended
        self._left = list(names)
        self._built = 0
        # Kind of step -> of the last one.
        self._seconds: dict[str, float] = {}

    def place(self, name: str, running: int = 0) -> str:
        """Return the place of a step that is built now, while others are `running`: `[2/9]`, open-ended `[2]`."""
        if self.open_ended:
            return f"[{self._built + running + 1}]"

        # A step that was expected to be built along with another one counts all the same.
        left = len(self._left) + (name not in self._left)
        return f"[{self._built + running + 1}/{self._built + left}]"

    def add(self, names: Iterable[str]) -> None:
        """Count steps that are to be built, too."""
        self._left += [name for name in names if name not in self._left]

    def skip(self, name: str) -> None:
        """Leave out a step that something else has built."""
        if name in self._left:
            self._left.remove(name)

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Take the time of a step while it is built."""
        start = time.monotonic()
        yield
        self.record(name, time.monotonic() - start)

    def record(self, name: str, seconds: float) -> None:
        """Count a step as built in some seconds."""
        self._seconds[_kind(name)] = seconds
        self._built += 1
        self.skip(name)

    def sentence(self, jobs: int = 1) -> str:
        """Return the time left: of all steps that are left, or at least of those whose kind is known.

        With several `jobs`, it is what they take where none of them waits for another. It is empty where the end
        is open.
        """
        if self.open_ended:
            return ""

        known = [kind for kind in map(_kind, self._left) if kind in self._seconds]
        unknown = len(self._left) - len(known)
        if not self._left:
            return "done"

        seconds = sum(self._seconds[kind] for kind in known) / jobs
        clock = timedelta(seconds=round(seconds))
        if not unknown:
            return f"{clock} left"
        steps = f"{pluralize(unknown, 'step')} of unknown time"
        return f"{clock} and {steps} left" if known else f"{steps} left"


def _kind(name: str) -> str:
    """Return what a step shares with others that take as long: `train c1` of `train c1 fold 3`."""
    kind = name.partition(" fold ")[0]
    return kind.partition(" without folds ")[0]
