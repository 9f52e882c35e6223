"""The board of recipes x folds says of each step what the next `comp run` would do."""

import json
import shutil
from pathlib import Path

import pytest

from competition.core.console import results
from competition.core.json_files import read_json, write_json
from competition.core.workspace import Workspace
from competition.pipeline.steps import Pipeline
from competition.training.checkpoint_index import FORMAT
from tests.conftest import LEXICAL_ALONE, comp, make_workspace


@pytest.fixture
def space(finished: Workspace, tmp_path: Path) -> Workspace:
    """A finished workspace that may be spoiled."""
    shutil.copytree(finished.root, tmp_path / "w")
    return Workspace.open(tmp_path / "w")


def test_ten_folds_fit_into_eighty_characters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "_width", 80)
    settings = 'recipes = ["lexical", "c1", "c2"]\n'
    space = make_workspace(tmp_path / "w", queries=30, settings=settings)
    lines = comp("status", "-w", space.root).output.splitlines()
    heading, _, lexical, c1, c2 = lines[1:6]
    assert heading.split(" ┃ ")[2:5] == ["     folds", " test rows", "complete"]
    assert c1.split(" │ ")[2].strip() == "·" * 5
    assert c2.split(" │ ")[2].strip() == "·" * 10
    assert max(map(len, (heading, lexical, c1, c2))) <= 80
    row = board(space, "c2")
    assert (row["fold_9"], row["folds"]) == ("missing", "missing")


def test_steps_are_counted_as_they_are_built(tmp_path: Path) -> None:
    """A fold's test rows are predicted along with its training, so five steps are none of their own."""
    space = make_workspace(tmp_path / "w", queries=30, settings=LEXICAL_ALONE)
    count = len(Pipeline(space).steps()) - 5
    told = comp("status", "-w", space.root).stdout
    assert f"Steps left: {count} of {count}; the first is folds five." in told
    assert f"makes {count} steps that are missing" in told
    assert f"left: {count} of {count}, the first" in comp("doctor", "-w", space.root).stdout


def board(space: Workspace, run: str) -> dict[str, str | None]:
    """The row of a run, by its columns."""
    tables = json.loads(comp("status", "--json", "-w", space.root).stdout)["tables"]
    (row,) = (row for row in tables[0]["rows"] if row["run"] == run)
    return dict(row)


def test_a_run_that_lacks_a_fold_is_not_whole(space: Workspace) -> None:
    assert board(space, "t3")["whole"] == "done"
    space.oof_fold("t3", 2).unlink()
    row = board(space, "t3")
    assert [row[f"fold_{fold}"] for fold in range(5)] == ["done", "done", "missing", "done", "done"]
    assert (row["test"], row["whole"]) == ("done", "missing")
    space.oof_fold("blend-task1", 0).unlink()
    assert board(space, "blend-task1")["whole"] == "missing"


def test_a_fold_with_a_checkpoint_is_begun_if_training_would_go_on_from_it(
    space: Workspace,
) -> None:
    plan = Pipeline(space).plan.fold(Pipeline(space).recipes.member("c1"), 3)
    card = space.checkpoints("c1", "fold-3") / "seed-2022" / "step-00000004" / "state.json"
    write_json(card, {"format": FORMAT, "inputs": plan.fingerprint})
    assert (
        board(space, "c1")["fold_3"] == "done"
    )  # left by a process that was killed just behind its end
    space.oof_fold("c1", 3).unlink()
    row = board(space, "c1")
    assert (row["fold_3"], row["whole"]) == ("begun", "begun")
    assert "◧ begun, continues from a checkpoint" in comp("status", "-w", space.root).output
    assert "1 begun, of 10 steps" in comp("doctor", "-w", space.root).output
    for useless in (
        {"format": FORMAT, "inputs": "others"},
        {"format": FORMAT - 1, "inputs": plan.fingerprint},
    ):
        write_json(card, useless)
        assert board(space, "c1")["fold_3"] == "missing"


def test_outputs_that_do_not_depend_on_the_text_are_warned_of(space: Workspace) -> None:
    card = read_json(space.run_card("lexical"))
    assert card["constant"] == []
    assert "lexical, fold" not in comp("status", "-w", space.root).output
    sentence = (
        "lexical, fold 2: outputs do not depend on the text: over 99 rows they deviate by 0.0009."
    )
    write_json(space.run_card("lexical"), card | {"constant": [sentence]})
    assert f"warning: {sentence}" in " ".join(comp("status", "-w", space.root).stderr.split())
    write_json(space.run_card("lexical"), card | {"constant": [sentence], "inputs": "others"})
    assert sentence not in " ".join(comp("status", "-w", space.root).stderr.split())
