"""One fold of one recipe, trained by the command as a user gives it, and cut short."""

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
# The command, which gets the signal argv[2] before optimiser step argv[1], from 1.
STRUCK = """
import itertools, os, sys
from torch.optim.optimizer import register_optimizer_step_pre_hook
from competition.cli import app
steps, number = itertools.count(1), int(sys.argv[1])
register_optimizer_step_pre_hook(lambda *_: os.kill(os.getpid(), int(sys.argv[2])) if next(steps) == number else None)
app(sys.argv[3:])
"""


def trained_files(space: Workspace) -> dict[str, bytes]:
    """The bytes of predictions and weights."""
    files = [*space.oof.rglob("*.parquet"), *space.models.rglob("seed-*/*.safetensors")]
    return {str(path.relative_to(space.root)): path.read_bytes() for path in files}
