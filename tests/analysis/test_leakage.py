"""Workspaces of shuffled labels are copies in which the paths of the original mean the same."""

from pathlib import Path

import pytest

from competition.analysis.leakage import _ShuffledWorkspaces
from competition.pipeline.steps import Pipeline
from competition.scoring.definition import BUILT_IN
from tests.conftest import make_workspace

SETTINGS = """
competition = "mine/esci.toml"
recipes = ["lexical", "c1"]
ensembles = []
noise_run = ""
[submission]
task2 = "c1"
[overrides]
encoder = "./encoder"
scheme = "five"
"""


def test_relative_paths_of_the_settings_start_where_they_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "w"
    (folder / "mine").mkdir(parents=True)
    (folder / "mine" / "esci.toml").write_bytes((BUILT_IN / "esci.toml").read_bytes())
    (folder / "encoder").mkdir()
    (folder / "encoder" / "config.json").write_text("{}", encoding="utf-8")

    monkeypatch.chdir(tmp_path)  # the workspace's own path is relative, too
    pipeline = Pipeline(make_workspace(Path("w"), queries=30, settings=SETTINGS))
    with _ShuffledWorkspaces(pipeline, ["c1"]) as workspaces:
        copy = Pipeline(workspaces._workspace(pipeline.tables.examples))
        assert copy.workspace.root != pipeline.workspace.root
        assert copy.artifacts.encoder_source("./encoder") == "w/encoder"
        # The same labels and files: the runs are made from the same.
        assert copy.plan.run("c1").parts == pipeline.plan.run("c1").parts
