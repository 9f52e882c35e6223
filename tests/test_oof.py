"""A run is joined by id, and refused when it is not whole."""

from pathlib import Path

import pandas as pd
import pytest

from competition import oof
from competition.errors import CompError
from competition.workspace import Workspace

EXAMPLES = pd.DataFrame({"example_id": [4, 1, 3, 2, 9, 8], "split": ["train"] * 4 + ["test"] * 2})


def gains(ids: list[int], shift: float = 0.0) -> pd.DataFrame:
    """Outputs whose value names the example."""
    return pd.DataFrame({"example_id": ids, "gain": [i / 100 + shift for i in ids]})


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A workspace with one complete run."""
    space = Workspace(tmp_path)
    oof.write_fold(space.oof_fold("r", 0), gains([3, 1]), "gain", "a")
    oof.write_fold(space.oof_fold("r", 1), gains([2, 4]), "gain", "a")
    oof.write_fold(space.test_fold("r", 0), gains([9, 8]), "gain", "a")
    oof.write_fold(space.test_fold("r", 1), gains([8, 9], shift=0.5), "gain", "a")
    return space


def read(space: Workspace) -> oof.Run:
    """The run of the fixture."""
    return oof.read_run(
        space, oof.RunPlan("r", "gain", ("task1",), "comp train --recipe r", (("a", "a"),) * 2), EXAMPLES
    )


def test_rows_are_matched_by_id_and_test_rows_are_the_mean_of_folds(workspace: Workspace) -> None:
    run = read(workspace)
    assert run.held_out["example_id"].tolist() == [1, 2, 3, 4]
    assert run.held_out["gain"].tolist() == pytest.approx([0.01, 0.02, 0.03, 0.04])
    assert run.test["gain"].tolist() == pytest.approx([0.08 + 0.25, 0.09 + 0.25])


def test_a_file_made_from_other_inputs_is_refused(workspace: Workspace) -> None:
    oof.write_fold(workspace.test_fold("r", 1), gains([8, 9]), "gain", "b")
    with pytest.raises(CompError, match=r"test-1\.parquet is out of date, it was made from other rows"):
        read(workspace)


def test_a_missing_fold_is_named(workspace: Workspace) -> None:
    workspace.oof_fold("r", 1).unlink()
    with pytest.raises(CompError, match="'r' is not complete, its fold 1 is missing: `comp train --recipe r` makes it"):
        read(workspace)


@pytest.mark.parametrize(
    ("ids", "sentence"),
    [
        ([2], "1 ids differ, the first is 4"),
        ([2, 4, 7], "1 ids differ, the first is 7"),
        ([2, 4, 1], "1 is there twice"),
    ],
)
def test_rows_that_are_missing_strange_or_double_are_refused(
    workspace: Workspace, ids: list[int], sentence: str
) -> None:
    oof.write_fold(workspace.oof_fold("r", 1), gains(ids), "gain", "a")
    with pytest.raises(CompError, match=sentence):
        read(workspace)


def test_values_are_checked_when_they_are_written(tmp_path: Path) -> None:
    bad = pd.DataFrame({"example_id": [5], "gain": [float("nan")]})
    with pytest.raises(CompError, match="1 rows are not finite, the first is 5"):
        oof.write_fold(tmp_path / "fold-0.parquet", bad, "gain", "a")
    half = pd.DataFrame(
        {"example_id": [6], "p_exact": [0.5], "p_substitute": [0.2], "p_complement": [0.1], "p_irrelevant": [0.1]}
    )
    with pytest.raises(CompError, match="do not sum to 1, the first is 6"):
        oof.write_fold(tmp_path / "fold-0.parquet", half, "classes", "a")
    assert not list(tmp_path.iterdir())


def test_a_damaged_file_is_named(workspace: Workspace) -> None:
    workspace.oof_fold("r", 0).write_bytes(b"PAR1 not really")
    with pytest.raises(CompError, match=r"fold-0\.parquet cannot be read"):
        read(workspace)
