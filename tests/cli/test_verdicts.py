"""Commands end with where the workspace stands: on one screen for people, as tables for scripts."""

import json
import math
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from competition.core.workspace import Workspace
from tests.conftest import comp, make_workspace

# The lexical baseline and an ensemble of it with text: both are made in seconds.
SETTINGS = """
recipes = ["lexical"]
noise_run = ""
ensembles = ["blend"]
[submission]
task2 = "blend"
task3 = "lexical"
[overrides]
n_estimators = 15
"""


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, str]:
    """A finished workspace, and what `comp run` printed."""
    space = make_workspace(tmp_path_factory.mktemp("verdicts") / "w", 30, SETTINGS)
    result = comp("run", "-w", space.root)
    assert result.exit_code == 0, result.output
    return space, result.output


def tables(*arguments: str | Path) -> dict[str, dict[str, Any]]:
    """The tables of a JSON document by their titles."""
    return {table["title"]: table for table in json.loads(comp(*arguments).stdout)["tables"]}


def test_steps_are_numbered_without_holes_and_folds_are_scored(ran: tuple[Workspace, str]) -> None:
    places = re.findall(r"^\[(\d+)/(\d+)\] ", ran[1], re.MULTILINE)
    numbers = [int(number) for number, _ in places]
    assert numbers == list(range(1, len(places) + 1))
    assert {int(total) for _, total in places} == {len(places)}

    scored = re.findall(r"^lexical fold (\d): task2 micro-F1 0\.\d{4}; .* left$", ran[1], re.M)
    assert scored == ["0", "1", "2", "3", "4"]


def test_the_end_of_a_run_fits_one_screen_and_says_where_tasks_stand(
    ran: tuple[Workspace, str],
) -> None:
    space, _ = ran
    output = comp("run", "-w", space.root).output
    lines = [line.replace(str(space.root), "w") for line in output.splitlines()]
    assert sum(max(1, math.ceil(len(line) / 80)) for line in lines) <= 30
    assert re.search(r"^task2: blend-task2 is submitted.*micro-F1.* than lexical\b", output, re.M)
    assert re.search(
        r"^task3: lexical is submitted.* than the constant answer 'no_substitute'\.$", output, re.M
    )
    assert "Submission: " in output
    assert lines[-1].startswith("Next: ")

    # One table per task that is submitted.
    assert "task1: " not in output
    assert len(re.findall(r"^run +score ", output, re.M)) == 2


def test_all_shows_every_table_and_what_to_do(ran: tuple[Workspace, str]) -> None:
    space, _ = ran
    output = comp("run", "--all", "-w", space.root).output
    board = pd.read_csv(space.scores)
    titles = re.findall(r"^(task\d), (out-of-fold|test), ", output, re.M)
    assert len(titles) == len(board.groupby(["task", "split", "group"]))
    assert re.search(r"^note \(one-member\): task2: blend-task2 combines one member", output, re.M)
    assert "Name recipes of another kind" in output


def test_scripts_get_the_verdict_and_all_diagnoses(ran: tuple[Workspace, str]) -> None:
    space, _ = ran
    of_run = tables("run", "--json", "-w", space.root)
    assert [row["task"] for row in of_run["Verdict"]["rows"]] == ["task2", "task3"]
    first = of_run["Verdict"]["rows"][0]
    assert (first["submitted"], first["split"], first["group"]) == (
        "blend-task2", "out-of-fold", "all",
    )  # fmt: skip
    assert of_run["Verdict"]["about"]["next"]
    assert "one-member" in {row["code"] for row in of_run["Diagnoses"]["rows"]}

    of_status = tables("status", "--json", "-w", space.root)
    assert of_status["Verdict"] == of_run["Verdict"]
    assert of_status["Diagnoses"] == of_run["Diagnoses"]


def test_a_stack_ends_with_the_verdict(ran: tuple[Workspace, str]) -> None:
    output = comp("stack", "blend", "--only", "-w", ran[0].root).output
    assert "task2: blend-task2 is submitted" in output
    assert "out-of-fold" in output
    assert ", test, " not in output
    assert ", test, " in comp("stack", "blend", "--only", "--all", "-w", ran[0].root).output


def test_a_workspace_that_lacks_a_file_should_run(ran: tuple[Workspace, str]) -> None:
    space, _ = ran
    score = space.scores.read_bytes()
    space.scores.unlink()
    output = comp("status", "-w", space.root).output
    space.scores.write_bytes(score)
    assert "task2: no run has a score yet." in output
    assert f"Next: `comp run -w {space.root}` makes 1 step that is missing" in output


@pytest.mark.parametrize("content", [b"task,split\ntask2,test\n", b"\xff\xfe", b"", None])
def test_a_table_of_scores_that_was_changed_says_nothing(
    ran: tuple[Workspace, str], content: bytes | None
) -> None:
    space, _ = ran
    score = space.scores.read_bytes()
    # None: somebody improved the figures.
    space.scores.write_bytes(score.replace(b"0.", b"1.") if content is None else content)
    result = comp("status", "-w", space.root)
    space.scores.write_bytes(score)
    assert result.exit_code == 0, result.output
    assert "task2: no run has a score yet." in result.output


@pytest.mark.parametrize(
    "content",
    [
        b"task,submission,public,low\ntask2,main,0.5,0.1\n",
        b"task,submission,public,low,high\ntask2,main,0.5 %,0.1,0.2\n",
        b"task,public\ntask2,\xff\n",
        b"public,task\n0.5\n",
    ],
)
def test_a_log_that_a_spreadsheet_changed_stops_no_verdict(
    ran: tuple[Workspace, str], content: bytes
) -> None:
    space, _ = ran
    before = space.leaderboard.read_bytes()
    space.leaderboard.write_bytes(content)
    result = comp("status", "-w", space.root)
    space.leaderboard.write_bytes(before)
    assert result.exit_code == 0, result.output
    assert "task2: blend-task2 is submitted" in result.output
