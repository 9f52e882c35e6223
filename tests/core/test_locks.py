"""Who works on what: one process at a time, and those that wait know for whom."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from competition.core import locks
from competition.core.errors import CompError
from competition.core.json_files import read_json, write_json
from competition.core.locks import HOST
from competition.core.workspace import DATA_LOCK, Workspace
from competition.pipeline.execute import Step, execute
from tests.conftest import comp, make_workspace
from tests.data.test_esci import tiny, write_a

TAKE = """
import sys
from pathlib import Path
from competition.core.errors import CompError
from competition.core.workspace import Workspace
root, name, shared, then = sys.argv[1:]
try:
    with Workspace(Path(root)).lock(name, shared=shared == "shared"):
        print("taken", flush=True)
        if then == "stay":
            sys.stdin.readline()
except CompError as error:
    print(error)
"""


def started(root: Path, name: str, shared: str = "", then: str = "go") -> subprocess.Popen[str]:
    """Another process that takes the lock `name`; with `stay` it keeps it until it is told."""
    command = [sys.executable, "-c", TAKE, str(root), name, shared, then]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def take(root: Path, name: str, shared: str = "") -> str:
    """What another process says that takes the lock `name` and lets it go again."""
    return started(root, name, shared).communicate()[0].strip()


def test_a_lock_is_held_by_one_process_and_says_who_it_is(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    with workspace.lock("train c1 fold 0"):
        refusal = take(tmp_path, "train c1 fold 0")
        assert f"Process {os.getpid()} on {HOST} (`comp" in refusal
        assert "since 20" in refusal
        assert refusal.endswith("is working on 'train c1 fold 0' already: wait for it or stop it.")
        assert take(tmp_path, "train c1 fold 1") == "taken"
    assert take(tmp_path, "train c1 fold 0") == "taken"


def test_a_lock_is_free_after_an_error_and_after_longer_notes(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    with pytest.raises(KeyError), workspace.lock("x"):
        raise KeyError
    (tmp_path / ".locks" / "x.lock").write_text("123456789012\n" * 9, encoding="utf-8")
    with workspace.lock("x"):
        assert f"Process {os.getpid()} " in take(tmp_path, "x")


def test_the_lock_of_a_process_that_was_killed_is_free(tmp_path: Path) -> None:
    holder = started(tmp_path, "x", then="stay")
    assert holder.stdout is not None
    assert holder.stdout.readline() == "taken\n"
    with pytest.raises(CompError, match=f"Process {holder.pid} on"), Workspace(tmp_path).lock("x"):
        pass
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    with Workspace(tmp_path).lock("x"):
        pass


def test_several_share_a_lock_and_keep_out_who_does_not(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    with workspace.lock(DATA_LOCK, shared=True):
        assert take(tmp_path, DATA_LOCK, "shared") == "taken"
        # The other one noted itself behind this process, but it is gone.
        assert f"Process {os.getpid()} " in take(tmp_path, DATA_LOCK)
    with workspace.lock(DATA_LOCK):
        assert f"Process {os.getpid()} " in take(tmp_path, DATA_LOCK, "shared")
    assert take(tmp_path, DATA_LOCK) == "taken"


def test_notes_that_say_nothing_are_passed_over(tmp_path: Path) -> None:
    workspace, note = Workspace(tmp_path), tmp_path / ".locks" / "x.lock"
    with workspace.lock("x"):
        note.write_text('{"pid"\n[1]\n', encoding="utf-8")
        assert take(tmp_path, "x").startswith("Another process is working on 'x'")
        said = {"pid": 1, "host": "elsewhere", "command": "comp run", "since": "noon"}
        note.write_text(json.dumps(said), encoding="utf-8")
        assert take(tmp_path, "x").startswith(
            "Process 1 on elsewhere (`comp run`, since noon) is working"
        )


def test_a_step_that_another_process_makes_is_waited_for_and_not_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = tmp_path / "made"
    holder = started(tmp_path, "x", then="stay")
    assert holder.stdout is not None
    assert holder.stdout.readline() == "taken\n"

    def waiting(sentence: str) -> None:
        assert f"Process {holder.pid} on {HOST}" in sentence
        assert sentence.endswith("'x' already: waiting for it.")
        made.touch()
        holder.communicate("\n")  # it has made the step as soon as somebody waits

    def make() -> None:
        raise AssertionError("it is made again")

    monkeypatch.setattr(locks, "warn", waiting)
    step = Step("x", "inputs", (), lambda: "inputs" if made.exists() else None, make)
    assert execute(Workspace(tmp_path), [step]) == 0
    assert made.exists()


def test_data_are_not_replaced_under_those_that_work_with_them(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path / "w")
    holder = started(workspace.root, DATA_LOCK, "shared", "stay")
    assert holder.stdout is not None
    assert holder.stdout.readline() == "taken\n"
    raw = write_a(tmp_path / "raw", *tiny())
    write_json(workspace.data_card, {**read_json(workspace.data_card), "source": "synth"})
    for command in (["import", raw], ["synth"]):
        result = comp("data", *command, "-w", workspace.root)
        assert result.exit_code == 1, result.output
        assert f"Process {holder.pid} on {HOST}" in result.stderr
    assert comp("folds", "-w", workspace.root).exit_code == 0  # those that read share it
    holder.communicate("\n")
    assert comp("data", "import", raw, "-w", workspace.root).exit_code == 0
    holder = started(workspace.root, DATA_LOCK, "", "stay")
    assert holder.stdout is not None
    assert holder.stdout.readline() == "taken\n"
    result = comp("run", "-w", workspace.root)
    assert result.exit_code == 1
    assert "is working on 'data' already" in result.stderr
    holder.communicate("\n")
