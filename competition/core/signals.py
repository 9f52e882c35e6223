"""SIGTERM and Ctrl-C: an exception, raised where nothing is half done."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn


class Interrupted(KeyboardInterrupt):
    """Somebody asked for an end by a signal; the message, if there is one, says from where the work goes on."""

    def __init__(self, number: int, message: str = "") -> None:
        super().__init__(message)
        self.number = number

    @property
    def exit_code(self) -> int:
        """What a shell says of a command that the signal ends: 130 for Ctrl-C, 143 for SIGTERM."""
        return 128 + self.number


class _Asked:
    """The signal by which an end was asked for while it had to wait, and how many blocks it waits for."""

    def __init__(self) -> None:
        self.blocks = 0
        self.pending: int | None = None


_asked = _Asked()  # one for the process, as its signals are


def _on_signal(number: int, frame: FrameType | None) -> None:
    if not _asked.blocks:
        raise Interrupted(number)
    _asked.pending = number


def pending() -> bool:
    """Whether an end was asked for that is held back."""
    return _asked.pending is not None


def raise_pending() -> NoReturn:
    """Raise the Interrupted that was held back, now; where another process was asked, as if by SIGTERM."""
    number, _asked.pending = _asked.pending or signal.SIGTERM, None
    raise Interrupted(number)


@contextmanager
def install_handlers() -> Iterator[None]:
    """Within, SIGTERM and Ctrl-C raise Interrupted; in the main thread alone, since Python hears signals there."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {
        number: signal.signal(number, _on_signal) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        _asked.pending = None
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def defer_signals() -> Iterator[None]:
    """A signal that comes within waits for the end of the next `whole`."""
    _asked.blocks += 1
    try:
        yield
    finally:
        _asked.blocks -= 1


@contextmanager
def critical_section() -> Iterator[None]:
    """What stands within is done to its end: Interrupted is raised behind it."""
    with defer_signals():
        yield
    if pending() and not _asked.blocks:
        raise_pending()
