"""Files that say whether they are what was written: the SHA-256 of their own bytes, in a parquet file's footer.

The digest is that of the file with zeros in the digest's place, so it covers every byte: text,
numbers and metadata.
"""

import hashlib
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

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


def write_with_digest(path: Path, table: pa.Table) -> None:
    """Write `table`, whose metadata say that it is SEALED, as parquet with the digest of the file."""
    with pq.ParquetWriter(path, table.schema) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({_KEY: _EMPTY.decode()})

    # Zeros keep the place until the bytes around them are known.
    start, _ = _place(path)
    digest = _digest(path, start)
    with path.open("r+b") as handle:
        handle.seek(start)
        handle.write(digest)


def is_intact(path: Path) -> bool:
    """Return whether the bytes of a file are those that were written; one from before there were digests passes.

    Raises:
        OSError: it cannot be read.
    """
    start, digest = _place(path)
    return digest is None or _digest(path, start) == digest


def _place(path: Path) -> tuple[int, bytes | None]:
    """Return where a file's digest begins, and the digest: empty where it is lost, None where there never was one."""
    size = path.stat().st_size
    with path.open("rb") as handle:
        handle.seek(max(0, size - _TAIL))
        length = int.from_bytes(handle.read(4), "little")  # of the footer

        # A damaged length may point before the file.
        start = max(0, size - _TAIL - length)
        handle.seek(start)
        footer = handle.read()

    if match := _PLACE.search(footer):
        return start + match.start(1), match[1]
    return size, b"" if _MARK in footer else None


def _digest(path: Path, start: int) -> bytes:
    """Return the digest of a file whose own digest begins at `start`."""
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        for first in range(0, start, _CHUNK):
            digest.update(handle.read(min(_CHUNK, start - first)))

        # Zeros stand for the digest itself.
        handle.seek(len(_EMPTY), 1)
        digest.update(_EMPTY)
        digest.update(handle.read())
    return digest.hexdigest().encode()
