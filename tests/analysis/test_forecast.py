"""The forecasts of a workspace's steps: memory by arithmetic, time by the benchmark of each recipe."""

import time
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.numpy import load_file

from competition.analysis import forecast, rehearsal
from competition.analysis.cost import CostEstimate, FoldCost, StepTimes
from competition.analysis.forecast import forecast_memory, forecast_seconds
from competition.analysis.rehearsal import beside_others, rehearse
from competition.core.errors import InputError
from competition.core.json_files import read_json
from competition.pipeline.artifacts import MINI_FOLDER
from competition.pipeline.steps import Pipeline
from tests.conftest import LEXICAL_ALONE, QUICK, comp, make_workspace

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
        times = StepTimes(9, 1.0, 1.0, 1.0, 0.5, 0.0, 0.0, 0)
        return CostEstimate(None, times, 4.0, [FoldCost(k, 1, 1, 1, 60.0) for k in folds])

    monkeypatch.setattr("competition.analysis.cost.estimate_cost", estimate)
    monkeypatch.setattr(rehearsal, "rehearse", lambda *_: {"scores": 6.0, "not missing": 99.0})
    monkeypatch.setattr(rehearsal, "import_seconds", lambda _: 3.0)
    monkeypatch.setattr(forecast, "seconds_so_far", lambda: 1.0)
    root = pipeline.workspace.root
    before = sorted(root.rglob("*"))
    one, two = (comp("run", "--dry-run", "--jobs", jobs, "-w", root) for jobs in ("1", "2"))
    assert (one.exit_code, two.exit_code) == (0, 0)
    assert sorted(root.rglob("*")) == before

    # Five folds, the first of which also tokenizes; each process starts and imports.
    (last,) = [line for line in one.output.splitlines() if "of it to start" in line]
    assert "one after another: about 5 min 14 s, 4.0 s of it" in last  # 1 + 3 + 4 + 5 * 60 + 6
    (last,) = [line for line in two.output.splitlines() if "of it to start" in line]
    # Two, two and one: 2 * 1 + 3 + 3 * 60 + 6
    assert "up to 2 at a time: about 3 min 11 s, 5.0 s of it" in last
    assert "counted as nothing: folds five, text features" in two.output
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


