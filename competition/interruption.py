"""SIGTERM and Ctrl-C: an exception, raised where nothing is half done."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn


class Interrupted(KeyboardInterrupt):
    """Somebody asked for an end; the message, if there is one, says from where the work goes on."""


class _Asked:
    """Whether an end was asked for while it had to wait, and how many blocks it waits for."""

    def __init__(self) -> None:
        self.blocks, self.pending = 0, False


_asked = _Asked()  # one for the process, as its signals are


def _on_signal(number: int, frame: FrameType | None) -> None:
    if not _asked.blocks:
        raise Interrupted
    _asked.pending = True


def pending() -> bool:
    """Whether an end was asked for that is held back."""
    return _asked.pending


def postpone() -> None:
    """Ask for the end of this process when the outermost block of `whole` is done, as another process was asked."""
    _asked.pending = True


def obey() -> NoReturn:
    """Raise the Interrupted that was held back, now."""
    _asked.pending = False
    raise Interrupted


@contextmanager
def listening() -> Iterator[None]:
    """Within, SIGTERM and Ctrl-C raise Interrupted; in the main thread alone, since Python hears signals there."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, _on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        _asked.pending = False
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def held() -> Iterator[None]:
    """A signal that comes within waits for the end of the next `whole`."""
    _asked.blocks += 1
    try:
        yield
    finally:
        _asked.blocks -= 1


@contextmanager
def whole() -> Iterator[None]:
    """What stands within is done to its end: Interrupted is raised behind it."""
    with held():
        yield
    if _asked.pending and not _asked.blocks:
        _asked.pending = False
        raise Interrupted
