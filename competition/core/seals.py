"""Files that say whether they are what was written: the SHA-256 of their own bytes, in a parquet file's footer.

The digest is that of the file with zeros in the digest's place, so it covers every byte: text,
numbers and metadata.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from io import BufferedRandom, BufferedReader
from pathlib import Path

from competition.core.lazy import pa, pq

# Not parquet's own page checksums: they leave out the footer, where one bit renames a column of a readable table.
_KEY = "comp.sha256"
_EMPTY = b"0" * 64
# In the footer (thrift's compact protocol): the key; a string follows, of 64 bytes.
_PLACE = re.compile(re.escape(_KEY.encode()) + rb"\x18\x40([0-9a-f]{64})")
# A key of the table's own JSON metadata: what has it and no digest was written by somebody else.
SEALED = "sealed"
_MARK = f'"{SEALED}": true'.encode()
_TAIL = 8  # bytes behind the footer: its length and PAR1
_CHUNK = 1 << 20
_TICK = 1_000_000_000  # nanoseconds; far more than any clock of files takes
# Files of which this process computed the digest: device, number, size, and when they changed.
_found_intact: set[tuple[int, ...]] = set()
_File = BufferedReader | BufferedRandom


def write_with_digest(path: Path, table: pa.Table) -> None:
    """Write `table`, whose metadata say that it is SEALED, as parquet with the digest of the file."""
    # Ids hardly repeat, but each is near the one before: a dictionary of them takes three times as long to read.
    ids = [each.name for each in table.schema if pa.types.is_int64(each.type)]
    others = [name for name in table.column_names if name not in ids]
    encoding = dict.fromkeys(ids, "DELTA_BINARY_PACKED")
    with pq.ParquetWriter(
        path, table.schema, use_dictionary=others, column_encoding=encoding or None
    ) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({_KEY: _EMPTY.decode()})

    # Zeros keep the place until the bytes around them are known.
    with path.open("r+b") as handle:
        footer = _footer(handle)
        match = _PLACE.search(footer)
        assert match is not None  # it was just written
        start = handle.tell() - len(footer) + match.start(1)
        digest = _digest(handle, start)
        handle.seek(start)
        handle.write(digest)


def is_intact(path: Path) -> bool:
    """Return whether the bytes of a file are those that were written; one from before there were digests passes.

    Raises:
        OSError: it cannot be read.
    """
    return intact_footer(path) is not None


def intact_footer(path: Path) -> bytes | None:
    """Return a file from its footer on; None where it is not intact, see `is_intact`.

    What a process found intact is not looked at again, unless it changed since, as the times of the
    file say.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as handle:
        footer = _footer(handle)
        status = os.fstat(handle.fileno())
        times = (status.st_mtime_ns, status.st_ctime_ns)
        found = (status.st_dev, status.st_ino, status.st_size, *times)
        if found in _found_intact:
            return footer
        match = _PLACE.search(footer)
        if match is None:
            return None if _MARK in footer else footer

        start = handle.tell() - len(footer) + match.start(1)
        if _digest(handle, start) != match[1]:
            return None
        # What changes within a tick of the clock keeps its times.
        if time.time_ns() - max(times) > _TICK:
            _found_intact.add(found)
        return footer


def _footer(handle: _File) -> bytes:
    """Return a file from its footer on, to the end of which it is read."""
    size = handle.seek(0, os.SEEK_END)
    handle.seek(max(0, size - _TAIL))
    length = int.from_bytes(handle.read(4), "little")

    # A damaged length may point before the file.
    handle.seek(max(0, size - _TAIL - length))
    return handle.read()


def _digest(handle: _File, start: int) -> bytes:
    """Return the digest of a file whose own digest begins at `start`."""
    digest = hashlib.sha256()
    handle.seek(0)
    # One buffer for all chunks: to make and free one each time takes as long as to read.
    buffer = memoryview(bytearray(_CHUNK))
    for first in range(0, start, _CHUNK):
        read = handle.readinto(buffer[: min(_CHUNK, start - first)])
        digest.update(buffer[:read])

    # Zeros stand for the digest itself.
    handle.seek(len(_EMPTY), os.SEEK_CUR)
    digest.update(_EMPTY)
    digest.update(handle.read())
    return digest.hexdigest().encode()
