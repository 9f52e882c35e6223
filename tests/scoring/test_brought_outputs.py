"""Files of outputs that another tool made."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from competition.core.errors import InputError
from competition.scoring.brought_outputs import (
    content_fingerprint,
    match_rows,
    read_brought,
)
from tests.esci import CONTEST
from tests.soak.members import damaged_members, made_up, refusal

KIND = CONTEST.kind("classes")


def write(folder: Path, rows: list[list[str]], name: str = "x.csv") -> Path:
    file = folder / name
    file.write_text("\n".join(",".join(row) for row in rows) + "\n")
    return file


def test_damaged_files_are_refused_by_row(tmp_path: Path) -> None:
    counted, wrong = damaged_members(tmp_path, 104, seed=1)
    assert wrong == 0
    assert set(counted.values()) == {13}  # of each of eight kinds


def test_a_whole_file_is_taken_in_any_order_and_form(tmp_path: Path) -> None:
    examples, folds, rows = made_up(KIND)
    _, *cells = rows
    whole = write(tmp_path, rows)
    assert refusal(whole, KIND, examples, folds) is None

    frame = read_brought(whole, KIND)
    parquet = tmp_path / "x.parquet"
    frame.sample(frac=1, random_state=0).to_parquet(parquet)
    assert refusal(parquet, KIND, examples, folds) is None

    # What it begins with says what it is, not its name.
    renamed = parquet.rename(tmp_path / "x.PARQUET.csv")
    assert refusal(renamed, KIND, examples, folds) is None

    # Labels as columns, and the rows named by query and product.
    short = ["E", "S", "C", "I"]
    by_label = [["query_id", "product_id", *short]]
    keys = examples.astype(str)
    for (_, *values, _), key in zip(cells, keys.itertuples(), strict=True):
        by_label.append([str(key.query_id), str(key.product_id), *values])
    other = match_rows(read_brought(write(tmp_path, by_label, "y.csv"), KIND), examples, "y.csv")
    columns = ["example_id", *KIND.outputs]
    assert content_fingerprint(other[columns]) == content_fingerprint(frame[columns])


def test_rounded_probabilities_are_made_to_sum_to_1(tmp_path: Path) -> None:
    _, _, rows = made_up(KIND)
    header, *cells = rows
    rounded = [[i, *(f"{float(p):.4f}" for p in values), fold] for i, *values, fold in cells]
    frame = read_brought(write(tmp_path, [header, *rounded]), KIND)
    assert np.abs(KIND.values(frame).sum(axis=1) - 1).max() <= 1e-6


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda h: [*h[:-1], "split"], "unknown column 'split'"),
        (lambda h: ["id", *h[1:]], "the column 'query_id' is missing: it needs example_id (or"),
        (lambda h: [*h[:2], "p_sub", *h[3:]], "the column 'p_substitute' is missing"),
        (lambda h: ["Example_ID", *h[1:]], "is missing"),
    ],
)
def test_other_columns_are_refused(tmp_path: Path, change: object, sentence: str) -> None:
    examples, folds, rows = made_up(KIND)
    assert callable(change)
    file = write(tmp_path, [change(rows[0]), *rows[1:]])
    told = refusal(file, KIND, examples, folds)
    assert told is not None
    assert sentence in told


def test_a_pair_that_is_of_several_rows_needs_ids(tmp_path: Path) -> None:
    examples, folds, _ = made_up(KIND)
    twice = examples.assign(query_id=0, product_id="P")
    frame = pd.DataFrame({"query_id": [0], "product_id": ["P"], "score": [0.5]})
    file = tmp_path / "x.parquet"
    frame.to_parquet(file)
    told = refusal(file, CONTEST.kind("score"), twice, folds)
    assert told is not None
    assert "row 1 " in told
    assert "is of several rows: name them by example_id" in told


def test_columns_that_stand_for_one_output_are_refused(tmp_path: Path) -> None:
    examples, folds, rows = made_up(KIND)
    _, *cells = rows
    both = [["example_id", *KIND.labels.names, "fold", "E"], *([*row, row[1]] for row in cells)]
    told = refusal(write(tmp_path, both), KIND, examples, folds)
    assert told is not None
    assert "has the outputs p_exact twice" in told


@pytest.mark.parametrize(
    ("column", "value", "sentence"),
    [
        ("score", 1e200, "row 3 (example_id 3, score 1e+200) has a score beyond 1e+30"),
        ("score", True, "has no finite number as score"),
        ("gain", 3.0, "row 3 (example_id 3, gain 3.0) has a gain far from 0 to 1"),
    ],
)
def test_numbers_that_are_none_or_too_large_are_refused(
    tmp_path: Path, column: str, value: float, sentence: str
) -> None:
    values = [value] * 3 if value is True else [0.5, 1.2, value]
    pd.DataFrame({"example_id": [1, 2, 3], column: values}).to_parquet(tmp_path / "x.parquet")
    with pytest.raises(InputError) as error:
        read_brought(tmp_path / "x.parquet", CONTEST.kind(column))
    assert sentence in str(error.value)
