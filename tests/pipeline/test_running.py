"""What commands build now is seen by others for as long as they live, and by nobody's clock."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from competition.core import locks
from competition.core.locks import HOST
from competition.core.workspace import Workspace
from competition.pipeline import running
from competition.pipeline.execute import Step, execute
from competition.pipeline.running import announce, running_commands
from tests.conftest import LEXICAL_ALONE, comp, make_workspace, refused

BUILD = """
import sys, time
from pathlib import Path
from competition.core.workspace import Workspace
from competition.pipeline.running import announce
with announce(Workspace(Path(sys.argv[1]))) as announcement:
    announcement.begin("train c1 fold 0")
    print("begun", flush=True)
    sys.stdin.readline()
"""


def test_a_command_is_seen_until_it_ends_or_is_killed(tmp_path: Path) -> None:
    space = Workspace(tmp_path)
    assert running_commands(space) == []
    with announce(space) as announcement:
        announcement.begin("folds five")
        announcement.begin("train c1 fold 1")
        announcement.begin("train c1 fold 1", "another-machine")
        announcement.end("folds five", "0:01:00 left")
        (command,) = running_commands(space)
        assert (command.host, command.pid, command.left) == (HOST, os.getpid(), "0:01:00 left")
        assert [(step.name, step.host) for step in command.steps] == [
            ("train c1 fold 1", "another-machine")
        ]
    assert running_commands(space) == []

    command = [sys.executable, "-c", BUILD, str(tmp_path)]
    other = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert other.stdout.readline() == "begun\n"
    assert [each.pid for each in running_commands(space)] == [other.pid]
    other.kill()
    other.wait()
    assert running_commands(space) == []
    assert len(list(space.running.iterdir())) == 1
    with announce(space):
        assert [path.name for path in space.running.iterdir()] == [f"{HOST}.{os.getpid()}"]


def test_a_note_that_is_being_written_counts_as_nothing_and_long_ones_are_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "_NOTES", 1000)
    with locks.hold_note(tmp_path / "notes" / "mine") as write:
        assert locks.live_notes(tmp_path / "notes") == [{}]
        for number in range(100):
            write({"number": number})
            assert (tmp_path / "notes" / "mine").stat().st_size < 1000 + 20
        with (tmp_path / "notes" / "mine").open("ab") as torn:
            torn.write(b'{"number": 1')
        assert locks.live_notes(tmp_path / "notes") == [{"number": 99}]
    assert locks.live_notes(tmp_path / "notes") == []


def test_the_step_that_is_built_is_announced(tmp_path: Path) -> None:
    space = Workspace(tmp_path)
    seen: list[object] = []

    def build() -> None:
        seen.extend(step.name for each in running_commands(space) for step in each.steps)

    execute(space, [Step("folds", "made", (), lambda: None, build)])
    assert seen == ["folds"]


def test_status_watches_until_nothing_is_built_or_ctrl_c(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock of another machine is an hour ahead: what it says is shown, and compared with nothing."""
    space = make_workspace(tmp_path, settings=LEXICAL_ALONE)
    monkeypatch.setattr(running, "utc_now", lambda: "2030-01-01 13:00:00 UTC")
    looks: list[float] = []
    with announce(space) as announcement:
        announcement.begin("train lexical fold 0", "node-7")

        def look_again(seconds: float) -> None:
            looks.append(seconds)
            if len(looks) == 2:
                announcement.end("train lexical fold 0", "2 steps of unknown time left")
            if len(looks) == 4:
                os.kill(os.getpid(), signal.SIGINT)

        monkeypatch.setattr("time.sleep", look_again)
        watched = comp("status", "--watch", "-w", space.root)
        assert watched.exit_code == 0
        assert "Runs by fold" not in watched.stdout
        assert watched.stdout.count("node-7") == 1
        assert "2030-01-01 13:00:00 UTC" in watched.stdout
        assert watched.stdout.count("2 steps of unknown time left.") == 1
        announcement.begin("folds five", "")
        shown = json.loads(comp("status", "--json", "-w", space.root).stdout)["tables"]
        (now,) = (table for table in shown if table["title"] == "Built now")
        assert [(row["step"], row["host"]) for row in now["rows"]] == [
            ("folds five", "waits for a machine")
        ]
        assert "--watch shows what changes" in refused(
            "status", "--watch", "--json", "-w", space.root
        )
    assert len(looks) == 4
    assert "Runs by fold" in comp("status", "--watch", "-w", space.root).stdout
