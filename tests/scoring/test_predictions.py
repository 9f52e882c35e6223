"""A run is joined by id, and refused when it is not whole."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from competition.core.errors import CompError
from competition.core.parquet import write_table
from competition.core.workspace import Workspace
from competition.scoring import predictions
from tests.esci import KINDS

IDS = pd.Series([4, 1, 3, 2]), pd.Series([9, 8])  # of training rows and of test rows


def gains(ids: list[int], shift: float = 0.0) -> pd.DataFrame:
    """Outputs whose value names the example."""
    return pd.DataFrame({"example_id": ids, "gain": [i / 100 + shift for i in ids]})


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A workspace with one complete run."""
    space = Workspace(tmp_path)
    predictions.write_outputs(space.oof_fold("r", 0), gains([3, 1]), KINDS["gain"], "a")
    predictions.write_outputs(space.oof_fold("r", 1), gains([2, 4]), KINDS["gain"], "a")
    predictions.write_outputs(space.test_fold("r", 0), gains([9, 8]), KINDS["gain"], "a")
    predictions.write_outputs(space.test_fold("r", 1), gains([8, 9], shift=0.5), KINDS["gain"], "a")
    return space


def read(space: Workspace) -> predictions.Run:
    """The run of the fixture."""
    return predictions.read_run(
        space,
        predictions.RunPlan(
            "r", KINDS["gain"], ("task1",), "comp train --recipe r", (("a", "a"),) * 2
        ),
        *IDS,
    )


def test_rows_are_matched_by_id_and_test_rows_are_the_mean_of_folds(workspace: Workspace) -> None:
    run = read(workspace)
    assert run.held_out["example_id"].tolist() == [1, 2, 3, 4]
    assert run.held_out["gain"].tolist() == pytest.approx([0.01, 0.02, 0.03, 0.04])
    assert run.fold.tolist() == [0, 1, 0, 1]
    assert run.test["gain"].tolist() == pytest.approx([0.08 + 0.25, 0.09 + 0.25])


def test_a_file_made_from_other_inputs_is_refused(workspace: Workspace) -> None:
    predictions.write_outputs(workspace.test_fold("r", 1), gains([8, 9]), KINDS["gain"], "b")
    with pytest.raises(
        CompError, match=r"test-1\.parquet is out of date, it was made from other rows"
    ):
        read(workspace)


def test_a_missing_fold_is_named(workspace: Workspace) -> None:
    workspace.oof_fold("r", 1).unlink()
    with pytest.raises(
        CompError,
        match="'r' is not complete, its fold 1 is missing: `comp train --recipe r` makes it",
    ):
        read(workspace)


@pytest.mark.parametrize(
    ("ids", "sentence"),
    [
        ([2], "1 ids differ, the first is 4"),
        ([2, 4, 7], "1 ids differ, the first is 7"),
        ([2, 4, 1], "1 is duplicated"),
    ],
)
def test_rows_that_are_missing_strange_or_double_are_refused(
    workspace: Workspace, ids: list[int], sentence: str
) -> None:
    predictions.write_outputs(workspace.oof_fold("r", 1), gains(ids), KINDS["gain"], "a")
    with pytest.raises(CompError, match=sentence):
        read(workspace)


def test_values_are_checked_when_they_are_written(tmp_path: Path) -> None:
    bad = pd.DataFrame({"example_id": [5], "gain": [float("nan")]})
    with pytest.raises(CompError, match="1 rows are not finite, the first is 5"):
        predictions.write_outputs(tmp_path / "fold-0.parquet", bad, KINDS["gain"], "a")
    half = pd.DataFrame(
        {
            "example_id": [6],
            "p_exact": [0.5],
            "p_substitute": [0.2],
            "p_complement": [0.1],
            "p_irrelevant": [0.1],
        }
    )
    with pytest.raises(CompError, match="do not sum to 1, the first is 6"):
        predictions.write_outputs(tmp_path / "fold-0.parquet", half, KINDS["classes"], "a")
    assert not list(tmp_path.iterdir())


