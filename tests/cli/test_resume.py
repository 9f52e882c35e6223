"""Commands that are cut short and given again, and what they leave behind."""

import os
import shutil
import signal
from pathlib import Path

import pytest
from torch.optim.optimizer import register_optimizer_step_pre_hook

from tests.cli.conftest import C1_ALONE, SHORT, TRAIN, struck, trained_files
from tests.conftest import comp, make_workspace
from tests.processes import forked

pytestmark = pytest.mark.slow

SETTINGS = f"{C1_ALONE}{SHORT}checkpoint_steps = 4\n"


def test_a_command_that_is_killed_and_stopped_goes_on_and_ends_in_the_same_bytes(
    tmp_path: Path,
) -> None:
    """SIGKILL before step 7, SIGTERM at the next, then left alone; `comp clean` keeps what is not finished."""
    undisturbed, space = (make_workspace(tmp_path / name, settings=SETTINGS) for name in ("a", "b"))
    assert comp(*TRAIN, "-w", undisturbed.root).exit_code == 0
    expected = trained_files(undisturbed)
    assert len(expected) == 4
    assert not list(undisturbed.unfinished.rglob("*.safetensors"))

    killed = forked(struck, signal.SIGKILL, 7, 0, *TRAIN, "-w", space.root)
    assert killed.codes == [-signal.SIGKILL], killed.stderr
    assert list(space.unfinished.rglob("step-00000004"))
    assert not trained_files(space)

    handle = register_optimizer_step_pre_hook(lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    stopped = comp(*TRAIN, "-w", space.root)
    handle.remove()
    assert stopped.exit_code == 128 + signal.SIGTERM
    assert "c1 fold 0: resumes from step 4 of" in stopped.output
    (sentence,) = stopped.stderr.splitlines()
    assert sentence.startswith("error: interrupted; step 5 of ")
    assert sentence.endswith(" of c1 fold 0 is saved, and the same command resumes from there.")

    cleaned = comp("clean", "-w", space.root).output.splitlines()
    assert cleaned[0].startswith("Nothing to remove")
    assert cleaned[1:] == ["Kept the checkpoints of unfinished training: c1 fold-0"]
    shutil.copytree(space.unfinished, tmp_path / "kept")
    result = comp(*TRAIN, "-w", space.root)
    assert result.exit_code == 0
    assert "c1 fold 0: resumes from step 5 of" in result.output
    assert trained_files(space) == expected

    shutil.copytree(
        tmp_path / "kept", space.unfinished, dirs_exist_ok=True
    )  # as if killed just before the end
    cleaned = comp("clean", "-w", space.root).output.splitlines()
    assert cleaned[0].startswith("models/checkpoints/c1/fold-0: ")
    assert cleaned[0].endswith(" MB")
    assert cleaned[1:] == [f"Freed: {cleaned[0].rpartition(': ')[2]}"]
    assert not list(space.unfinished.rglob("*.safetensors"))
