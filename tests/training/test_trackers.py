"""What a run's log says also goes to a tracker, and training neither waits for it nor fails with it."""

import json
from pathlib import Path
from typing import Any

import pytest

from competition.core.errors import CompError, InputError
from competition.training import trackers
from competition.training.trackers import TrackedLog, open_log

LINES: list[dict[str, Any]] = [
    {"epoch": 0, "step": 50, "loss": 0.5, "learning_rate": 1e-3, "rows_per_second": 9.0},
    {"seed": 1, "epoch": 0, "held_out_score": 0.25},
    {"epoch": 0, "step": 50, "loss": 0.75, "learning_rate": 1e-3, "rows_per_second": 9.0},
    {"epoch": 1, "step": 100, "loss": 0.25, "learning_rate": 0.0, "rows_per_second": 9.0},
    {"seed": 2, "epoch": 1, "held_out_score": None},
]


class StandIn:
    """A tracker that remembers, and fails at the call number `fails`."""

    def __init__(self, fails: int = -1) -> None:
        self.logged: list[tuple[int, dict[str, float]]] = []
        self._fails = fails

    def log(self, values: dict[str, float], step: int) -> None:
        if len(self.logged) == self._fails:
            raise ConnectionError("no route")
        self.logged.append((step, values))


def write(log: TrackedLog) -> None:
    for line in LINES:
        log.write(**line)


def test_numbers_go_out_by_step_and_a_second_seed_follows_the_first(tmp_path: Path) -> None:
    tracker = StandIn()
    log = TrackedLog(tmp_path / "log", tracker, fold="0")
    log.write(**LINES[0])
    log.write(**LINES[1])
    log.write(step=20, loss=0.1)  # another seed begins
    log.write(held_out_score=None)
    assert [step for step, _ in tracker.logged] == [50, 50, 70, 70]
    assert tracker.logged[0][1] == {
        "epoch": 0,
        "loss": 0.5,
        "learning_rate": 1e-3,
        "rows_per_second": 9,
    }
    assert tracker.logged[1][1]["held_out_score"] == 0.25
    assert tracker.logged[3][1] == {}


def test_a_tracker_that_fails_is_left_alone_and_the_log_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tracker = StandIn(fails=1)
    write(TrackedLog(tmp_path / "log", tracker))
    assert len(tracker.logged) == 1
    lines = (tmp_path / "log").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line).get("loss") for line in lines] == [0.5, None, 0.75, 0.25, None]
    assert (
        capsys.readouterr().err == "warning: The tracker failed and gets nothing more: no route\n"
    )


def test_a_tracker_that_is_not_installed_is_named_with_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trackers, "find_spec", lambda name: None)
    with (
        pytest.raises(InputError, match="'wandb' is not installed: `pip install wandb` does it"),
        open_log(tmp_path / "log", "wandb", tmp_path, "c1/fold-0", {}),
    ):
        pass


def test_a_tracker_that_does_not_start_stops_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(*_: Any) -> None:
        raise OSError("the server is away")

    monkeypatch.setattr(trackers, "find_spec", lambda name: name)
    monkeypatch.setattr(trackers, "_start", start)
    with (
        pytest.raises(CompError, match="'mlflow' does not start: the server is away"),
        open_log(tmp_path / "log", "mlflow", tmp_path, "c1/fold-0", {}),
    ):
        pass


def test_tensorboard_holds_what_the_log_says(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with open_log(
        tmp_path / "log", "tensorboard", tmp_path / "board", "c1/fold-0/1234", {"epochs": 2}
    ) as log:
        log.write(**LINES[0])
        log.write(**LINES[1])
    events = EventAccumulator(str(tmp_path / "board" / "c1" / "fold-0" / "1234")).Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [(50, 0.5)]
    assert [(event.step, event.value) for event in events.Scalars("held_out_score")] == [(50, 0.25)]
    assert {"learning_rate", "rows_per_second"} <= set(events.Tags()["scalars"])


def test_mlflow_keeps_its_runs_in_a_file_without_a_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = pytest.importorskip("mlflow")
    pytest.importorskip("alembic")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with open_log(
        tmp_path / "log", "mlflow", tmp_path / "flow", "c1/fold-0/1234", {"epochs": 2}
    ) as log:
        log.write(**LINES[0])
        log.write(**LINES[1])
    (run,) = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'flow' / 'mlflow.db'}").search_runs(["1"])
    assert run.info.run_name == "c1/fold-0/1234"
    assert run.info.status == "FINISHED"
    assert run.data.params == {"epochs": "2"}
    assert run.data.metrics["loss"] == 0.5
    assert run.data.metrics["held_out_score"] == 0.25
