"""What a training would take: counts are those of the training, times are scaled, nothing is written."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from competition.analysis import cost as module
from competition.analysis.cost import StepTimes, _Enough, _size, _Stopwatch
from competition.analysis.environment import Device
from competition.cli.dry_run import format_duration
from competition.core.workspace import Workspace
from competition.pipeline.execute import execute
from competition.pipeline.rows import fold_rows
from competition.pipeline.steps import Pipeline
from tests.conftest import comp, make_workspace, refused

TIMES = StepTimes(
    steps=10,
    step_seconds=2.0,
    step_tokens=1000.0,
    step_rows=32.0,
    predict_seconds=0.01,
    tokenize_seconds=0.001,
    augmentation=0.0,
    memory=2**30,
)


@pytest.fixture
def space(tmp_path: Path) -> Workspace:
    """A workspace in which nothing is made yet."""
    return make_workspace(tmp_path / "w")


def files(space: Workspace) -> list[Path]:
    return sorted(path for path in space.root.rglob("*") if path.is_file())


def dry_run(*arguments: str, space: Workspace) -> dict[str, Any]:
    before = files(space)
    result = comp("train", "--dry-run", "--json", *arguments, "-w", space.root)
    assert result.exit_code == 0, result.output
    assert files(space) == before
    table: dict[str, Any] = json.loads(result.stdout)["tables"][0]
    return table


def test_a_fold_that_nothing_is_there_for(space: Workspace) -> None:
    table = dry_run("--recipe", "c1", "--fold", "0", space=space)
    rows = {row["step"]: row for row in table["rows"]}
    assert list(rows) == ["folds five", "encoder tiny", "vocabulary", "train c1 fold 0"]
    assert comp("folds", "-w", space.root).exit_code == 0
    pipeline = Pipeline(space)
    recipe = pipeline.recipes.member("c1")
    trained = len(fold_rows(pipeline.tables, pipeline.plan.fold(recipe, 0)).train)
    steps = -(-trained // 32)  # one epoch of batches of 32 rows
    fold = rows["train c1 fold 0"]
    assert (fold["rows"], fold["steps"]) == (trained, steps)
    assert 0 < fold["tokens"] <= steps * 32 * 32  # at most 32 tokens of each row
    about = table["about"]
    assert about["seconds"] == pytest.approx(fold["seconds"] + about["tokenising"])
    assert fold["seconds"] > 0
    assert about["memory"] > 0
    assert about["measured_steps"] > 0


def test_times_are_scaled_to_all_rows(space: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "benchmark_steps", lambda *_: TIMES)
    monkeypatch.setattr(
        module, "find_device", lambda _: Device("cpu", "cpu", "fp32", 2**34, 2**33, 1)
    )
    pipeline = Pipeline(space)
    recipe = pipeline.recipes.member("c1").model_copy(update={"epochs": 3, "seeds": (1, 2)})
    found = module.estimate_cost(pipeline, recipe, range(5))  # type: ignore[arg-type]
    examples = pipeline.tables.examples
    train, test = ((examples["split"] == split).sum() for split in ("train", "test"))
    assert sum(train - cost.rows for cost in found.folds) == train  # each row is held out once
    for cost in found.folds:
        assert cost.steps == 2 * 3 * -(-cost.rows // 32)
        assert cost.tokens == cost.steps * 1000
        predicted = 3 * (train - cost.rows) + test
        assert cost.seconds == pytest.approx(cost.steps * 2.0 + 2 * predicted * 0.01)
    assert found.seconds == pytest.approx(
        len(examples) * 0.001 + sum(cost.seconds for cost in found.folds)
    )


def test_too_little_memory_is_said(space: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "benchmark_steps", lambda *_: TIMES)
    monkeypatch.setattr(
        module, "find_device", lambda _: Device("gpu", "cuda", "bf16", 2**31, TIMES.memory - 1, 1)
    )
    result = comp("train", "--dry-run", "--recipe", "c1", "-w", space.root)
    assert result.exit_code == 0
    assert "lower token_budget" in result.stderr


@pytest.mark.parametrize("precision", ["auto", "fast"])
def test_the_precision_is_that_of_the_recipe(
    space: Workspace, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    monkeypatch.setattr(module, "benchmark_steps", lambda *_: TIMES)
    monkeypatch.setattr(
        "competition.training.device.computes_in_bf16", lambda asked: asked == "fast"
    )
    recipe = Pipeline(space).recipes.member("c1").model_copy(update={"precision": precision})
    found = module.estimate_cost(Pipeline(space), recipe, range(5))  # type: ignore[arg-type]
    assert found.device.precision == ("bf16" if precision == "fast" else "fp32")


def test_a_recipe_without_an_encoder_shows_its_steps(space: Workspace) -> None:
    table = dry_run("--recipe", "lexical", "--fold", "1", space=space)
    assert [row["step"] for row in table["rows"]] == [
        "folds five",
        "text features",
        "train lexical fold 1",
    ]
    assert (
        "Time is estimated for the fine-tuning of encoders only."
        in comp("train", "--dry-run", "--recipe", "lexical", "-w", space.root).output
    )


def test_what_is_done_takes_no_time(finished: Workspace) -> None:
    assert dry_run("--recipe", "c1", space=finished)["rows"] == []
    assert "Nothing to do" in comp("train", "--dry-run", "-w", finished.root).output


def test_an_encoder_that_is_elsewhere_is_not_fetched(space: Workspace) -> None:
    space.settings_file.write_text('[overrides]\nencoder = "somebody/large"\n')
    sentence = refused("train", "--dry-run", "--recipe", "c1", "--fold", "0", "-w", space.root)
    assert "The encoder 'somebody/large' is not here, so nothing can be measured" in sentence


def test_the_first_steps_are_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("competition.analysis.cost.time.monotonic", lambda: now[0])
    watch = _Stopwatch(92)
    for seconds in (9, 5, 4, 1, 2, 3):
        now[0] += seconds
        watch.advance(32)
    assert watch.steps == 3
    assert watch.per_step == 2.0


@pytest.mark.parametrize(
    ("most", "counted", "mean"), [(5, 2, (1 + 2) / 2), (3, 3, (9 + 5 + 4) / 3), (1, 1, 9.0)]
)
def test_no_more_steps_are_taken_than_are_to_be_done(
    most: int, counted: int, mean: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, taken = [0.0], 0
    monkeypatch.setattr("competition.analysis.cost.time.monotonic", lambda: now[0])
    watch = _Stopwatch(most)

    def train() -> None:
        nonlocal taken
        for seconds in (9, 5, 4, 1, 2, 3):
            now[0] += seconds
            taken += 1
            watch.advance(32)

    with pytest.raises(_Enough):
        train()
    assert (taken, watch.steps, watch.per_step) == (most, counted, mean)


def test_the_trial_is_no_longer_than_the_training(
    space: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    monkeypatch.setattr(module, "benchmark_steps", lambda *given: asked.append(given[-1]) or TIMES)
    pipeline = Pipeline(space)
    found = module.estimate_cost(pipeline, pipeline.recipes.member("c1"), [2])  # type: ignore[arg-type]
    assert asked == [found.folds[0].steps]


def test_steps_without_a_time_are_spoken_of_where_there_are_some(
    space: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "benchmark_steps", lambda *_: TIMES)
    where = ("train", "--dry-run", "--recipe", "c1", "--fold", "0", "-w", space.root)
    assert "Steps without a time were not measured." in comp(*where).output
    execute(space, Pipeline(space).training_steps("c1", 0)[:-1])  # folds, encoder, vocabulary
    shown = comp(*where).output
    assert "train c1 fold 0" in shown
    assert "without a time" not in shown


def test_arrays_are_counted_wherever_they_are() -> None:
    assert _size({"a": np.zeros(10), "b": (np.zeros(2, np.int32), "text")}) == 10 * 8 + 2 * 4


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(4.04, "4.0 s"), (48, "48 s"), (750, "12 min 30 s"), (19_200, "5 h 20 min")],
)
def test_durations(seconds: float, said: str) -> None:
    assert format_duration(seconds) == said