def test_a_damaged_file_is_named(workspace: Workspace) -> None:
    workspace.oof_fold("r", 0).write_bytes(b"PAR1 not really")
    with pytest.raises(CompError, match=r"fold-0\.parquet cannot be read"):
        read(workspace)


def test_values_are_checked_when_they_are_read(workspace: Workspace) -> None:
    bad = gains([2, 4]).assign(gain=[float("nan"), 0.04])
    write_table(workspace.oof_fold("r", 1), bad, "a")
    with pytest.raises(
        CompError, match="The run 'r', fold 1: 1 rows are not finite, the first is 2"
    ):
        read(workspace)
    predictions.write_outputs(workspace.oof_fold("r", 1), gains([2, 4]), KINDS["gain"], "a")
    write_table(workspace.test_fold("r", 0), gains([8, 9]).assign(gain=float("inf")), "a")
    with pytest.raises(
        CompError, match="The run 'r', test rows of fold 0: 2 rows are not finite, the first is 8"
    ):
        read(workspace)


def test_probabilities_are_checked_when_they_are_read(tmp_path: Path) -> None:
    space, columns = (
        Workspace(tmp_path),
        ["p_exact", "p_substitute", "p_complement", "p_irrelevant"],
    )
    good = pd.DataFrame([[0.4, 0.3, 0.2, 0.1]] * 6, columns=columns).assign(
        example_id=[1, 2, 3, 4, 8, 9]
    )
    half = good.assign(p_exact=[0.4, 0.4, 0.3, 0.5, 0.4, 0.4])  # rows 3 and 4
    write_table(space.oof_fold("c", 0), half.head(4), "a")
    write_table(space.test_fold("c", 0), good.tail(2), "a")
    plan = predictions.RunPlan(
        "c", KINDS["classes"], ("task2",), "comp train --recipe c", (("a", "a"),)
    )
    sentence = "The run 'c', fold 0: 2 rows of probabilities do not sum to 1, the first is 3"
    with pytest.raises(CompError, match=sentence):
        predictions.read_run(space, plan, *IDS)


# --- folds of other parts
# ----------------------------------------------------------------------------------------


def test_a_run_whose_folds_are_those_of_the_scheme_is_taken(workspace: Workspace) -> None:
    predictions.check_parts(read(workspace), pd.Series({4: 1, 3: 0, 2: 1, 1: 0}), "five")


def test_a_run_that_was_trained_on_other_parts_is_named(workspace: Workspace) -> None:
    sentence = r"'r' holds 2 rows in its fold 1 that folds/five\.parquet puts elsewhere, it was trained on other parts"
    with pytest.raises(CompError, match=sentence):
        predictions.check_parts(read(workspace), pd.Series({1: 0, 2: 0, 3: 0, 4: 2}), "five")


# --- nested models
# -----------------------------------------------------------------------------------------------

FOLD = pd.Series({14: 4, 13: 3, 12: 2, 11: 1, 10: 0, 20: 0})  # the fold of the rows 10..14 and 20
PAIRS = dict.fromkeys(combinations(range(5), 2), "a")


def said(pair: tuple[int, ...], row: int) -> float:
    """What the model that left out a pair of folds says of a row: it names both."""
    return pair[0] + pair[1] / 10 + row / 1000


def of_pair(pair: tuple[int, ...]) -> pd.DataFrame:
    """The outputs of a nested model for the rows of its two folds."""
    ids = [row for row, fold in FOLD.items() if fold in pair]
    return pd.DataFrame({"example_id": ids, "gain": [said(pair, row) for row in ids]})


@pytest.fixture
def nested(tmp_path: Path) -> Workspace:
    """A workspace with the nested models of five folds."""
    space = Workspace(tmp_path)
    for pair in PAIRS:
        predictions.write_outputs(space.pair("n", pair), of_pair(pair), KINDS["gain"], "a")
    return space


