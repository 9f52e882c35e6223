"""`comp train --all`: one model of all training rows, beside the folds and never asked for by `comp run`."""

import json
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from competition.pipeline import Pipeline
from competition.workspace import Workspace
from tests.conftest import comp, make_workspace, refused

ONE_RECIPE = """
recipes = ["c1"]
noise_run = ""
ensembles = []
[submission]
[overrides]
max_length = 16
epochs = 2
adversary = "none"
r_drop = 0.0
weights = "best"
"""


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace with a model of all rows and no fold."""
    space = make_workspace(tmp_path_factory.mktemp("all") / "w", settings=ONE_RECIPE)
    result = comp("train", "--all", "-w", space.root)
    assert result.exit_code == 0, result.output
    assert "so this model has no score of its own" in result.output
    assert 'weights = "best" needs held-out rows: here, the weights of the last epoch are kept.' in result.output
    return space


def test_it_learns_from_every_labelled_row_and_leaves_its_weights_alone(workspace: Workspace) -> None:
    pipeline = Pipeline(workspace)
    rows = pipeline.maker.examples
    log = [json.loads(line) for line in workspace.log("c1").read_text(encoding="utf-8").splitlines()]
    batches = -(-int((rows["split"] == "train").sum()) // pipeline.member("c1").batch_size)
    assert max(line.get("step", 0) for line in log) == 2 * batches
    assert [line["held_out_score"] for line in log if "held_out_score" in line] == [None, None]
    assert not list(workspace.run("c1").glob("*.parquet"))


def test_run_and_status_know_it_only_because_it_was_asked_for(workspace: Workspace) -> None:
    names = [step.name for step in Pipeline(workspace).steps()]
    assert "train c1 fold 0" in names and "train c1 all" not in names
    assert "■ train c1 all" in comp("status", "-w", workspace.root).output
    again = comp("train", "--all", "-w", workspace.root)
    assert "nothing to do, everything is up to date" in again.output


def test_what_changes_no_result_leaves_it_alone_and_what_does_is_told(workspace: Workspace, tmp_path: Path) -> None:
    settings = workspace.settings_file.read_text(encoding="utf-8")
    try:
        # The last epoch is kept either way.
        workspace.settings_file.write_text(settings.replace('weights = "best"', 'weights = "last"'), encoding="utf-8")
        assert "■ train c1 all" in comp("status", "-w", workspace.root).output
        workspace.settings_file.write_text(settings.replace("epochs = 2", "epochs = 1"), encoding="utf-8")
        output = comp("status", "-w", workspace.root).output
        assert "▲ train c1 all: `comp train --all --recipe c1` makes it anew" in output
    finally:
        workspace.settings_file.write_text(settings, encoding="utf-8")


def test_the_same_rows_give_the_same_weights(workspace: Workspace) -> None:
    folder = workspace.model("c1", "all")
    before = load_file(folder / "seed-2022" / "model.safetensors")
    folder.rename(folder.with_name("kept"))
    assert comp("train", "--all", "-w", workspace.root).exit_code == 0
    after = load_file(folder / "seed-2022" / "model.safetensors")
    assert all((before[name] == after[name]).all() for name in before)


def test_all_goes_with_no_fold_and_with_no_ensemble(workspace: Workspace) -> None:
    assert refused("train", "--all", "--fold", "0", "-w", workspace.root).startswith(
        "--all trains on the rows of every"
    )
    assert "is an ensemble" in refused("train", "--all", "--recipe", "blend", "-w", workspace.root)
