"""What is written is whole or not there."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from competition.core.atomic import atomic_file, atomic_files, atomic_folder, write_text
from competition.core.errors import CompError
from competition.core.json_files import read_manifest, write_json, write_manifest
from competition.core.locks import HOST
from competition.core.seals import write_with_digest


def names(folder: Path) -> list[str]:
    """Everything in a folder, hidden files too."""
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_replaced_at_the_end_and_not_before(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file.txt"
    write_text(path, "old")
    with atomic_file(path) as temporary:
        temporary.write_text("new", encoding="utf-8")
        assert path.read_text(encoding="utf-8") == "old"
        assert temporary.parent == path.parent  # the same file system, so that the move is one step
    assert path.read_text(encoding="utf-8") == "new"
    assert names(path.parent) == ["file.txt"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("there", [True, False])
def test_a_file_that_fails_leaves_the_old_content(
    there: bool, error: type[BaseException], tmp_path: Path
) -> None:
    path = tmp_path / "file.txt"
    if there:
        write_text(path, "old")
    with pytest.raises(error), atomic_file(path) as temporary:
        temporary.write_text("half", encoding="utf-8")
        raise error
    assert names(tmp_path) == (["file.txt"] if there else [])
    assert not there or path.read_text(encoding="utf-8") == "old"


def test_a_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    for content in ("old", "new"):
        with atomic_folder(path) as temporary:
            (temporary / "deep").mkdir()
            (temporary / "deep" / content).write_text(content, encoding="utf-8")
        assert names(path / "deep") == [content]
        assert names(tmp_path) == ["folder"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("there", [True, False])
def test_a_folder_that_fails_leaves_the_old_one(
    there: bool, error: type[BaseException], tmp_path: Path
) -> None:
    path = tmp_path / "folder"
    if there:
        with atomic_folder(path) as temporary:
            (temporary / "old").touch()
    with pytest.raises(error), atomic_folder(path) as temporary:
        (temporary / "half").touch()
        raise error
    assert names(tmp_path) == (["folder"] if there else [])
    assert not there or names(path) == ["old"]


def test_a_folder_that_cannot_be_moved_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "folder"
    with atomic_folder(path) as temporary:
        (temporary / "old").touch()
    replace = os.replace

    def fail_with_the_new_one(source: Path, target: Path) -> None:
        if Path(source).name.endswith(".tmp"):
            raise OSError("no space left")
        replace(source, target)

    monkeypatch.setattr(os, "replace", fail_with_the_new_one)
    with pytest.raises(OSError, match="no space left"), atomic_folder(path) as temporary:
        (temporary / "new").touch()
    assert names(tmp_path) == ["folder"]
    assert names(path) == ["old"]


def test_what_a_killed_process_left_is_in_nobodys_way(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    left = tmp_path / f".folder.{HOST}.{os.getpid()}.tmp"
    left.mkdir()
    (left / "half").touch()
    with atomic_folder(path) as temporary:
        (temporary / "whole").touch()
    assert names(tmp_path) == ["folder"]
    assert names(path) == ["whole"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("write", ["python", "parquet", "safetensors"])
def test_what_cannot_be_written_is_named_and_leaves_what_was_there(
    write: str, number: int, tmp_path: Path
) -> None:
    path = tmp_path / "artefact"
    write_text(path, "old")

    def fail(temporary: Path) -> None:
        temporary.write_text("half")
        if write == "safetensors":  # Rust says it in words
            raise RuntimeError(
                f"Error while serializing: I/O error: {os.strerror(number)} (os error {number})"
            )
        raise OSError(
            number, "Error writing bytes to file" if write == "parquet" else os.strerror(number)
        )

    with pytest.raises(CompError) as refusal, atomic_file(path) as temporary:
        fail(temporary)
    assert str(refusal.value).startswith(
        f"{path} cannot be written ({os.strerror(number)}); what was there before"
    )
    assert names(tmp_path) == ["artefact"]
    assert path.read_text(encoding="utf-8") == "old"


def test_other_errors_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), atomic_file(tmp_path / "file"):
        raise PermissionError(errno.EACCES, "not yours")


def test_a_folder_in_which_this_user_may_not_write_is_named_by_its_file(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "file"
    for library in ("folder", "file", "arrow"):
        with pytest.raises(CompError) as refusal, atomic_files(tmp_path / "x", path) as temporaries:
            if library == "arrow":
                raise OSError(f"Failed to open '{temporaries[1]}'. Detail: [errno {errno.EACCES}]")
            forbidden = path.parent if library == "folder" else temporaries[1]
            raise PermissionError(errno.EACCES, "Permission denied", str(forbidden))
        assert str(refusal.value) == (
            f"{path} cannot be written (Permission denied): let this user write there, or name another folder."
        )


def test_a_full_disk_is_named_by_whoever_writes(tmp_path: Path) -> None:
    # /dev/full takes nothing and says so, as a full disk does.
    frame = pd.DataFrame({"x": np.arange(1000)})
    for name, save in {
        "parquet": lambda path: write_with_digest(path, pa.Table.from_pandas(frame)),
        "text": lambda path: path.write_text("x" * 10_000),
    }.items():
        full = pytest.raises(CompError, match=f"{name} cannot be written .No space left on device")
        with full, atomic_file(tmp_path / name) as temporary:
            temporary.symlink_to("/dev/full")
            save(temporary)
        assert names(tmp_path) == []


def test_what_a_killed_process_left_is_swept_by_the_next_write(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True
    )
    dead = int(done.stdout)
    (tmp_path / f".file.json.{HOST}.{dead}.tmp").write_text("half")
    (tmp_path / f".folder.{HOST}.{dead}.old").mkdir()
    alive = tmp_path / f".file.json.{HOST}.{os.getppid()}.tmp"
    elsewhere = tmp_path / f".file.json.another-{HOST}.{dead}.tmp"
    for path in (alive, elsewhere):
        path.write_text("somebody is writing this")
    write_json(tmp_path / "file.json", {"a": 1})
    with atomic_folder(tmp_path / "folder") as folder:
        write_manifest(folder, "x")
    assert names(tmp_path) == sorted([alive.name, elsewhere.name, "file.json", "folder"])
    assert read_manifest(tmp_path / "folder") == "x"
    assert read_manifest(tmp_path) is None


def test_files_have_the_mode_of_the_users_others(tmp_path: Path) -> None:
    (tmp_path / "other").touch()
    usual = (tmp_path / "other").stat().st_mode
    with atomic_file(tmp_path / "file") as temporary:
        temporary.touch(mode=0o600)  # as the writer of safetensors leaves it
    with atomic_folder(tmp_path / "folder") as temporary:
        (temporary / "weights").touch(mode=0o600)
    assert (
        (tmp_path / "file").stat().st_mode
        == (tmp_path / "folder" / "weights").stat().st_mode
        == usual
    )
