"""The graph of steps: its order, what is built along, and what is said of what is missing."""

from dataclasses import replace
from pathlib import Path

import pytest

from competition.core.errors import CompError
from competition.core.workspace import Workspace
from competition.pipeline.execute import Step, execute, in_order, unmet_needs

Log = list[str]


def step(name: str, built: Log, *needs: Step, command: str | None = None) -> Step:
    """A step that is done once its name is in the log."""

    def recorded() -> str | None:
        return name if name in built else None

    return Step(name, name, needs, recorded, lambda: built.append(name), command)


def diamond(built: Log) -> Step:
    """A step that two others lead to, which start from the same."""
    folds = step("folds", built)
    left, right = (step(name, built, folds) for name in ("left", "right"))
    return step("end", built, left, right)


def test_each_step_is_built_once_behind_what_it_needs(tmp_path: Path) -> None:
    built: Log = []
    assert execute(Workspace(tmp_path), [diamond(built)]) == 4
    assert built == ["folds", "left", "right", "end"]
    assert execute(Workspace(tmp_path), [diamond(built)]) == 0


def test_what_is_done_is_not_built_again(tmp_path: Path) -> None:
    built: Log = ["folds", "left"]
    assert execute(Workspace(tmp_path), [diamond(built)]) == 2
    assert built == ["folds", "left", "right", "end"]


def test_two_different_steps_of_one_name_are_an_error() -> None:
    one = Step("x", "one", (), lambda: None, lambda: None)
    other = Step("x", "other", (), lambda: None, lambda: None)
    assert in_order([one, one]) == [one]
    with pytest.raises(ValueError, match="two different steps are called 'x'"):
        in_order([one, other])
    with pytest.raises(ValueError, match="two different steps are called 'x'"):
        in_order([Step("y", "y", (one, other), lambda: None, lambda: None)])


def test_a_run_of_another_command_is_read_and_not_built(tmp_path: Path) -> None:
    built: Log = []
    folds = step("folds", built)
    models = [step(f"train c1 fold {k}", built, folds, command="comp train") for k in range(2)]
    audit = step("audit c1", built, *models)
    assert [each.name for each in in_order([audit])] == ["audit c1"]
    assert [each.name for each in in_order([*models, audit])] == [
        "folds", "train c1 fold 0", "train c1 fold 1", "audit c1",
    ]  # fmt: skip

    with pytest.raises(
        CompError,
        match=r"^3 steps are missing or out of date, the first is folds: `comp train` builds them",
    ):
        execute(Workspace(tmp_path), [audit])
    assert built == []

    built += ["folds", "train c1 fold 0"]
    assert unmet_needs(in_order([audit])) == [models[1]]
    with pytest.raises(CompError, match=r"^train c1 fold 1 is missing: `comp train` builds it"):
        execute(Workspace(tmp_path), [audit])

    # An audit that is there needs no run any more.
    built += ["audit c1"]
    assert execute(Workspace(tmp_path), [audit]) == 0


def test_one_line_builds_everything_that_is_missing(tmp_path: Path) -> None:
    built: Log = []
    first = step("train a", built, command="comp train --recipe a")
    second = step("train b", built, first, command="comp train --recipe b")
    with pytest.raises(CompError, match="`comp train --recipe a && comp train --recipe b` builds"):
        execute(Workspace(tmp_path), [step("stack", built, second, command="comp stack x")])


def test_steps_are_numbered_without_holes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    built: Log = ["folds"]
    folds = step("folds", built)
    train = Step(
        "train c1 fold 0",
        "train c1 fold 0",
        (folds,),
        lambda: "train c1 fold 0" if "train c1 fold 0" in built else None,
        # Test rows are predicted along.
        lambda: built.extend(["train c1 fold 0", "predict c1 fold 0"]),
        summary=lambda: "c1 fold 0: micro-F1 0.5",
    )
    predict = replace(step("predict c1 fold 0", built, train), along=train)
    end = step("scores", built, predict)

    assert execute(Workspace(tmp_path), [end]) == 2
    assert capsys.readouterr().out.splitlines() == [
        "[1/2] train c1 fold 0",
        "c1 fold 0: micro-F1 0.5; 1 step of unknown time left",
        "[2/2] scores",
    ]

    # Predictions alone may be missing.
    built.remove("predict c1 fold 0")
    assert execute(Workspace(tmp_path), [end]) == 1
    assert capsys.readouterr().out.splitlines() == ["[1/1] predict c1 fold 0"]
