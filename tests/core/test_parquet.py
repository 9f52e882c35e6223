"""Tables joined by id."""

import subprocess
import sys
from pathlib import Path
from random import Random

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from competition.core.errors import CompError
from competition.core.parquet import (
    fingerprint_rows,
    mean_by_id,
    read_fingerprint,
    read_table,
    row_hashes,
    write_table,
)

FRAME = pd.DataFrame({"id": [1, 2, 3], "text": ["a", "nan", ""], "share": [0.5, np.nan, 1.0]})


def test_a_table_comes_back_with_the_name_of_its_inputs(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    write_table(path, FRAME, "inputs-1")
    pd.testing.assert_frame_equal(read_table(path, "inputs-1"), FRAME)
    with pytest.raises(CompError, match=r"table\.parquet is out of date"):
        read_table(path, "inputs-2")
    assert read_fingerprint(path) == "inputs-1"


@pytest.mark.parametrize("inputs", ["", "unfinished", 'a "quoted" \\ one', "é" * 200])
def test_a_fingerprint_is_read_whatever_the_table_holds(tmp_path: Path, inputs: str) -> None:
    # A text of the table is among its statistics, in the footer as the fingerprint is.
    path = tmp_path / "table.parquet"
    lookalike = '\x18\x04comp\x18\x13{"inputs": "other"}'
    write_table(path, FRAME.assign(text=lookalike), inputs)
    assert lookalike.encode() in path.read_bytes()
    assert read_fingerprint(path) == inputs


def test_a_fingerprint_is_read_without_opening_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "table.parquet"
    write_table(path, FRAME, "inputs-1")
    monkeypatch.delattr("pyarrow.parquet.read_schema")
    assert read_fingerprint(path) == "inputs-1"


def test_what_reads_fingerprints_alone_does_not_import_arrow() -> None:
    program = "import sys, competition.pipeline.steps; sys.exit('pyarrow' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_same_table_is_the_same_bytes(tmp_path: Path) -> None:
    other_index = FRAME.set_axis([7, 8, 9])
    for name, frame, inputs in (
        ("1", FRAME, "x"),
        ("2", other_index, "x"),
        ("3", FRAME, "y"),
        ("4", FRAME[::-1], "x"),
    ):
        write_table(tmp_path / name, frame, inputs)
    one, same, other_inputs, other_order = ((tmp_path / name).read_bytes() for name in "1234")
    assert one == same
    assert one != other_inputs
    assert one != other_order


def test_a_missing_or_damaged_table_is_named(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    assert read_fingerprint(path) is None
    with pytest.raises(CompError, match=r"table\.parquet is missing"):
        read_table(path, "inputs-1")
    path.write_bytes(b"PAR1 and then nothing")
    assert read_fingerprint(path) is None
    with pytest.raises(CompError, match=r"table\.parquet cannot be read"):
        read_table(path, "inputs-1")
    FRAME.to_parquet(path)  # readable, but nobody's
    assert read_fingerprint(path) is None


def name_of(frame: pd.DataFrame) -> str:
    return fingerprint_rows(frame.columns, row_hashes(frame))


def test_the_name_of_a_frame_is_that_of_its_rows_and_columns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name = name_of(FRAME)
    assert name_of(FRAME.set_axis([7, 8, 9])) == name
    assert name_of(FRAME[::-1]) != name
    assert name_of(FRAME.rename(columns={"id": "key"})) != name
    assert name_of(FRAME.assign(id=[1, 2, 4])) != name
    monkeypatch.setattr("competition.core.parquet._SLICE", 2)
    assert name_of(FRAME) == name


def test_a_missing_text_has_the_same_hash_in_every_slice(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = pd.DataFrame(
        {"label": pd.Series(["exact", None, None, "exact"], dtype="str"), "id": [1, 2, 3, 4]}
    )
    whole = pd.util.hash_pandas_object(frame, index=False)
    monkeypatch.setattr("competition.core.parquet._SLICE", 2)
    assert row_hashes(frame).tolist() == whole.tolist()


def frame(values: dict[int, float]) -> pd.DataFrame:
    """Outputs by example_id."""
    return pd.DataFrame({"example_id": list(values), "gain": list(values.values())})


def test_the_mean_goes_by_id_whatever_the_order() -> None:
    found = mean_by_id([frame({3: 0.3, 1: 0.1}), frame({1: 0.5, 3: 0.9}), frame({3: 0.0, 1: 0.0})])
    assert found["example_id"].tolist() == [1, 3]
    assert found["gain"].tolist() == pytest.approx([(0.1 + 0.5 + 0) / 3, (0.3 + 0.9 + 0) / 3])
    assert list(found.columns) == ["example_id", "gain"]


def test_columns_go_by_name() -> None:
    one = pd.DataFrame({"example_id": [1], "a": [0.2], "b": [0.6]})
    assert mean_by_id([one, one[["b", "example_id", "a"]]]).to_dict("list") == one.to_dict("list")


@given(
    st.dictionaries(st.integers(0, 99), st.floats(0, 1), max_size=9),
    st.randoms(use_true_random=False),
)
def test_the_mean_of_one_or_of_equals_is_itself_sorted(
    values: dict[int, float], random: Random
) -> None:
    shuffled = list(values)
    random.shuffle(shuffled)
    expected = [values[key] for key in sorted(values)]
    for frames in ([frame(values)], [frame(values), frame({key: values[key] for key in shuffled})]):
        found = mean_by_id(frames)
        assert found["example_id"].tolist() == sorted(values)
        assert found["gain"].tolist() == pytest.approx(expected)


@pytest.mark.parametrize(
    "other", [{1: 0.5}, {1: 0.5, 4: 0.5}, {1: 0.5, 3: 0.5, 4: 0.5}, {1: 0.5, 3: 0.5, 5: 0.5}]
)
def test_other_examples_are_refused(other: dict[int, float]) -> None:
    with pytest.raises(ValueError, match="must hold the same examples"):
        mean_by_id([frame({1: 0.1, 3: 0.3}), frame(other)])