def test_a_fold_sees_what_models_that_left_it_out_say_by_hand(nested: Workspace) -> None:
    seen = predictions.read_nested(nested, "n", KINDS["gain"], PAIRS, FOLD)
    assert sorted(seen) == [0, 1, 2, 3, 4]
    assert all(each["example_id"].tolist() == [10, 11, 12, 13, 14, 20] for each in seen.values())
    of_two = seen[2].set_index("example_id")["gain"]
    # Rows of another fold j: the model that left out j and 2.
    assert of_two[10] == said((0, 2), 10)
    assert of_two[20] == said((0, 2), 20)
    assert of_two[11] == said((1, 2), 11)
    assert of_two[13] == said((2, 3), 13)
    assert of_two[14] == said((2, 4), 14)
    # Its own: the mean of the four models that left it out.
    four = [said((0, 2), 12), said((1, 2), 12), said((2, 3), 12), said((2, 4), 12)]
    assert of_two[12] == pytest.approx(sum(four) / 4)


def test_what_a_fold_sees_comes_only_from_models_that_left_it_and_the_row_out(
    nested: Workspace,
) -> None:
    before = predictions.read_nested(nested, "n", KINDS["gain"], PAIRS, FOLD)
    predictions.write_outputs(
        nested.pair("n", (1, 3)), of_pair((1, 3)).assign(gain=9.0), KINDS["gain"], "a"
    )
    after = predictions.read_nested(nested, "n", KINDS["gain"], PAIRS, FOLD)
    moved = {
        k: before[k]["example_id"][(before[k]["gain"] != after[k]["gain"]).to_numpy()].tolist()
        for k in before
    }
    assert moved == {0: [], 1: [11, 13], 2: [], 3: [11, 13], 4: []}


def test_a_missing_pair_is_named(nested: Workspace) -> None:
    nested.pair("n", (1, 4)).unlink()
    with pytest.raises(CompError, match=r"pair-1-4\.parquet is missing"):
        predictions.read_nested(nested, "n", KINDS["gain"], PAIRS, FOLD)


def test_a_pair_that_was_made_from_other_inputs_is_named(nested: Workspace) -> None:
    with pytest.raises(CompError, match=r"pair-2-3\.parquet is out of date"):
        predictions.read_nested(nested, "n", KINDS["gain"], PAIRS | {(2, 3): "b"}, FOLD)


@pytest.mark.parametrize("ids", [[10, 20], [10, 20, 11, 12], [10, 20, 13]])
def test_a_pair_of_other_rows_is_named(nested: Workspace, ids: list[int]) -> None:
    predictions.write_outputs(nested.pair("n", (0, 1)), gains(ids), KINDS["gain"], "a")
    sentence = r"pair-0-1\.parquet does not hold the rows of the folds 0 and 1 exactly once"
    with pytest.raises(CompError, match=sentence):
        predictions.read_nested(nested, "n", KINDS["gain"], PAIRS, FOLD)


def test_a_pair_with_a_row_twice_is_named(nested: Workspace) -> None:
    write_table(nested.pair("n", (0, 1)), gains([10, 20, 11, 11]), "a")
    with pytest.raises(CompError, match=r"pair-0-1\.parquet: example_id 11 is duplicated"):
        predictions.read_nested(nested, "n", KINDS["gain"], PAIRS, FOLD)


def test_a_pair_that_is_not_finite_is_named(nested: Workspace) -> None:
    write_table(nested.pair("n", (3, 4)), of_pair((3, 4)).assign(gain=[np.nan, 1.0]), "a")
    with pytest.raises(
        CompError, match=r"pair-3-4\.parquet: 1 rows are not finite, the first is 14"
    ):
        predictions.read_nested(nested, "n", KINDS["gain"], PAIRS, FOLD)
