"""Locks between processes. The kernel holds them, so none outlives its process; a note beside says who it is."""

import fcntl
import json
import os
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from competition.core.console import warn
from competition.core.errors import CompError

HOST = os.uname().nodename
_NOTES = 1 << 16  # bytes of notes that are kept of those that share a lock


def is_alive(pid: int) -> bool:
    """Return whether a process of this machine lives."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it is another user's
    return True


@contextmanager
def hold_lock(path: Path, what: str, wait: bool = False, shared: bool = False) -> Iterator[None]:
    """Hold the lock of the file `path`.

    Args:
        path: the lock's file; it stays, only the kernel says whether it is held.
        what: the work that is locked, for messages.
        wait: whether to wait for another process, having said which it is.
        shared: several may hold the lock, but none of them together with one that does not share.

    Raises:
        CompError: another process holds the lock, and this one does not wait.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    mode = fcntl.LOCK_SH if shared else fcntl.LOCK_EX

    # For appending: opened for writing, the note of the process that holds the lock would go.
    with path.open("ab", buffering=0) as handle:
        try:
            fcntl.flock(handle, mode | fcntl.LOCK_NB)
        except BlockingIOError:
            holder_sentence = f"{_holder(path)} is working on {what!r} already"
            if not wait:
                raise CompError(f"{holder_sentence}: wait for it or stop it.") from None

            warn(f"{holder_sentence}: waiting for it.")
            fcntl.flock(handle, mode)

        # Say who holds the lock, behind others that share it.
        if not shared or handle.tell() > _NOTES:
            handle.truncate(0)

        handle.write(json.dumps(this_process() | {"since": utc_now()}).encode() + b"\n")
        yield


def this_process() -> dict[str, Any]:
    """Return what a note says of the process that wrote it."""
    return {"pid": os.getpid(), "host": HOST, "command": shlex.join(["comp", *sys.argv[1:]])}


def utc_now() -> str:
    """Return the time by the clock of this machine, for people."""
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


@contextmanager
def hold_note(path: Path) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Yield a function that writes the newest note of this process to the file `path`, which is removed behind it.

    The file is locked within, by which `live_notes` knows it from that of a process that was killed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for other in path.parent.iterdir():
        if not _is_held(other):
            other.unlink(missing_ok=True)

    with path.open("ab", buffering=0) as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)

        def write(note: Mapping[str, Any]) -> None:
            if handle.tell() > _NOTES:
                handle.truncate(0)
            handle.write(json.dumps(note).encode() + b"\n")

        try:
            yield write
        finally:
            path.unlink(missing_ok=True)


def live_notes(folder: Path) -> list[dict[str, Any]]:
    """Return the newest note of each process that holds one in a folder; empty where it is being written."""
    return [_newest(path) for path in sorted(folder.glob("*")) if _is_held(path)]


def _is_held(path: Path) -> bool:
    try:
        with path.open("rb") as handle:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _newest(path: Path) -> dict[str, Any]:
    with suppress(FileNotFoundError):
        for line in reversed(path.read_bytes().splitlines()):
            with suppress(ValueError):
                return dict(json.loads(line))
    return {}


def _holder(path: Path) -> str:
    """Return the last that noted itself and lives, as far as this machine can tell."""
    # Those that share a lock and have let it go left their notes, too.
    for line in reversed(path.read_bytes().splitlines()):
        try:
            note = json.loads(line)
            if note["host"] != HOST or is_alive(note["pid"]):
                return f"Process {note['pid']} on {note['host']} (`{note['command']}`, since {note['since']})"
        except (ValueError, KeyError, TypeError):
            continue  # a note that is only half written
    return "Another process"
