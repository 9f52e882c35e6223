"""Files from outside as bytes: packed or not, a pipe, or a folder of part files. Nothing is unpacked to the disk."""

import bz2
import gzip
import io
import lzma
import re
import shutil
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any

from competition.core.errors import InputError, short_repr

# What a packed file may unpack to: text packs 3 to 10 times, and the largest real table has 3 GB.
MAX_UNPACKED = 16 << 30  # bytes
MAX_RATIO = 100  # times its size, for what is larger than
ALWAYS_ALLOWED = 64 << 20  # bytes

PARQUET_MAGIC = b"PAR1"
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
# The ending -> what such a file is, how it begins, and what reads it.
_STREAMS: dict[str, tuple[str, bytes, Callable[..., Any]]] = {
    ".gz": ("gzip", b"\x1f\x8b", gzip.open),
    ".bz2": ("bzip2", b"BZh", bz2.open),
    ".xz": ("xz", b"\xfd7zXZ\0", lzma.open),
}
PACKED_SUFFIXES = (".zip", *_STREAMS)
# What is not a table, whatever its name says: how it begins -> what it is and what to do about it.
_OTHERS = {
    b"version https://git-lfs": "a Git-LFS pointer, not the file itself: fetch it with `git lfs pull`",
    b"\xd0\xcf\x11\xe0": "an Excel workbook: save the sheet as CSV (UTF-8)",
    b"\x28\xb5\x2f\xfd": "packed by zstd: unpack it first",
    b"7z\xbc\xaf\x27\x1c": "packed by 7-Zip: unpack it first",
    b"Rar!\x1a\x07": "packed by RAR: unpack it first",
    b"ARROW1": "an Arrow (Feather) file: write it as parquet",
    b"Obj\x01": "an Avro file: write it as parquet",
    b"SQLite format 3\0": "an SQLite database: export the table as CSV",
    b"%PDF-": "a PDF document, not a table",
    b"<!doctype html": "a web page, not a table: fetch the file itself",
    b"<html": "a web page, not a table: fetch the file itself",
}
_TAR = slice(257, 262)  # where a tar archive says so
_HEAD = 512  # bytes
# Errors of unpacking where bytes are damaged, and those of `zipfile` where its directory is.
ARCHIVE_ERRORS = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, OSError, EOFError, RuntimeError)
_BROKEN_DIRECTORY = (*ARCHIVE_ERRORS, ValueError, LookupError, struct.error)


@contextmanager
def open_unpacked(source: Path, name: str) -> Iterator[IO[bytes]]:
    """Open a file or a pipe, unpacked where they are packed by gzip, bzip2, xz or zip; from the start, again.

    Raises:
        InputError: it is missing, empty, a folder, not what its name says, a file of another
            program, or an archive that is damaged, holds several files or would unpack to more than
            is sound.
    """
    with ExitStack() as open_files:
        file: IO[bytes] = open_files.enter_context(_seekable(source, name))
        # The name of a pipe says nothing.
        ending = source.suffix.lower() if source.is_file() else ""
        kind = _packing(file, name, ending)

        if kind == ".zip":
            try:
                archive = open_files.enter_context(zipfile.ZipFile(file))
                file = open_files.enter_context(archive.open(_only(archive, name)))
            except _BROKEN_DIRECTORY as error:
                raise InputError(f"{name} is not a readable archive: {error}.") from None
        elif kind:
            # A zip says how much it unpacks to, a stream does not: its bytes are counted while they are read.
            size = file.seek(0, io.SEEK_END)
            file.seek(0)
            _, _, open_stream = _STREAMS[kind]
            unpacked = open_files.enter_context(open_stream(file))
            file = _Bounded(unpacked, _most_unpacked(size), name)  # type: ignore[assignment]

        yield _checked(io.BufferedReader(file), name) if kind else file  # type: ignore[arg-type]


def part_files(path: Path) -> list[Path]:
    """Return the file itself; of a folder, which Spark and Dask write, its part files in their order.

    Raises:
        InputError: a folder holds none, or folders of its own.
    """
    if not path.is_dir():
        return [path]

    parts = [file for file in path.iterdir() if not file.name.startswith((".", "_"))]
    for file in parts:
        if file.is_dir():
            raise InputError(
                f"{path} holds the folder {file.name}: give a file, or a folder of part files alone."
            )
    if not parts:
        raise InputError(f"{path} is a folder without part files.")

    # By number where names have some: part-2 comes before part-10.
    def numbers_and_text(file: Path) -> list[tuple[int, str]]:
        return [(int(n or 0), text) for n, text in re.findall(r"(\d*)(\D*)", file.name)]

    return sorted(parts, key=numbers_and_text)


