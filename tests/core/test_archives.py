"""Files as they lie on disks: packed by whom ever, piped, in parts; what is something else is said to be that."""

import bz2
import gzip
import io
import lzma
import os
import tarfile
import threading
import zipfile
from pathlib import Path

import pytest

from competition.core import archives
from competition.core.archives import open_unpacked, part_files
from competition.core.csv_files import read_csv
from competition.core.errors import InputError

TABLE = b"id,text\n1,a\n"


def read(path: Path) -> bytes:
    with open_unpacked(path, path.name) as handle:
        first = handle.read()
        handle.seek(0)
        assert handle.read() == first
        return first


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as error:
        read(path)
    return str(error.value)


def zipped(*names: str) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(name, TABLE)
    return packed.getvalue()


def named(value: object) -> str:
    """Tests are called by names and words; archives hold the time at which they were made."""
    return value if isinstance(value, str) else "content"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", TABLE),
        ("a.csv.gz", gzip.compress(TABLE)),
        ("a.CSV.GZ", gzip.compress(TABLE[:5]) + gzip.compress(TABLE[5:])),
        ("a.csv.bz2", bz2.compress(TABLE)),
        ("a.csv.xz", lzma.compress(TABLE)),
        ("a.csv.ZIP", zipped("a.csv")),
        ("mac.csv.zip", zipped("__MACOSX/._a.csv", ".DS_Store", "a.csv")),
        ("windows.csv.zip", zipped("folder\\\\a.csv", "folder\\\\desktop.ini")),
    ],
    ids=named,
)
def test_packed_files_are_read(name: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert read(path) == TABLE


def test_a_pipe_is_read_twice(tmp_path: Path) -> None:
    for content in (TABLE, gzip.compress(TABLE), zipped("a.csv")):
        path = tmp_path / "pipe"
        os.mkfifo(path)
        writer = threading.Thread(target=path.write_bytes, args=(content,))
        writer.start()
        assert read(path) == TABLE
        writer.join()
        path.unlink()


def tarred() -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a.csv"))
    return packed.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", b"", "a.csv is empty."),
        ("a.csv.gz", gzip.compress(b""), "a.csv.gz is empty."),
        (
            "a.csv",
            gzip.compress(TABLE),
            "is packed: rename it, so that it ends in .gz, or unpack it.",
        ),
        ("a.csv.gz", TABLE, "is no gz archive, though its name says so"),
        ("a.csv.gz", gzip.compress(TABLE)[:-9], "is not a readable archive"),
        ("a.tgz", gzip.compress(tarred()), "is a tar archive: unpack it first."),
        ("a.csv", b"\xd0\xcf\x11\xe0" + bytes(600), "is an Excel workbook"),
        ("a.zip", zipped("[Content_Types].xml", "xl/workbook.xml"), "is an Excel workbook"),
        ("a.csv", b"<!DOCTYPE html><title>Sign in</title>", "is a web page"),
        ("a.csv", b"version https://git-lfs.github.com/spec/v1\n", "is a Git-LFS pointer"),
        ("a.parquet", b"ARROW1\0\0", "is an Arrow (Feather) file"),
    ],
    ids=named,
)
def test_what_is_something_else_is_called_that(
    name: str, content: bytes, words: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert words in refusal(path)


@pytest.mark.parametrize(
    "method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
)
def test_a_damaged_archive_is_refused_wherever_the_damage_is(method: int, tmp_path: Path) -> None:
    path, packed = tmp_path / "a.csv.zip", io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(zipfile.ZipInfo("a.csv"), TABLE, method)

    refused = 0
    for at in range(len(packed.getvalue())):
        damaged = bytearray(packed.getvalue())
        damaged[at] ^= 0xFF
        path.write_bytes(damaged)
        try:
            table = read_csv(path, path.name)
        except InputError as error:
            sentence = str(error)
            refused += path.name in sentence
        else:
            sentence = path.name
            assert table.to_pydict() == {"id": ["1"], "text": ["a"]}
        assert path.name in sentence
    assert refused > len(packed.getvalue()) / 3


def test_a_stream_that_unpacks_to_too_much_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(b"1" * 1_000_000))
    assert len(read(path)) == 1_000_000
    monkeypatch.setattr(archives, "SMALL", 999_999)
    assert "would unpack to more than 0.0 GB" in refusal(path)


def test_part_files_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for name in ("part.10.csv", "part.2.csv", "_SUCCESS", ".part.2.csv.crc"):
        (tmp_path / name).write_bytes(TABLE)
    assert [path.name for path in part_files(tmp_path)] == ["part.2.csv", "part.10.csv"]
    assert part_files(tmp_path / "part.2.csv") == [tmp_path / "part.2.csv"]
    (tmp_path / "locale=us").mkdir()
    with pytest.raises(InputError, match="holds the folder locale=us"):
        part_files(tmp_path)
