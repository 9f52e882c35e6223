"""What the training of a recipe would cost on this device, before hours are spent: a trial of it, scaled up."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from competition.analysis.environment import Device, find_device
from competition.analysis.step_benchmark import StepTimes, benchmark_steps
from competition.config.recipe import EncoderRecipe
from competition.data import folds
from competition.pipeline.build_runs import sides
from competition.pipeline.steps import Pipeline


@dataclass(frozen=True)
class FoldCost:
    """What the training of one fold would take."""

    fold: int
    rows: int  # trained on, with the augmented ones
    steps: int  # of the optimiser
    tokens: int  # trained on, with padding
    seconds: float


@dataclass(frozen=True)
class CostEstimate:
    """The folds of a recipe on a device."""

    device: Device
    trial: StepTimes
    tokenising: float  # seconds, before the first fold
    folds: list[FoldCost]

    @property
    def seconds(self) -> float:
        return self.tokenising + sum(fold.seconds for fold in self.folds)


def estimate_cost(
    pipeline: Pipeline, recipe: EncoderRecipe, numbers: Iterable[int]
) -> CostEstimate:
    """Measure a recipe and scale it up to the folds `numbers`.

    An audit is taken to drop as many rows as it may; translated rows are not counted. What training
    starts from is taken to be there, or to be made in no time: that is not so of pre-training.

    Raises:
        InputError: the encoder would have to be downloaded first.
    """
    examples = pipeline.maker.examples
    fold = folds.fold_of_rows(examples, folds.make_folds(examples, recipe.scheme))
    kept = 1 - pipeline.settings.noise_fraction if recipe.drop_noise_from else 1.0
    models = len(recipe.all_seeds)
    counts = {
        number: {
            side: int(mask.sum()) for side, mask in sides(recipe, examples, fold, (number,)).items()
        }
        for number in numbers
    }

    def steps(trained: float) -> int:
        return models * recipe.epochs * math.ceil(trained / recipe.batch_size)

    device = find_device(recipe.precision)  # before the trial takes memory
    with TemporaryDirectory(prefix="comp-dry-run-") as folder:
        trial = benchmark_steps(
            pipeline,
            recipe,
            Path(folder),
            sum(steps(rows["train"] * kept) for rows in counts.values()),
        )
    costs = []
    for number, rows in counts.items():
        trained = round(rows["train"] * kept * (1 + trial.added))
        predicted = models * (recipe.epochs * rows["held_out"] + rows["test"])
        seconds = steps(trained) * trial.step + predicted * trial.predicted
        costs.append(
            FoldCost(number, trained, steps(trained), round(steps(trained) * trial.tokens), seconds)
        )
    return CostEstimate(device, trial, trial.tokenised * len(examples), costs)