@contextmanager
def _seekable(source: Path, name: str) -> Iterator[IO[bytes]]:
    """Open a file that can be read more than once: a pipe is copied to the disk, where it has no name."""
    try:
        handle = source.open("rb")
    except FileNotFoundError:
        raise InputError(f"{name} is missing.") from None
    except IsADirectoryError:
        raise InputError(f"{name} is a folder, not a file.") from None
    except OSError as error:
        raise InputError(f"{name} cannot be read: {error.strerror}.") from None

    with handle:
        if handle.seekable():
            yield handle
            return

        with tempfile.TemporaryFile() as copy:
            shutil.copyfileobj(handle, copy)
            copy.seek(0)
            yield copy


def _packing(file: IO[bytes], name: str, ending: str) -> str:
    """Return the ending that goes with how a file is packed, by its first bytes; its name must not say otherwise."""
    head = file.read(_HEAD)
    file.seek(0)
    _refuse_others(head, name)

    packing = ".zip" if head.startswith(_ZIP) else ""
    for suffix, (_, magic, _) in _STREAMS.items():
        if head.startswith(magic):
            packing = suffix
    # A text may begin with the letters BZh, no block of bzip2 without this number.
    if packing == ".bz2" and head[4:10] != b"1AY&SY":
        packing = ""

    named = ending if ending in PACKED_SUFFIXES else ""
    if named and not packing:
        raise InputError(
            f"{name} is not a {named.removeprefix('.')} archive, though its name says so: rename it."
        )
    # What a .tgz holds is refused as a tar archive, which says more.
    if packing and ending not in ("", ".tgz") and named != packing:
        raise InputError(
            f"{name} is packed: rename it, so that it ends in {packing}, or unpack it."
        )
    return packing


def _refuse_others(head: bytes, name: str) -> None:
    if not head:
        raise InputError(f"{name} is empty.")

    for magic, what in _OTHERS.items():
        # Tags are written in either case.
        start = head.lower() if magic.startswith(b"<") else head
        if start.startswith(magic):
            raise InputError(f"{name} is {what}.")

    if head[_TAR] == b"ustar":
        raise InputError(f"{name} is a tar archive: unpack it first.")


def _checked(file: io.BufferedReader, name: str) -> IO[bytes]:
    """Return what was unpacked unless it cannot be a table; a parquet file is read from its end, in memory."""
    try:
        head = file.peek(_HEAD)[:_HEAD]
        _refuse_others(head, name)

        return io.BytesIO(file.read()) if head.startswith(PARQUET_MAGIC) else file
    except ARCHIVE_ERRORS as error:
        raise InputError(f"{name} is not a readable archive: {error}.") from None


def _only(archive: zipfile.ZipFile, name: str) -> zipfile.ZipInfo:
    """Return the only file of an archive but for what systems add; its size is checked here."""
    files = [file for file in archive.infolist() if not file.is_dir()]
    if any(file.filename == "[Content_Types].xml" for file in files):
        raise InputError(
            f"{name} is an Excel workbook or another document: save the sheet as CSV (UTF-8)."
        )

    # Some programs on Windows write backslashes.
    paths = {file.filename: PurePosixPath(file.filename.replace("\\", "/")) for file in files}
    files = [file for file in files if not _added(paths[file.filename])]
    if len(files) != 1:
        raise InputError(f"{name} holds {len(files)} files, it must hold one.")
    (file,) = files

    path = paths[file.filename]
    if path.is_absolute() or ".." in path.parts or ":" in file.filename:
        raise InputError(
            f"{name} holds a file that points out of it, {short_repr(file.filename)}: pack the file again."
        )

    # The size is the archive's own word; `zipfile` reads no byte beyond it.
    if file.file_size > _most_unpacked(file.compress_size):
        raise _too_large(
            name, f"{file.file_size / 1e9:,.1f} GB from {file.compress_size / 1e6:,.1f} MB"
        )
    return file


def _added(path: PurePosixPath) -> bool:
    """Return whether macOS or Windows put a file into an archive, and nobody else."""
    return path.parts[0] == "__MACOSX" or path.name in (".DS_Store", "Thumbs.db", "desktop.ini")


def _most_unpacked(size: int) -> int:
    """Return how many bytes a file of `size` packed bytes may unpack to."""
    return min(MAX_UNPACKED, max(ALWAYS_ALLOWED, MAX_RATIO * size))


def _too_large(name: str, size: str) -> InputError:
    return InputError(
        f"{name} would unpack to {size}, more than {MAX_RATIO} times its size or {MAX_UNPACKED >> 30} GiB: if it is "
        "what you want, unpack it yourself."
    )


class _Bounded(io.RawIOBase):
    """A stream of which no more than `limit` bytes are read, and which can go back to its start."""

    def __init__(self, stream: IO[bytes], limit: int, name: str) -> None:
        self._stream = stream
        self._limit = limit
        self._left = limit
        self._name = name

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        # From the start, all bytes count again.
        self._left = self._limit
        return self._stream.seek(offset, whence)

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        content = self._stream.read(len(buffer))
        self._left -= len(content)
        if self._left < 0:
            raise _too_large(self._name, f"more than {self._limit / 1e9:,.1f} GB")

        buffer[: len(content)] = content
        return len(content)
