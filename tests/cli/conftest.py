"""One fold of one recipe, trained by the command as a user gives it, and cut short."""

import itertools
import os
from pathlib import Path

from torch.optim.optimizer import register_optimizer_step_pre_hook

from competition.cli import app
from competition.core import distributed
from competition.core.workspace import Workspace

# The head of a `competition.toml` whose only recipe is `c1`.
C1_ALONE = """
preset = "tiny"
recipes = ["c1"]
noise_run = ""
ensembles = []
[submission]
task2 = "c1"
"""
# A fold of it in seconds.
SHORT = """
[overrides]
max_length = 32
epochs = 1
batch_size = 16
rows = "task1"
features = []
adversary = "none"
r_drop = 0.0
"""
TRAIN = ("train", "--fold", "0")


def struck(number: int, step: int, rank: int, *command: str | Path) -> None:
    """Run a command in which the process of that rank gets a signal before an optimiser step, from 1."""
    steps = itertools.count(1)

    def strike(*_: object) -> None:
        if next(steps) == step:
            os.kill(os.getpid(), number)

    if distributed.rank() == rank:
        register_optimizer_step_pre_hook(strike)
    app([str(word) for word in command])


def trained_files(space: Workspace) -> dict[str, bytes]:
    """The bytes of predictions and weights."""
    files = [*space.oof.rglob("*.parquet"), *space.models.rglob("seed-*/*.safetensors")]
    return {str(path.relative_to(space.root)): path.read_bytes() for path in files}