def test_predictions_and_nested_models_are_forecast_by_the_same_steps(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    def estimate(_: Pipeline, recipe: object, folds: list[int]) -> CostEstimate:
        times = StepTimes(9, 1.0, 1.0, 1.0, 0.5, 0.0, 0.0, 0)
        return CostEstimate(None, times, 4.0, [FoldCost(k, 1, 1, 1, 90.0) for k in folds])

    monkeypatch.setattr("competition.analysis.cost.estimate_cost", estimate)
    recipe = pipeline.recipe_steps("c1")
    steps = [step for step in recipe if step.name in ("predict c1 fold 3", "train c1 fold 4")]
    steps += [step for step in pipeline.pair_steps("c1") if step.trains][:1]
    seconds = forecast_seconds(pipeline, steps, torch.get_num_threads())
    tests = int((pipeline.tables.examples["split"] == "test").sum())
    assert seconds == {
        "train c1 fold 4": 90.0 + 4.0,  # the first of them reads the tokens
        "predict c1 fold 3": tests * 0.5,
        "train c1 without folds 0 and 1": pytest.approx((3 / 5) / (4 / 5) * (90.0 - tests * 0.5)),
    }


@pytest.mark.slow
def test_all_but_the_trainings_of_encoders_is_rehearsed(tmp_path: Path) -> None:
    """Of few rows, on all of them; a nested audit and an ensemble read outputs that are made up."""
    settings = QUICK.replace('["lexical", "c1", "r2", "t3"]', '["lexical", "c1", "c1-clean"]')
    space = make_workspace(tmp_path / "w", queries=30, settings=settings)
    recipe = "base = 'c1'\n[set]\ndrop_noise_from = 'c1'\nnested = true\n"
    space.recipe_folder.mkdir()
    (space.recipe_folder / "c1-clean.toml").write_text(recipe, encoding="utf-8")
    pipeline = Pipeline(space)
    before = sorted(space.root.rglob("*"))

    seconds = rehearse(pipeline, pipeline.steps(), torch.get_num_threads())
    others = {step.name for step in pipeline.steps() if not step.shared}
    assert "audit c1 without fold 0" in others
    assert "stack blend-task2" in others
    assert seconds.keys() == others
    assert min(seconds.values()) > 0
    assert sorted(space.root.rglob("*")) == before


def test_a_plan_says_why_these_rows_cannot_be_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = Pipeline(make_workspace(tmp_path / "w", queries=4, settings=LEXICAL_ALONE))
    assert rehearse(few, few.steps(), 1).keys() <= {step.name for step in few.steps()}
    said = " ".join(capsys.readouterr().err.split())
    assert "The run will not do on these rows: Fold" in said
    assert "training queries are too few, bring more" in said


def test_what_a_sample_takes_is_extrapolated_by_a_line(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = len(pipeline.tables.examples)
    monkeypatch.setattr(rehearsal, "_ALL", 1)
    monkeypatch.setattr(rehearsal, "_SMALL", 100)
    monkeypatch.setattr(rehearsal, "_LARGE", 200)
    taken = []

    def build(part: Pipeline, names: set[str], failed: list[str]) -> list[tuple[str, float]]:
        taken.append(len(part.tables.examples))
        return [("scores", 2.0 + taken[-1] / 50), ("folds five", 7.0 - len(taken))]

    monkeypatch.setattr(rehearsal, "_build", build)
    found = rehearse(pipeline, pipeline.steps(), 1)
    assert 100 <= taken[0] < taken[1] < rows
    assert found["scores"] == pytest.approx(2.0 + rows / 50)
    assert found["folds five"] == 5.0  # what took less of more rows takes no less of all


def test_a_pre_training_ends_after_some_seconds_and_is_scaled_up_to_its_blocks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    watch = rehearsal._Stopwatch()
    other = watch.add_task("tokens", total=9, unit="texts")
    now[0] += 2  # texts are read
    watch.advance(other, 9)
    assert watch.seconds() == 2
    blocks = watch.add_task("pretrained", total=60, unit="blocks")
    with pytest.raises(rehearsal._Enough):
        for _ in range(60):
            now[0] += 0.75
            watch.advance(blocks, 1)
    # More than 5 seconds are 7 blocks of 0.75; 60 take as long each.
    assert watch.seconds() == pytest.approx(2 + 60 * 0.75)


@pytest.mark.slow
def test_outputs_of_another_tool_are_part_of_the_rehearsal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    space = make_workspace(tmp_path / "w", queries=30, settings=LEXICAL_ALONE)
    examples = Pipeline(space).tables.examples
    examples[["example_id"]].assign(gain=0.5).to_csv(tmp_path / "theirs.csv", index=False)
    words = ("theirs", tmp_path / "theirs.csv", "--kind", "gain", "--scheme", "five")
    added = comp("member", "add", *words, "-w", space.root)
    assert added.exit_code == 0, added.output
    settings = LEXICAL_ALONE.replace('["lexical"]', '["theirs"]').replace('"lexical"', '"theirs"')
    space.settings_file.write_text(settings.replace("task2", "task1"), encoding="utf-8")

    pipeline = Pipeline(space)
    steps = pipeline.steps()
    assert "score theirs" in rehearse(pipeline, steps, 1)

    def refuse(*_: object) -> None:
        raise InputError("no row has a label.")

    monkeypatch.setattr("competition.data.store.save", refuse)
    assert rehearse(pipeline, steps, 1) == {}
    assert "warning: Only the trainings of encoders are measured:" in capsys.readouterr().err


def test_processes_beside_a_measurement_end_with_it() -> None:
    before = set(psutil.Process().children())
    with beside_others(2, threads=1):
        busy = set(psutil.Process().children()) - before
        assert len(busy) == 2
        assert all(process.is_running() for process in busy)
    assert not any(process.is_running() for process in busy)
