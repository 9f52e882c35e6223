"""A table says whether its bytes are those that were written: one changed bit anywhere is found, and named."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from competition.core import seals
from competition.core.errors import CompError
from competition.core.parquet import read_fingerprint, read_table, write_table
from competition.core.seals import is_intact

FRAME = pd.DataFrame(
    {"id": np.arange(50), "text": [f"text {i}" for i in range(50)], "share": np.linspace(0, 1, 50)}
)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of the workspace."""
    path = tmp_path_factory.mktemp("seals") / "table.parquet"
    write_table(path, FRAME, "inputs-1")
    return path


def changed(table: Path, content: bytes) -> Path:
    """Another file with this content."""
    path = table.with_name("changed.parquet")
    path.write_bytes(content)
    return path


def test_a_table_is_whole_and_the_same_bytes_each_time(table: Path) -> None:
    assert is_intact(table)
    assert read_fingerprint(table) == "inputs-1"
    other = table.with_name("again.parquet")
    write_table(other, FRAME, "inputs-1")
    assert other.read_bytes() == table.read_bytes()
    assert pq.read_metadata(table).metadata[b"comp.sha256"].decode() in table.read_bytes().decode(
        "latin-1"
    )


@given(data=st.data())
def test_a_changed_bit_is_never_read(table: Path, data: st.DataObject) -> None:
    content = bytearray(table.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path = changed(table, bytes(content))
    with pytest.raises(
        CompError, match=r"changed\.parquet (is damaged|cannot be read).*: `comp run` rebuilds it"
    ):
        read_table(path, "inputs-1")
    assert read_fingerprint(path) is None


@given(data=st.data())
def test_half_a_table_is_never_read(table: Path, data: st.DataObject) -> None:
    content = table.read_bytes()
    path = changed(table, content[: data.draw(st.integers(0, len(content) - 1))])
    with pytest.raises(CompError, match=r"changed\.parquet (is damaged|cannot be read)"):
        read_table(path, "inputs-1")
    assert read_fingerprint(path) is None


def test_a_table_that_another_program_wrote_again_is_none_of_ours(table: Path) -> None:
    path = table.with_name("changed.parquet")
    pq.write_table(pq.read_table(table).slice(1), path)  # with the metadata
    with pytest.raises(
        CompError, match=r"changed\.parquet is damaged, its bytes are not those that were written"
    ):
        read_table(path, "inputs-1")
    assert read_fingerprint(path) is None


def test_a_table_from_before_there_were_digests_is_read(table: Path) -> None:
    path, old = table.with_name("changed.parquet"), pq.read_table(table)
    pq.write_table(old.replace_schema_metadata({b"comp": b'{"inputs": "inputs-1"}'}), path)
    assert read_fingerprint(path) == "inputs-1"
    pd.testing.assert_frame_equal(read_table(path, "inputs-1"), FRAME)


def test_what_was_found_intact_is_looked_at_again_when_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[int] = []
    digest = seals._digest
    monkeypatch.setattr(seals, "_digest", lambda *a: looked.append(1) or digest(*a))
    path = tmp_path / "table.parquet"
    write_table(path, FRAME, "inputs-1")
    looked.clear()

    # So young, it may still change within a tick of the clock.
    assert is_intact(path)
    assert is_intact(path)
    assert len(looked) == 2
    monkeypatch.setattr(seals, "_TICK", -1)
    assert is_intact(path)
    assert is_intact(path)
    assert read_table(path, "inputs-1").equals(FRAME)
    assert len(looked) == 3

    # As many bytes in the same file.
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    times = path.stat()
    path.write_bytes(bytes(content))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))  # the time of its change is another
    monkeypatch.undo()
    assert not is_intact(path)
    write_table(path, FRAME.assign(id=1), "inputs-1")
    assert is_intact(path)
