"""A small exported folder, made once by the commands that a user gives."""

import shutil
from pathlib import Path

import pytest

from competition.core.workspace import Workspace
from tests.conftest import comp, make_workspace

# One fold of a recipe that can be served, in seconds.
SERVED = """
preset = "tiny"
recipes = ["served"]
default_recipe = "served"
noise_run = ""
ensembles = []
[submission]
task2 = "served"
[overrides]
max_length = 32
epochs = 1
"""


def make_exported(folder: Path) -> tuple[Workspace, Path]:
    """Train a fold and export it; return the workspace and the folder."""
    workspace = make_workspace(folder / "w", settings=SERVED)
    target = folder / "model"
    for words in (
        ("train", "--recipe", "served", "--fold", "0"),
        ("export", "served", target, "--model", "0"),
    ):
        result = comp(*words, "-w", workspace.root)
        assert result.exit_code == 0, result.output
    return workspace, target


def copy_of(folder: Path, target: Path) -> Path:
    """Return a copy of a folder that a test may change."""
    return Path(shutil.copytree(folder, target))


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, Path]:
    """The workspace and the exported folder; tests do not change them."""
    return make_exported(tmp_path_factory.mktemp("exported"))
