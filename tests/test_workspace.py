"""How files are written: whole or not at all, with a checksum; with names and seeds that are the same everywhere."""

import errno
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from competition.errors import CompError, InputError
from competition.locks import HOST
from competition.seals import write_sealed
from competition.tables import fingerprint_rows, read_table, row_hashes, table_inputs, write_table
from competition.workspace import (
    Workspace,
    atomic_file,
    atomic_folder,
    derive_seed,
    fingerprint,
    fingerprint_files,
    read_json,
    stamp,
    stamped,
    write_json,
    write_text,
)

FRAME = pd.DataFrame({"id": [1, 2, 3], "text": ["a", "nan", ""], "share": [0.5, np.nan, 1.0]})


def names(folder: Path) -> list[str]:
    """Everything in a folder, hidden files too."""
    return sorted(path.name for path in folder.iterdir())


# --- whole or not at all -----------------------------------------------------------------------------------------


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
def test_a_file_that_fails_leaves_the_old_content(there: bool, error: type[BaseException], tmp_path: Path) -> None:
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
def test_a_folder_that_fails_leaves_the_old_one(there: bool, error: type[BaseException], tmp_path: Path) -> None:
    path = tmp_path / "folder"
    if there:
        with atomic_folder(path) as temporary:
            (temporary / "old").touch()
    with pytest.raises(error), atomic_folder(path) as temporary:
        (temporary / "half").touch()
        raise error
    assert names(tmp_path) == (["folder"] if there else [])
    assert not there or names(path) == ["old"]


def test_a_folder_that_cannot_be_moved_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
    assert names(tmp_path) == ["folder"] and names(path) == ["whole"]


# --- tables ------------------------------------------------------------------------------------------------------


