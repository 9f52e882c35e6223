"""Data of one task alone go all the way; what cannot learn from them says so."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

from competition.core.workspace import Workspace
from competition.data import store, synthetic
from tests.conftest import comp
from tests.esci import CONTEST

pytestmark = pytest.mark.slow

SETTINGS = """
preset = "tiny"
recipes = [{recipes}]
noise_run = ""
[overrides]
scheme = "five"
max_length = 16
epochs = 1
n_estimators = 5
adversary = "none"
r_drop = 0.0
"""


def one_task(folder: Path, task: str, recipes: str) -> Workspace:
    """A workspace whose rows belong to one task and carry its labels alone."""
    examples, products, _ = synthetic.make(60, noise=0.0, seed=7)
    examples = examples.assign(**{name: name == task for name in ("task1", "task2", "task3")})
    if task == "task3":
        examples["label"] = pd.NA
    folder.mkdir()
    (folder / "competition.toml").write_text(SETTINGS.format(recipes=recipes))
    workspace = Workspace.open(folder)
    store.save(workspace, CONTEST, examples, products, "test")
    return workspace


@pytest.mark.parametrize(
    ("task", "recipes"),
    [("task1", '"lexical", "r1"'), ("task2", '"lexical", "r1"'), ("task3", '"t3"')],
)
def test_one_task_ends_in_one_file(task: str, recipes: str, tmp_path: Path) -> None:
    workspace = one_task(tmp_path / "w", task, recipes)
    done = comp("run", "-w", workspace.root)
    assert done.exit_code == 0, done.output
    assert [path.name for path in workspace.submission("main").glob("*.csv")] == [f"{task}.csv"]
    assert set(pd.read_csv(workspace.scores)["task"]) == {task}
    assert "Nothing to do" in comp("run", "-w", workspace.root).output


def test_a_recipe_without_labels_says_so(tmp_path: Path) -> None:
    workspace = one_task(tmp_path / "w", "task3", '"lexical"')
    done = comp("run", "-w", workspace.root)
    assert done.exit_code == 1
    assert (
        "The recipe 'lexical' finds no labelled row to learn classes from outside fold 0"
        in done.stderr
    )


def test_lost_and_changed_files_are_made_again(finished: Workspace, tmp_path: Path) -> None:
    copy = Workspace(tmp_path / "copy")
    shutil.copytree(finished.root, copy.root)
    copy.oof_fold("blend-task1", 2).unlink()
    copy.test_fold("lexical", 1).unlink()
    answer = copy.submission("main") / "task2.csv"
    answer.write_text(answer.read_text().replace("exact", "irrelevant"))
    (copy.submission("main") / "task9.csv").write_text("left from another time")
    output = comp("status", "-w", copy.root).output
    assert "Steps left: 3 of" in output
    assert comp("run", "-w", copy.root).exit_code == 0
    for path in (copy.oof_fold("blend-task1", 2), copy.test_fold("lexical", 1), answer):
        assert path.read_bytes() == (finished.root / path.relative_to(copy.root)).read_bytes()
    assert not (copy.submission("main") / "task9.csv").exists()


def test_text_longer_than_the_encoder_reads_is_refused(finished: Workspace, tmp_path: Path) -> None:
    copy = Workspace(tmp_path / "copy")
    shutil.copytree(finished.root, copy.root)
    text = copy.settings_file.read_text()
    copy.settings_file.write_text(text.replace("max_length = 32", "max_length = 600"))
    done = comp("train", "--fold", "0", "-w", copy.root)
    assert done.exit_code == 2
    assert (
        "'c1' has max_length = 600, but the encoder 'tiny' reads at most 512 tokens" in done.stderr
    )
