"""Sequences on disk: each text's own, made once, whoever asks for it and in whatever order."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from competition.core.json_files import read_manifest
from competition.data.ragged import Ragged
from competition.data.token_store import SequenceStore, read_sequences, write_sequences

TITLES = pd.DataFrame({"title": ["red mug", "", "blue mug", "red mug", "水筒"]})
BRANDS = pd.DataFrame({"brand": ["Acme", "red mug", "", "Zeta", "Acme"]})
DISTINCT = 6  # red mug, nothing, blue mug, 水筒, Acme, Zeta


class Characters:
    """Makes the code points of texts, and counts what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, rows: pd.DataFrame) -> Ragged:
        texts = rows.iloc[:, 0].tolist()
        self.asked += texts
        return Ragged(
            np.array([ord(c) for text in texts for c in text], np.int32),
            np.array([*map(len, texts)]),
        )


def spelled(ragged: Ragged) -> list[str]:
    return ["".join(map(chr, ragged[i])) for i in range(len(ragged))]


@pytest.fixture(params=[2, 50_000])
def stored(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> SequenceStore:
    """Those of both tables, written in parts of some rows."""
    monkeypatch.setattr("competition.core.parquet._SLICE", request.param)
    make = Characters()
    write_sequences(tmp_path / "s", "inputs", "characters", [TITLES, BRANDS], make)
    assert make.asked == [
        "red mug",
        "",
        "blue mug",
        "水筒",
        "Acme",
        "Zeta",
    ]  # each text once, as they come
    return SequenceStore(tmp_path / "s")


def test_every_text_finds_its_sequence(stored: SequenceStore) -> None:
    assert len(stored) == DISTINCT
    for table in (TITLES, BRANDS, TITLES[::-1]):
        make = Characters()
        actual = read_sequences(table, make, stored, np.arange(len(table)))
        assert spelled(actual) == table.iloc[:, 0].tolist()
        assert make.asked == []


def test_only_new_texts_are_made(stored: SequenceStore) -> None:
    table = pd.DataFrame({"any": ["new", "red mug", "newer", "", "new", "Zeta"]})
    make = Characters()
    actual = read_sequences(table, make, stored, np.array([0, 1, 2, 5]))
    assert spelled(actual) == ["new", "red mug", "newer", "Zeta"]
    assert make.asked == ["new", "newer"]
    assert spelled(actual.cut(2)) == ["ne", "re", "ne", "Ze"]


def test_without_a_store_all_is_made(stored: SequenceStore) -> None:
    make = Characters()
    assert spelled(read_sequences(TITLES, make, None, np.array([0, 2, 4]))) == [
        "red mug",
        "blue mug",
        "水筒",
    ]
    assert make.asked == ["red mug", "blue mug", "水筒"]


def test_rows_of_several_columns_are_told_apart_by_all_of_them(tmp_path: Path) -> None:
    pairs = pd.DataFrame({"one": ["a", "a", "ab", "a"], "two": ["b", "c", "", "b"]})
    write_sequences(tmp_path / "s", "inputs", "characters", [pairs], Characters())
    assert len(SequenceStore(tmp_path / "s")) == 3


def test_same_rows_same_bytes(stored: SequenceStore, tmp_path: Path) -> None:
    write_sequences(tmp_path / "again", "inputs", "characters", [TITLES, BRANDS], Characters())
    for file in sorted((tmp_path / "s").iterdir()):
        assert file.read_bytes() == (tmp_path / "again" / file.name).read_bytes()
    assert read_manifest(tmp_path / "s") == "inputs"


def test_no_rows_and_no_values(tmp_path: Path) -> None:
    for number, table in enumerate((TITLES.head(0), TITLES.iloc[[1]])):
        write_sequences(tmp_path / str(number), "inputs", "characters", [table], Characters())
        stored = SequenceStore(tmp_path / str(number))
        assert (
            spelled(read_sequences(TITLES, Characters(), stored, np.arange(5)))
            == TITLES["title"].tolist()
        )


def test_a_failure_leaves_what_was_there(stored: SequenceStore, tmp_path: Path) -> None:
    def fail(rows: pd.DataFrame) -> Ragged:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_sequences(tmp_path / "s", "other", "characters", [TITLES], fail)
    assert read_manifest(tmp_path / "s") == "inputs"
    assert len(SequenceStore(tmp_path / "s")) == DISTINCT
    assert [path.name for path in tmp_path.iterdir()] == ["s"]
