"""`comp train --all`: one model of all training rows, beside the folds and never asked for by `comp run`."""

import json
import re
from pathlib import Path

import pytest

from competition.core.workspace import Workspace
from competition.pipeline.steps import Pipeline
from tests.conftest import comp, make_workspace, refused

pytestmark = pytest.mark.slow

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
    assert (
        'weights = "best" needs held-out rows: this model keeps the weights of its last epoch.'
        in result.output
    )
    return space


def test_it_learns_from_every_labelled_row_and_leaves_its_weights_alone(
    workspace: Workspace,
) -> None:
    pipeline = Pipeline(workspace)
    rows = pipeline.tables.examples
    log = [
        json.loads(line) for line in workspace.log("c1").read_text(encoding="utf-8").splitlines()
    ]
    batches = -(-int((rows["split"] == "train").sum()) // pipeline.recipes.member("c1").batch_size)
    assert max(line.get("step", 0) for line in log) == 2 * batches
    assert [line["held_out_score"] for line in log if "held_out_score" in line] == [None, None]
    assert not list(workspace.run("c1").glob("*.parquet"))


def status(workspace: Workspace) -> str:
    """The mark that `comp status` puts before the model."""
    return re.findall(r"(\S) +│ train c1 all", comp("status", "-w", workspace.root).output)[0]


def test_run_and_status_know_it_only_because_it_was_asked_for(workspace: Workspace) -> None:
    names = [step.name for step in Pipeline(workspace).steps()]
    assert "train c1 fold 0" in names
    assert "train c1 all" not in names
    assert status(workspace) == "■"
    again = comp("train", "--all", "-w", workspace.root)
    assert "nothing to do, everything is up to date" in again.output


def test_what_changes_no_result_leaves_it_alone_and_what_does_is_told(
    workspace: Workspace, tmp_path: Path
) -> None:
    settings = workspace.settings_file.read_text(encoding="utf-8")
    try:
        # The last epoch is kept either way.
        workspace.settings_file.write_text(
            settings.replace('weights = "best"', 'weights = "last"'), encoding="utf-8"
        )
        assert status(workspace) == "■"
        workspace.settings_file.write_text(
            settings.replace("epochs = 2", "epochs = 1"), encoding="utf-8"
        )
        assert status(workspace) == "▲"
        output = comp("status", "-w", workspace.root).output
        command = f"comp train --all --recipe c1 -w {workspace.root}"
        assert f"train c1 all is out of date: `{command}` rebuilds it" in output
    finally:
        workspace.settings_file.write_text(settings, encoding="utf-8")


def test_the_same_rows_give_the_same_bytes_whether_a_tracker_looks_on_or_not(
    workspace: Workspace,
) -> None:
    pytest.importorskip("tensorboard")
    folder = workspace.model("c1", "all")
    kept = folder.rename(folder.with_name("kept"))
    assert comp("train", "--all", "--tracker", "tensorboard", "-w", workspace.root).exit_code == 0
    files = sorted(path.relative_to(kept) for path in kept.rglob("*") if path.is_file())
    assert Path("seed-2022/model.safetensors") in files
    assert Path("made_from.json") in files
    for file in files:
        assert (folder / file).read_bytes() == (kept / file).read_bytes(), file
    assert list((workspace.tracking / "tensorboard" / "c1" / "all").rglob("events.*"))


def test_a_tracker_is_refused_before_training(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("competition.training.trackers.find_spec", lambda name: None)
    where = ("train", "--recipe", "r1", "--all", "-w", workspace.root)
    assert "There is no tracker 'wandbb' (did you mean 'wandb'?)" in refused(
        *where, "--tracker", "wandbb"
    )
    assert "`pip install wandb` does it" in refused(*where, "--tracker", "wandb")
    assert not workspace.model("r1", "all").exists()


def test_all_goes_with_no_fold_and_with_no_ensemble(workspace: Workspace) -> None:
    assert refused("train", "--all", "--fold", "0", "-w", workspace.root).startswith(
        "--all trains one model on the rows of every fold"
    )
    assert "is an ensemble" in refused("train", "--all", "--recipe", "blend", "-w", workspace.root)


def test_it_answers_new_rows_alone_and_says_when_it_is_out_of_date(
    workspace: Workspace, tmp_path: Path
) -> None:
    (tmp_path / "rows.csv").write_text(
        "query,product_title\nusb cable,USB cable\n", encoding="utf-8"
    )
    where = ("predict", tmp_path / "rows.csv", "-w", workspace.root)
    result = comp(*where)
    assert result.exit_code == 0, result.output
    assert "c1 all, new rows" in result.output
    assert "fold" not in result.output
    settings = workspace.settings_file.read_text(encoding="utf-8")
    try:
        workspace.settings_file.write_text(
            settings.replace("epochs = 2", "epochs = 1"), encoding="utf-8"
        )
        result = comp(*where)
    finally:
        workspace.settings_file.write_text(settings, encoding="utf-8")
    assert result.exit_code == 1
    assert "is out of date, the models of the folds answer instead" in result.stderr
    assert (
        f"fold-0 is missing or out of date: `comp train --recipe c1 -w {workspace.root}` builds it"
        in result.stderr
    )