def test_a_table_comes_back_with_the_name_of_its_inputs(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    write_table(path, FRAME, "inputs-1")
    pd.testing.assert_frame_equal(read_table(path, "inputs-1"), FRAME)
    with pytest.raises(CompError, match=r"table\.parquet is out of date"):
        read_table(path, "inputs-2")
    assert table_inputs(path) == "inputs-1"


def test_the_same_table_is_the_same_bytes(tmp_path: Path) -> None:
    other_index = FRAME.set_axis([7, 8, 9])
    for name, frame, inputs in (("1", FRAME, "x"), ("2", other_index, "x"), ("3", FRAME, "y"), ("4", FRAME[::-1], "x")):
        write_table(tmp_path / name, frame, inputs)
    one, same, other_inputs, other_order = ((tmp_path / name).read_bytes() for name in "1234")
    assert one == same
    assert one != other_inputs and one != other_order


def test_a_missing_or_damaged_table_is_named(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    assert table_inputs(path) is None
    with pytest.raises(CompError, match=r"table\.parquet is missing"):
        read_table(path, "inputs-1")
    path.write_bytes(b"PAR1 and then nothing")
    assert table_inputs(path) is None
    with pytest.raises(CompError, match=r"table\.parquet cannot be read"):
        read_table(path, "inputs-1")
    FRAME.to_parquet(path)  # readable, but nobody's
    assert table_inputs(path) is None


def name_of(frame: pd.DataFrame) -> str:
    return fingerprint_rows(frame.columns, row_hashes(frame))


def test_the_name_of_a_frame_is_that_of_its_rows_and_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    name = name_of(FRAME)
    assert name_of(FRAME.set_axis([7, 8, 9])) == name
    assert name_of(FRAME[::-1]) != name
    assert name_of(FRAME.rename(columns={"id": "key"})) != name
    assert name_of(FRAME.assign(id=[1, 2, 4])) != name
    monkeypatch.setattr("competition.tables._SLICE", 2)
    assert name_of(FRAME) == name


def test_a_missing_text_has_the_same_hash_in_every_slice(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = pd.DataFrame({"label": pd.Series(["exact", None, None, "exact"], dtype="str"), "id": [1, 2, 3, 4]})
    whole = pd.util.hash_pandas_object(frame, index=False)
    monkeypatch.setattr("competition.tables._SLICE", 2)
    assert row_hashes(frame).tolist() == whole.tolist()


# --- names and seeds ---------------------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)


def reverse(content: object) -> object:
    """The same content with every dictionary in the reverse order."""
    if isinstance(content, dict):
        return {key: reverse(content[key]) for key in reversed(content)}
    return [reverse(item) for item in content] if isinstance(content, list) else content


@given(JSON)
def test_the_order_of_keys_does_not_change_a_fingerprint(content: object) -> None:
    assert fingerprint(content) == fingerprint(reverse(content))


@pytest.mark.parametrize(("one", "other"), [(1, "1"), (None, "null"), ([], {}), (["ab"], ["a", "b"]), ([1, 2], [2, 1])])
def test_other_content_has_another_fingerprint(one: object, other: object) -> None:
    assert fingerprint(one) != fingerprint(other)


def test_fingerprints_and_seeds_are_pinned() -> None:
    # A new value would put every artefact of every workspace out of date, or change every result.
    assert fingerprint({"b": [1, "é"], "a": None}) == "1c3d52eb78675f43"
    assert derive_seed(2022, "c1", 0) == 1_184_845_719
    assert derive_seed("bootstrap") == 429_785_710


@given(st.lists(st.integers() | st.text(max_size=5), min_size=1, max_size=4))
def test_a_seed_has_31_bits(parts: list[str | int]) -> None:
    assert 0 <= derive_seed(*parts) < 2**31


def test_a_seed_knows_where_a_part_ends() -> None:
    assert len({derive_seed("a", "bc"), derive_seed("ab", "c"), derive_seed("abc"), derive_seed("a", "b", "c")}) == 4


def test_the_name_of_a_folder_is_that_of_its_files(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for folder, order in ((one, "ab"), (other, "ba")):
        for name in order:
            write_text(folder / name, name)
    assert fingerprint_files(one) == fingerprint_files(other)
    (other / "a").rename(other / "c")
    assert fingerprint_files(one) != fingerprint_files(other)


def test_json_comes_back_and_is_empty_where_it_is_unreadable(tmp_path: Path) -> None:
    path = tmp_path / "card.json"
    assert read_json(path) == {}
    write_json(path, {"b": 1, "a": "é"})
    assert read_json(path) == {"a": "é", "b": 1}
    text = path.read_text(encoding="utf-8")
    checksum = fingerprint({"a": "é", "b": 1})
    assert text == f'{{\n  "a": "é",\n  "b": 1,\n  "own_checksum": "{checksum}"\n}}\n'
    for broken in (b"{", b"[1]", b"\xff", text.replace("1", "2", 1).encode(), b"[" * 100_000):
        path.write_bytes(broken)
        assert read_json(path) == {}
    path.write_text('{"a": 1}', encoding="utf-8")  # as it was written before there were checksums
    assert read_json(path) == {"a": 1}


@given(JSON)
def test_what_json_may_hold_passes_its_checksum(content: object) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "card.json"
        write_json(path, {"content": content, "shares": {10: 0.1, 9: float("inf")}})
        assert read_json(path) == {"content": content, "shares": {"10": 0.1, "9": float("inf")}}


def test_a_folder_whose_files_have_changed_says_nothing_of_itself(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "model") as folder:
        (folder / "deep").mkdir()
        (folder / "deep" / "weights").write_bytes(b"0123456789")
        stamp(folder, "inputs-1")
    weights = tmp_path / "model" / "deep" / "weights"
    assert stamped(tmp_path / "model") == "inputs-1"
    for broken in (b"0123456788", b"01234", None):
        weights.unlink() if broken is None else weights.write_bytes(broken)
        assert stamped(tmp_path / "model") is None
    weights.write_bytes(b"0123456789")
    assert stamped(tmp_path / "model") == "inputs-1"
    (tmp_path / "model" / "made_from.json").write_text('{"inputs": "inputs-1"}')  # from before there were digests
    assert stamped(tmp_path / "model") == "inputs-1"


# --- a disk that takes no more -------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("write", ["python", "parquet", "safetensors"])
def test_what_cannot_be_written_is_named_and_leaves_what_was_there(write: str, number: int, tmp_path: Path) -> None:
    path = tmp_path / "artefact"
    write_text(path, "old")

    def fail(temporary: Path) -> None:
        temporary.write_text("half")
        if write == "safetensors":  # Rust says it in words
            raise RuntimeError(f"Error while serializing: I/O error: {os.strerror(number)} (os error {number})")
        raise OSError(number, "Error writing bytes to file" if write == "parquet" else os.strerror(number))

    with pytest.raises(CompError) as refusal, atomic_file(path) as temporary:
        fail(temporary)
    assert str(refusal.value).startswith(f"{path} cannot be written ({os.strerror(number)}); what was there before")
    assert names(tmp_path) == ["artefact"] and path.read_text(encoding="utf-8") == "old"


def test_other_errors_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), atomic_file(tmp_path / "file"):
        raise PermissionError(errno.EACCES, "not yours")


def test_a_full_disk_is_named_by_whoever_writes(tmp_path: Path) -> None:
    # /dev/full takes nothing and says so, as a full disk does.
    frame = pd.DataFrame({"x": np.arange(1000)})
    for name, save in {
        "parquet": lambda path: write_sealed(path, pa.Table.from_pandas(frame)),
        "text": lambda path: path.write_text("x" * 10_000),
    }.items():
        full = pytest.raises(CompError, match=f"{name} cannot be written .No space left on device")
        with full, atomic_file(tmp_path / name) as temporary:
            temporary.symlink_to("/dev/full")
            save(temporary)
        assert names(tmp_path) == []


def test_a_folder_without_settings_is_no_workspace(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no competition\.toml: make one with `comp init"):
        Workspace.open(tmp_path)


def test_what_a_killed_process_left_is_swept_by_the_next_write(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    dead = int(done.stdout)
    (tmp_path / f".file.json.{HOST}.{dead}.tmp").write_text("half")
    (tmp_path / f".folder.{HOST}.{dead}.old").mkdir()
    alive = tmp_path / f".file.json.{HOST}.{os.getppid()}.tmp"
    elsewhere = tmp_path / f".file.json.another-{HOST}.{dead}.tmp"
    for path in (alive, elsewhere):
        path.write_text("somebody is writing this")
    write_json(tmp_path / "file.json", {"a": 1})
    with atomic_folder(tmp_path / "folder") as folder:
        stamp(folder, "x")
    assert names(tmp_path) == sorted([alive.name, elsewhere.name, "file.json", "folder"])
    assert stamped(tmp_path / "folder") == "x" and stamped(tmp_path) is None
