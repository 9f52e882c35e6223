"""The forecasts of a workspace's steps: memory by arithmetic, time by the benchmark of each recipe."""

from pathlib import Path

import pytest
import torch
from safetensors.numpy import load_file

from competition.analysis.cost import CostEstimate, FoldCost
from competition.analysis.forecast import forecast_memory, forecast_seconds
from competition.core.errors import InputError
from competition.core.json_files import read_json
from competition.pipeline.artifacts import MINI_FOLDER
from competition.pipeline.steps import Pipeline
from tests.conftest import comp, make_workspace

SETTINGS = """
preset = "mini"
recipes = ["lexical", "c1"]
noise_run = "lexical"
ensembles = []
[submission]
task2 = "c1"
[overrides]
scheme = "five"
ema = 0.0
adversary = "none"
r_drop = 0.0
precision = "fp32"
checkpointing = false
token_budget = 1_000
"""


@pytest.fixture
def pipeline(tmp_path: Path) -> Pipeline:
    return Pipeline(make_workspace(tmp_path / "w", settings=SETTINGS))


def test_a_training_takes_weights_gradients_moments_and_one_micro_batch(pipeline: Pipeline) -> None:
    steps = pipeline.steps()
    memory = forecast_memory(pipeline, steps, gpus=0)
    assert memory.keys() == {step.name for step in steps}
    assert memory["train lexical fold 0"] == memory["folds five"] == memory["scores"]

    weights = sum(
        array.size
        for file in MINI_FOLDER.glob("*.safetensors")
        for array in load_file(file).values()
    )
    config = read_json(MINI_FOLDER / "config.json")
    hidden, layers = config["hidden_size"], config["num_hidden_layers"]
    of_layer = 4 * hidden + 3 * hidden + 4 * hidden + 4 * config["intermediate_size"]
    training = memory["train c1 fold 3"] - memory["folds five"]
    assert training == weights * (4 + 4 + 8) + 1_000 * layers * of_layer * 4

    # A GPU holds these.
    beside = forecast_memory(pipeline, steps, gpus=1)
    assert beside["train c1 fold 3"] == memory["folds five"]


def test_the_plan_adds_up_what_recipes_take(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    def estimate(_: Pipeline, recipe: object, folds: list[int]) -> CostEstimate:
        return CostEstimate(None, None, 4.0, [FoldCost(k, 1, 1, 1, 60.0) for k in folds])

    monkeypatch.setattr("competition.analysis.cost.estimate_cost", estimate)
    root = pipeline.workspace.root
    before = sorted(root.rglob("*"))
    one, two = (comp("run", "--dry-run", "--jobs", jobs, "-w", root) for jobs in ("1", "2"))
    assert (one.exit_code, two.exit_code) == (0, 0)
    assert sorted(root.rglob("*")) == before

    # Five folds, the first of which also tokenizes; lexical, audit and scores are not measured.
    (last,) = [line for line in one.output.splitlines() if "of them measured" in line]
    assert last.endswith(": 5 min 4 s, one after another.")  # 5 * 60 + 4
    (last,) = [line for line in two.output.splitlines() if "of them measured" in line]
    assert last.endswith(": 3 min 0 s, up to 2 at a time.")  # 3 * 60: two, two and one
    assert "they count as nothing" in two.output
    (fold,) = [line for line in two.output.splitlines() if "train c1 fold 0" in line]
    assert "1 min 4 s" in fold


def test_a_recipe_that_cannot_be_measured_is_named(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> CostEstimate:
        raise InputError("The encoder 'large' is not here.")

    monkeypatch.setattr("competition.analysis.cost.estimate_cost", refuse)
    assert forecast_seconds(pipeline, pipeline.steps(), torch.get_num_threads()) == {}
    assert (
        capsys.readouterr().err == "warning: c1 is not measured: The encoder 'large' is not here.\n"
    )
