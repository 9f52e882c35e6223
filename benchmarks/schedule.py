"""The published eight runs on 1, 8 and 64 GPUs: how long the schedule of `comp run --jobs` takes, and its lower bound.

The steps are those of a workspace with the published settings, and the scheduler is that of the
command; the clock is not. The training of a fold takes what `benchmarks/arithmetic.py` counts;
steps without a GPU take no time. No schedule is shorter than its critical path, nor than
all work divided by the GPUs. Run it by `python -m benchmarks.schedule`.
"""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.arithmetic import INFOXLM_LARGE, Assumptions, Encoder, fold_seconds
from competition.config.encoder_recipe import EncoderRecipe
from competition.pipeline.execute import Step
from competition.pipeline.schedule import Machine, Schedule, chains, simulate
from competition.pipeline.steps import Pipeline
from tests.conftest import make_workspace

GPUS = (1, 8, 64)
# As docs/how-to/full-esci.md has them.
SETTINGS = """
preset = "infoxlm-large"
recipes = ["lexical", "c1", "c2", "c3", "r1", "r2", "r3", "t2", "t3"]
ensembles = ["six-model", "blend"]
"""


@dataclass(frozen=True)
class Simulated:
    """A schedule on some GPUs; times in seconds."""

    gpus: int
    makespan: float
    work: float  # of all steps
    path: float  # the longest chain of steps that need each other

    @property
    def bound(self) -> float:
        """No schedule takes less."""
        return max(self.path, self.work / self.gpus)

    @property
    def idle(self) -> float:
        """The share of the GPUs' time in which they do nothing."""
        return 1 - self.work / (self.gpus * self.makespan)


def published(folder: Path, given: Assumptions) -> dict[Step, float]:
    """Return the steps of the published eight runs with the seconds of each; the workspace is made in `folder`."""
    pipeline = Pipeline(make_workspace(folder, queries=40, settings=SETTINGS))
    missing = pipeline.steps()
    missing = [step for step in missing if step.along not in missing]
    encoder = Encoder.of("xlm-roberta", INFOXLM_LARGE)

    seconds = {}
    for step in missing:
        recipe = None if step.trains is None else pipeline.recipes.member(step.trains)
        trains = isinstance(recipe, EncoderRecipe)
        seconds[step] = fold_seconds(recipe, encoder, given) if trains else 0.0
    return seconds


def simulated(seconds: dict[Step, float], gpus: int) -> Simulated:
    """Run the schedule of some steps on a clock that is made up, one training on each GPU."""
    machine = Machine(jobs=gpus, gpus=gpus, memory=0, threads=1)
    schedule = Schedule(seconds, machine, {})
    makespan = simulate(schedule, lambda step: seconds[step])
    path = max(chains(seconds, lambda step: seconds[step]).values())
    return Simulated(gpus, makespan, sum(seconds.values()), path)


def main() -> None:
    """Print the schedules."""
    with TemporaryDirectory() as folder:
        seconds = published(Path(folder), Assumptions())
    trainings = sum(value > 0 for value in seconds.values())
    print(f"{len(seconds)} steps, {trainings} trainings on a GPU")
    print("| GPUs | hours | lower bound | over it | bound by | idle |")
    print("|---|---|---|---|---|---|")
    for gpus in GPUS:
        each = simulated(seconds, gpus)
        by = "critical path" if each.path > each.work / gpus else "work / GPUs"
        over = each.makespan / each.bound - 1
        cells = f"{each.makespan / 3600:.1f} | {each.bound / 3600:.1f} | {over:.1%}"
        print(f"| {gpus} | {cells} | {by} | {each.idle:.1%} |")


if __name__ == "__main__":
    main()
