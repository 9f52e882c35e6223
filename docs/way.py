"""Measure a recipe's way, from its TOML file to its out-of-fold file: `python docs/way.py`.

One fold of a tiny encoder is trained by `comp train` in a workspace of a few queries, and every call
of the package's functions is looked at:

- frames: our functions on the stack when a batch first passes through the model, from the command's
  own (`cli/train.py`) to the model's `forward`.
- files: those whose functions take the recipe and hand it on: an argument is its name, the recipe
  or a plan that holds it, and the function is on the stack when the recipe gets its type, when its
  fold is planned, when it is trained or when its out-of-fold file is written; and the file that
  says what a recipe is.
- names: what arguments of our functions are called that hold one value of the recipe, its key in
  TOML among them. Values are followed that occur nowhere else.
"""

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from competition.config.encoder_recipe import EncoderRecipe
from competition.core.workspace import Workspace
from tests.conftest import comp, make_workspace

PACKAGE = Path(__file__).parents[1] / "competition"
RECIPE = "traced"
MOST_FRAMES, MOST_FILES, MOST_NAMES = 10, 8, 4
# Keys with values that nothing else has, each small enough for a fold in a second.
FOLLOWED = {
    "max_length": 211,
    "batch_size": 193,
    "learning_rate": 0.00173,
    "warmup": 0.137,
    "ema": 0.9173,
    "token_budget": 4139,
}
SETTINGS = f"""
preset = "tiny"
recipes = ["{RECIPE}"]
default_recipe = "{RECIPE}"
noise_run = ""
ensembles = []
[submission]
task2 = "{RECIPE}"
"""
READ = "read by the model"
# The functions at whose entry the recipe has come further, with its stations in words.
STATIONS = {
    ("core/toml_files.py", "build_model"): "typed",
    ("pipeline/plan.py", "_model"): "planned",
    ("training/finetune.py", "train_fold"): "trained",
    ("scoring/predictions.py", "write_outputs"): "written",
    ("models/encoder/model.py", "forward"): READ,
}


def is_recipe(value: object) -> bool:
    """Return whether a value names a recipe, is one, or holds one."""
    if isinstance(value, str):
        return value == RECIPE
    return isinstance(getattr(value, "recipe", value), EncoderRecipe)


def arguments(frame: FrameType) -> Iterator[tuple[str, object]]:
    """Yield the names and values of the arguments of a call that begins."""
    code = frame.f_code
    for name in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]:
        if name in frame.f_locals:
            yield name, frame.f_locals[name]


class Trace:
    """What was seen on the way."""

    def __init__(self) -> None:
        """Begin with nothing but the recipe's own keys."""
        self.stacks: dict[str, list[tuple[str, str, bool]]] = {}  # station -> file, function, takes
        self.names: dict[str, set[str]] = {key: {key} for key in FOLLOWED}

    def __call__(self, frame: FrameType, event: str, argument: object) -> None:
        """Look at a call; `sys.setprofile` hands over every one."""
        file = frame.f_code.co_filename
        if event != "call" or not file.startswith(str(PACKAGE)):
            return

        for name, value in arguments(frame):
            for key, followed in FOLLOWED.items():
                if type(value) is type(followed) and value == followed:
                    self.names[key].add(name)

        station = STATIONS.get((str(Path(file).relative_to(PACKAGE)), frame.f_code.co_name))
        if station and station not in self.stacks and self._is_of_recipe(station, frame):
            self.stacks[station] = list(stack(frame))

    @staticmethod
    def _is_of_recipe(station: str, frame: FrameType) -> bool:
        values = [value for _, value in arguments(frame)]
        return station != "typed" or EncoderRecipe in values


def stack(frame: FrameType | None) -> Iterator[tuple[str, str, bool]]:
    """Yield file and name of our functions from a frame outwards, and whether each takes the recipe."""
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(PACKAGE):
            takes = any(is_recipe(value) for _, value in arguments(frame))
            yield str(path.relative_to(PACKAGE)), frame.f_code.co_name, takes
        frame = frame.f_back


def train(workspace: Workspace) -> Trace:
    """Train one fold by the command of a user; return what was seen."""
    keys = "\n".join(f"{key} = {value}" for key, value in FOLLOWED.items())
    workspace.recipe_folder.mkdir()
    file = workspace.recipe_folder / f"{RECIPE}.toml"
    file.write_text(f'description = "the one that is followed"\nepochs = 1\n{keys}\n')

    trace = Trace()
    sys.setprofile(trace)
    try:
        result = comp("train", "--fold", "0", "-w", workspace.root)
    finally:
        sys.setprofile(None)
    assert result.exit_code == 0, result.output
    return trace


def main() -> None:
    """Print the way and what is counted on it."""
    with tempfile.TemporaryDirectory() as folder:
        trace = train(make_workspace(Path(folder) / "w", 20, SETTINGS))

    ours = [f"{file}: {name}" for file, name, _ in reversed(trace.stacks[READ])]
    frames = ours[next(i for i, name in enumerate(ours) if name.startswith("cli/train.py")) :]
    print(f"frames from the command to the first forward: {len(frames)} (at most {MOST_FRAMES})")
    print(*(f"    {name}" for name in frames), sep="\n")

    files = {"config/encoder_recipe.py": "says what it is"}
    for station, calls in trace.stacks.items():
        # `cli/` and `core/` are the door and the ground, which know no recipe.
        for file, _, takes in reversed(calls):
            if takes and station != READ and not file.startswith(("cli/", "core/")):
                files.setdefault(file, station)
    print(f"files that take the recipe and hand it on: {len(files)} (at most {MOST_FILES})")
    print(*(f"    {file} ({station})" for file, station in files.items()), sep="\n")

    most = max(map(len, trace.names.values()))
    print(f"names of one parameter: {most} (at most {MOST_NAMES})")
    print(
        *(f"    {key}: {', '.join(sorted(names))}" for key, names in trace.names.items()), sep="\n"
    )
    if len(frames) > MOST_FRAMES or len(files) > MOST_FILES or most > MOST_NAMES:
        sys.exit("the way is longer than it should be")


if __name__ == "__main__":
    main()
