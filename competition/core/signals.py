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
        """The exit code of a command that the signal ends: 130 for Ctrl-C, 143 for SIGTERM."""
        return 128 + self.number


class _Deferred:
    """The signal that waits, if one does, and how many blocks it waits for."""

    def __init__(self) -> None:
        self.blocks = 0
        self.pending: int | None = None


_deferred = _Deferred()  # one for the process, as its signals are


def _on_signal(number: int, frame: FrameType | None) -> None:
    if not _deferred.blocks:
        raise Interrupted(number)

    _deferred.pending = number


def pending() -> bool:
    """Return whether a signal waits."""
    return _deferred.pending is not None


def raise_pending() -> NoReturn:
    """Raise the Interrupted that was held back, now; where another process got it, as if by SIGTERM."""
    number = _deferred.pending or signal.SIGTERM
    _deferred.pending = None
    raise Interrupted(number)


@contextmanager
def install_handlers() -> Iterator[None]:
    """Raise Interrupted for SIGTERM and Ctrl-C within; in the main thread alone, since Python hears signals there."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    before = {
        number: signal.signal(number, _on_signal) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        _deferred.pending = None
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def defer_signals() -> Iterator[None]:
    """Let a signal that comes within wait for the end of the next `critical_section`."""
    _deferred.blocks += 1
    try:
        yield
    finally:
        _deferred.blocks -= 1


@contextmanager
def critical_section() -> Iterator[None]:
    """Finish what stands within: Interrupted is raised behind it."""
    with defer_signals():
        yield

    # Within another block, the outermost one raises it.
    if pending() and not _deferred.blocks:
        raise_pending()
