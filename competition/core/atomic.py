"""Files and folders that are written whole or not at all."""

import errno
import glob
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from competition.core.errors import CompError
from competition.core.locks import HOST, is_alive

# Errors of a disk that takes no more. Rust's libraries say it in words alone.
_REFUSALS = {errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EFBIG, errno.EROFS}
# Those of a folder in which this user may not write.
_FORBIDDEN = {errno.EACCES, errno.EPERM}
# How Rust's libraries and Arrow's say it.
_IN_WORDS = re.compile(r"\(os error (\d+)\)|\[errno (\d+)\]")


@contextmanager
def _writing(*paths: Path) -> Iterator[None]:
    """Name what could not be written, whatever the library was that tried."""
    try:
        yield
    except Exception as error:
        match = _IN_WORDS.search(str(error))
        number = int(match[1] or match[2]) if match else getattr(error, "errno", None)

        if number in _FORBIDDEN and (forbidden := _named_path(error, paths)):
            raise CompError(
                f"{forbidden} cannot be written ({os.strerror(number)}): let this user write there, or name another "
                "folder."
            ) from error
        if number not in _REFUSALS:
            raise

        raise CompError(
            f"{paths[0]} cannot be written ({os.strerror(number)}); what was there before is untouched: fix the disk "
            "or make room, and the same command goes on."
        ) from error


def _named_path(error: Exception, paths: tuple[Path, ...]) -> Path | None:
    """Return the first of `paths` whose temporary file, or folder, an error names; None where it names another."""
    named = getattr(error, "filename", None)
    folder = None if named is None else Path(named)
    for path in paths:
        if folder in path.parents or _beside(path, "").name in str(error):
            return path
    return None


def _umask() -> int:
    """Return the bits that files of this process do without; to read them is to set them."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


# Of files, whatever library wrote them: some keep theirs from all but their owner.
_MODE = 0o666 & ~_umask()


def _finish(path: Path) -> None:
    """Give a file the mode that the user's others have; bring it, or a folder, to the disk."""
    if path.is_file():
        path.chmod(_MODE)
    _sync(path)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _beside(path: Path, ending: str) -> Path:
    """Return a name for what this process alone has in its hands; other machines may share the folder."""
    return path.with_name(f".{path.name}.{HOST}.{os.getpid()}.{ending}")


def _sweep(path: Path) -> None:
    """Remove what a process of this machine that was killed, or this one before, left half-written beside `path`."""
    for leftover in path.parent.glob(f".{glob.escape(f'{path.name}.{HOST}')}.*"):
        pid, ending = leftover.name.split(".")[-2:]
        if ending not in ("tmp", "old") or not pid.isdecimal():
            continue

        # Another process that is alive still writes there.
        if int(pid) == os.getpid() or not is_alive(int(pid)):
            if leftover.is_dir():
                shutil.rmtree(leftover, ignore_errors=True)
            else:
                leftover.unlink(missing_ok=True)


@contextmanager
def atomic_files(*paths: Path) -> Iterator[list[Path]]:
    """Yield temporary paths beside `paths`, which replace them in this order once all are on the disk, or vanish.

    Raises:
        CompError: the disk is full, broken or read-only, or this user may not write there.
    """
    temporaries = [_beside(path, "tmp") for path in paths]
    with _writing(*paths):
        for path in paths:
            path.parent.mkdir(parents=True, exist_ok=True)
            _sweep(path)

        try:
            yield temporaries

            # All are on the disk before the first of them replaces what was there.
            for temporary in temporaries:
                _finish(temporary)
            for temporary, path in zip(temporaries, paths, strict=True):
                os.replace(temporary, path)

            # A new name is on the disk once its folder is.
            for folder in {path.parent for path in paths}:
                _sync(folder)
        finally:
            for temporary in temporaries:
                temporary.unlink(missing_ok=True)


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; what is written there replaces `path` at the end, or vanishes on error."""
    with atomic_files(path) as (temporary,):
        yield temporary


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder that replaces `path` at the end, or vanishes on error.

    An older folder at `path` is moved away only when the new one is complete on disk.
    """
    temporary = _beside(path, "tmp")
    retired = _beside(path, "old")
    with _writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path)

        try:
            temporary.mkdir()
            yield temporary

            for file in (*temporary.rglob("*"), temporary):
                _finish(file)

            _exchange(path, temporary, retired)
            _sync(path.parent)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
            shutil.rmtree(retired, ignore_errors=True)


def _exchange(path: Path, temporary: Path, retired: Path) -> None:
    """Put the folder `temporary` in the place of `path`, which becomes `retired`, or stays where that fails."""
    if path.exists():
        os.replace(path, retired)

    try:
        os.replace(temporary, path)
    except BaseException:  # a signal among it
        if retired.exists():
            os.replace(retired, path)
        raise


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 file, whole or not at all."""
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
