"""What people say of rows is checked, kept and obeyed; theirs is the last word, and on those rows alone."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from competition.core.errors import CompError, InputError
from competition.core.parquet import write_table
from competition.data import store, synthetic
from competition.noise.reviews import (
    VERDICTS,
    apply_reviews,
    describe_reviews,
    load_reviews,
    read_reviews,
    reviews_fingerprint,
)
from competition.pipeline.rows import fold_rows
from competition.pipeline.steps import Pipeline
from tests.conftest import make_workspace
from tests.esci import CONTEST

AUDITED = pd.Series([7, 3, -5, 2**62])


def written(folder: Path, text: str) -> Path:
    """A file of verdicts."""
    file = folder / "verdicts.csv"
    file.write_bytes(text.encode())
    return file


def said(**verdicts: str) -> pd.DataFrame:
    """`said(_7="right")` -> the verdict on row 7."""
    ids = [int(name.removeprefix("_")) for name in verdicts]
    return pd.DataFrame(
        {
            "example_id": np.array(ids, np.int64),
            "verdict": pd.Series(list(verdicts.values()), dtype="str"),
        }
    )


def test_a_file_is_read_sorted_by_id(tmp_path: Path) -> None:
    text = f"example_id,verdict\n7,wrong\n{2**62},unsure\n-5,right\n"
    read = read_reviews(written(tmp_path, text), AUDITED)
    assert read["example_id"].tolist() == [-5, 7, 2**62]
    assert read["verdict"].tolist() == ["right", "wrong", "unsure"]
    other = read_reviews(
        written(tmp_path, f"\ufeffverdict,example_id\r\nright,-5\r\nunsure,{2**62}\r\nwrong,7\r\n"),
        AUDITED,
    )
    pd.testing.assert_frame_equal(read, other)  # as a spreadsheet writes it
    assert describe_reviews(read) == "1 wrong, 1 right, 1 unsure"


WRONG = {
    "no such file": (None, ("is missing",)),
    "nothing": ("", ("is empty",)),
    "a missing column": ("example_id\n7\n", ("columns must be example_id, verdict", "found example_id")),
    "another separator": ("example_id;verdict\n7;right\n", ("separated by ';'", "save it with commas")),
    "an unknown verdict": ("example_id,verdict\n7,right\n3,maybe\n", ("row 2 ", "'maybe'", "wrong, right, unsure")),
    "a blank verdict": ("example_id,verdict\n7,\n", ("row 1 ", "unknown verdict")),
    "no number": ("example_id,verdict\n7,right\nx,right\n", ("row 2 ", "'x'", "not an integer")),
    "an unknown id": ("example_id,verdict\n7,right\n8,right\n", ("row 2 ", "8", "not among the rows that")),
    "an id twice": ("example_id,verdict\n7,right\n3,wrong\n7,right\n", ("row 3 ", "7", "repeats")),
    "too many cells": ("example_id,verdict\n7,right,really\n8,right,really\n", ("more cells",)),
}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_files_are_refused(wrong: str, tmp_path: Path) -> None:
    text, words = WRONG[wrong]
    file = tmp_path / "none.csv" if text is None else written(tmp_path, text)
    with pytest.raises(InputError) as refusal:
        read_reviews(file, AUDITED)
    for word in (str(file), *words):
        assert word in str(refusal.value)
    assert "\n" not in str(refusal.value)


@given(
    st.lists(st.tuples(st.booleans(), st.sampled_from([None, *VERDICTS])), min_size=1, max_size=30),
    st.randoms(),
)
def test_right_is_kept_wrong_is_dropped_and_no_other_row_moves(
    rows: list[Any], random: Any
) -> None:
    noise = pd.DataFrame(
        {
            "example_id": 3 * np.arange(len(rows)),
            "dropped": [dropped for dropped, _ in rows],
            "quality": 0.3,
        }
    )
    given_ = [(3 * i, verdict) for i, (_, verdict) in enumerate(rows) if verdict]
    random.shuffle(given_)
    verdicts = pd.DataFrame(given_, columns=["example_id", "verdict"]).astype(
        {"example_id": "int64", "verdict": "str"}
    )
    obeyed = apply_reviews(noise, verdicts)
    assert obeyed["dropped"].dtype == bool
    for (before, verdict), after, quality in zip(
        rows, obeyed["dropped"], obeyed["quality"], strict=True
    ):
        assert after == {"right": False, "wrong": True}.get(verdict or "", before)
        assert quality == {"right": 1.0, "wrong": 0.0}.get(verdict or "", 0.3)
    pd.testing.assert_series_equal(obeyed["example_id"], noise["example_id"])


def test_only_what_decides_enters_the_fingerprint() -> None:
    assert reviews_fingerprint(said()) == reviews_fingerprint(said(_7="unsure")) == []
    right = reviews_fingerprint(said(_7="right"))
    assert right == reviews_fingerprint(said(_3="unsure", _7="right"))
    assert (
        len(
            {*right, *reviews_fingerprint(said(_7="wrong")), *reviews_fingerprint(said(_3="right"))}
        )
        == 3
    )


def test_verdicts_redo_the_audit_and_those_that_obey_it(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path / "w")
    before, rows = Pipeline(workspace), Pipeline(workspace).plan.card.train
    some = int(before.tables.examples.query("split == 'train'")["example_id"].iloc[0])

    def changed() -> set[str]:
        inputs = {step.name: step.fingerprint for step in before.steps()}
        left = [
            step.name
            for step in Pipeline(workspace).steps()
            if step.fingerprint != inputs[step.name]
        ]
        return {name.split(" fold ")[0] for name in left}

    write_table(workspace.reviews("c1"), said(**{f"_{some}": "unsure"}), rows)
    assert changed() == set()
    write_table(workspace.reviews("c1"), said(**{f"_{some}": "right"}), rows)
    assert {"audit c1", "train r2", "predict r2", "stack blend-task1", "submit main"} <= changed()
    assert not {"train c1", "train lexical", "train t3", "folds five"} & changed()
    workspace.reviews("c1").unlink()
    assert changed() == set()


def test_verdicts_never_touch_held_out_or_test_rows(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path / "w")
    pipeline = Pipeline(workspace)
    pipeline.inputs.folds("five").build()
    examples = pipeline.tables.examples
    train = examples[examples["split"] == "train"]
    verdicts = pd.DataFrame({"example_id": train["example_id"], "verdict": "wrong"}).iloc[::2]
    write_table(workspace.reviews("c1"), verdicts, pipeline.plan.card.train)
    flags = apply_reviews(
        pd.DataFrame({"example_id": train["example_id"], "dropped": False, "quality": 0.3}),
        verdicts,
    )
    recipe = pipeline.recipes.member("r2")
    plan = pipeline.plan.fold(recipe, 1)
    assert plan.audit is not None
    write_table(workspace.noise("c1"), flags, plan.audit.inputs)
    every, kept = (fold_rows(pipeline.tables, p) for p in (replace(plan, audit=None), plan))
    assert (kept.held_out == every.held_out).all()
    assert (kept.test == every.test).all()
    wrong = set(np.flatnonzero(examples["example_id"].isin(verdicts["example_id"])))
    assert wrong & set(every.train)
    assert set(kept.train) == set(every.train) - wrong


def test_verdicts_on_other_rows_are_refused(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path / "w")
    write_table(workspace.reviews("c1"), said(_1="wrong"), Pipeline(workspace).plan.card.train)
    assert len(load_reviews(workspace, "c1", Pipeline(workspace).plan.card.train)) == 1
    examples, products, _ = synthetic.make(60, noise=0.05, seed=8)  # the same ids, other rows
    store.save(workspace, CONTEST, examples, products, "test")
    with pytest.raises(
        CompError, match=r"verdicts\.parquet is out of date.*--verdicts FILE`, or delete the file"
    ):
        Pipeline(workspace).steps()
    workspace.reviews("c1").unlink()
    assert Pipeline(workspace).plan.reviews("c1").empty
