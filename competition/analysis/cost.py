"""The cost of training a recipe on this device: a benchmark of a few real steps, scaled up to the folds.

The benchmark tokenizes, trains on and predicts a sample of whole queries by the same code as a fold.
Where the recipe starts from what does not exist yet (the encoder `tiny`, a vocabulary), one is made
of the sample in a temporary folder: nothing is written to the workspace.
"""

import math
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from competition.analysis.environment import Device, find_device
from competition.config.encoder_recipe import EncoderRecipe
from competition.core.console import Progress
from competition.core.errors import InputError
from competition.core.json_files import read_manifest
from competition.data import folds
from competition.data.store import product_rows
from competition.models.encoder.paths import Sources
from competition.pipeline.recipes import TINY
from competition.pipeline.rows import sides
from competition.pipeline.steps import Pipeline

if TYPE_CHECKING:
    from competition.training.samples import Sample

_SAMPLE = 2_048  # training rows
_WARM_UP = 3  # steps that are not counted: their allocations are not those of the rest
_MOST_STEPS = 40  # counted
_ENOUGH_STEPS = 5  # counted, after which the time limit holds
_TIME_LIMIT = 20.0  # seconds


@dataclass(frozen=True)
class StepTimes:
    """The times of a few steps on a sample of the rows."""

    steps: int  # counted
    step_seconds: float  # of an optimizer step
    step_tokens: float  # of an optimizer step, with padding
    step_rows: (
        float  # of an optimizer step; more than `batch_size` where lists are longer than that
    )
    predict_seconds: float  # per row
    tokenize_seconds: float  # per row
    augmentation: float  # augmented rows per training row
    memory: int  # bytes at the peak, with the tokens of all rows


@dataclass(frozen=True)
class FoldCost:
    """The cost of training one fold."""

    fold: int
    rows: int  # trained on, with the augmented ones
    steps: int  # of the optimizer
    tokens: int  # trained on, with padding
    seconds: float


@dataclass(frozen=True)
class CostEstimate:
    """The cost of training folds of a recipe on a device."""

    device: Device
    benchmark: StepTimes
    tokenizing: float  # seconds, before the first fold
    folds: list[FoldCost]

    @property
    def seconds(self) -> float:
        """The time of everything."""
        return self.tokenizing + sum(fold.seconds for fold in self.folds)


def estimate_cost(
    pipeline: Pipeline, recipe: EncoderRecipe, numbers: Iterable[int]
) -> CostEstimate:
    """Run the benchmark of a recipe and scale it up to the folds `numbers`.

    An audit is assumed to drop as many rows as it may; translated rows are not counted, nor the time
    to make what training starts from, such as a pre-training.

    Raises:
        InputError: the encoder would have to be downloaded first.
    """
    kind = pipeline.recipes.kind_of(recipe)
    examples = pipeline.tables.examples
    fold_of_row = folds.fold_of_rows(
        examples, folds.make_folds(examples, recipe.scheme, pipeline.plan.contest)
    )
    # The share of training rows that an audit leaves.
    kept = 1 - pipeline.plan.settings.noise_fraction if recipe.drop_noise_from else 1.0
    row_counts = {}
    for number in numbers:
        masks = sides(recipe, kind, examples, fold_of_row, (number,))
        counts = {side: int(mask.sum()) for side, mask in masks.items()}
        row_counts[number] = counts | {"train": round(counts["train"] * kept)}

    # Free memory is looked up before the benchmark takes some.
    device = find_device(recipe.precision)
    total_steps = sum(
        _steps(recipe, rows["train"], recipe.batch_size) for rows in row_counts.values()
    )
    with TemporaryDirectory(prefix="comp-dry-run-") as folder:
        times = benchmark_steps(pipeline, recipe, Path(folder), total_steps)

    costs = [scale_up(recipe, times, number, rows) for number, rows in row_counts.items()]
    return CostEstimate(device, times, times.tokenize_seconds * len(examples), costs)


def scale_up(
    recipe: EncoderRecipe, times: StepTimes, fold: int, rows: Mapping[str, int]
) -> FoldCost:
    """Return the cost of a fold by the times of a few steps; `rows` are those of `train`, `held_out` and `test`."""
    trained = round(rows["train"] * (1 + times.augmentation))
    steps = _steps(recipe, trained, times.step_rows)

    # The held-out rows are scored after each epoch, test rows once.
    evaluations = max(1, recipe.epochs)
    predicted = len(recipe.all_seeds) * (evaluations * rows["held_out"] + rows["test"])
    return FoldCost(
        fold=fold,
        rows=trained,
        steps=steps,
        tokens=round(steps * times.step_tokens),
        seconds=steps * times.step_seconds + predicted * times.predict_seconds,
    )


def _steps(recipe: EncoderRecipe, rows: float, rows_per_step: float) -> int:
    """Return the optimizer steps of a fold over some training rows."""
    return len(recipe.all_seeds) * recipe.epochs * math.ceil(rows / rows_per_step)


def benchmark_steps(
    pipeline: Pipeline, recipe: EncoderRecipe, folder: Path, steps: int
) -> StepTimes:
    """Measure a few steps of a recipe.

    Args:
        pipeline: of the workspace.
        recipe: that is measured.
        folder: for files that training needs, a temporary one.
        steps: of the whole training; the benchmark takes no more.

    Raises:
        InputError: the encoder would have to be downloaded first.
    """
    from competition.models.encoder.model import RelevanceModel
    from competition.training.corpus import Corpus
    from competition.training.device import peak_memory
    from competition.training.finetune import fine_tune
    from competition.training.loop import Log, make_accelerator
    from competition.training.oom import Budget
    from competition.training.predict import predict

    kind = pipeline.recipes.kind_of(recipe)
    examples, products = _sample(pipeline, recipe)
    sources = _sources(pipeline, recipe, folder, products)
    rows = np.arange(len(examples))
    other_rows = len(pipeline.tables.examples) - len(examples)  # outside of the sample

    start = time.monotonic()
    corpus = Corpus.make(recipe, pipeline.plan.contest, sources, examples, products)
    tokenize_seconds = (time.monotonic() - start) / len(examples)

    sample = corpus.sample(recipe, kind, rows, np.empty(0, np.int64))
    accelerator = make_accelerator(precision=recipe.precision)
    watch = _Stopwatch(steps)
    model = RelevanceModel.make(recipe, kind, sources, seed=0)
    log = Log(folder / "log.jsonl")
    # The watch stands in for the progress bar, and ends training when it has enough steps.
    with suppress(_Enough):
        fine_tune(accelerator, model, recipe, sample, 0, watch, log, lambda *_: None)

    start = time.monotonic()
    predict(accelerator, model, corpus.pairs, rows, Budget(recipe.token_budget))
    _synchronize()
    predict_seconds = (time.monotonic() - start) / len(rows)

    return StepTimes(
        steps=watch.steps,
        step_seconds=watch.per_step,
        step_tokens=_tokens_per_step(recipe, sample),
        step_rows=_rows_per_step(recipe, sample),
        predict_seconds=predict_seconds,
        tokenize_seconds=tokenize_seconds,
        augmentation=len(sample.rows) / len(rows) - 1,
        memory=peak_memory() + round(other_rows / len(examples) * _size(corpus.pairs)),
    )


class _Enough(Exception):
    """Enough steps are counted."""


class _Stopwatch(Progress):
    """Records the time of each step instead of showing progress."""

    def __init__(self, steps: int) -> None:
        super().__init__("measured", 0, None)
        self._times = [time.monotonic()]
        self._most = min(steps, _WARM_UP + _MOST_STEPS)

    def advance(self, units: int) -> None:
        """Record the end of a step; raises _Enough if no other is needed."""
        _synchronize()
        self._times.append(time.monotonic())
        elapsed = self._times[-1] - self._times[0]
        is_late = elapsed > _TIME_LIMIT and self._taken >= _WARM_UP + _ENOUGH_STEPS
        if is_late or self._taken >= self._most:
            raise _Enough

    @property
    def _taken(self) -> int:
        return len(self._times) - 1

    @property
    def steps(self) -> int:
        """The number of steps after the warm-up, or of all if there are no others."""
        return self._taken - _WARM_UP if self._taken > _WARM_UP else self._taken

    @property
    def per_step(self) -> float:
        """The mean seconds of these steps."""
        return float(np.diff(self._times)[-self.steps :].mean()) if self.steps else 0.0


def _sample(pipeline: Pipeline, recipe: EncoderRecipe) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the labelled training rows of random queries, and their products."""
    examples = pipeline.tables.examples
    products = pipeline.tables.products
    has_target = ~np.isnan(pipeline.recipes.kind_of(recipe).numeric_target(examples))
    train = examples[(examples["split"] == "train") & has_target]

    sizes = train.groupby("query_id").size().sample(frac=1, random_state=0)
    # The fewest queries that have enough rows.
    queries = sizes.index[: 1 + int(np.searchsorted(sizes.cumsum(), _SAMPLE))]
    rows = train[train["query_id"].isin(queries)].reset_index(drop=True)

    of_rows = np.unique(product_rows(rows, products))  # -1: a row without product
    return rows, products.iloc[of_rows[of_rows >= 0]].reset_index(drop=True)


def _sources(
    pipeline: Pipeline, recipe: EncoderRecipe, folder: Path, products: pd.DataFrame
) -> Sources:
    """Return what the recipe starts from, with stand-ins for what does not exist yet."""
    from competition.data.vocabulary import Vocabulary

    planned = pipeline.artifacts.sources(recipe)
    vocabulary = planned.vocabulary
    if vocabulary is not None and read_manifest(vocabulary) is None:
        vocabulary = folder / "vocabulary"
        categories = pipeline.plan.contest.categories
        Vocabulary.make(products, categories).save(vocabulary, "benchmark")
    encoder = _encoder(pipeline, recipe.encoder, folder, products, recipe.head)
    return Sources(encoder, vocabulary, locales=planned.locales)


def _encoder(
    pipeline: Pipeline, encoder: str, folder: Path, products: pd.DataFrame, head: str
) -> Path:
    """Return the folder of an encoder with the recipe's head, or of a stand-in of the same size."""
    from competition.models.encoder.encoder import fetch, make_tiny

    made = pipeline.artifacts.encoder_folder(encoder, head)
    if read_manifest(made) is not None:
        return made

    # A pre-training has the size of what it starts from.
    pretraining = pipeline.recipes.pretrained(encoder)
    if pretraining is not None:
        return _encoder(pipeline, pretraining.encoder, folder, products, head)

    stand_in = folder / "encoder"
    source = pipeline.artifacts.encoder_source(encoder)
    if source == TINY:
        make_tiny(stand_in, products, 0, "benchmark")
    elif Path(source).is_dir():
        fetch(stand_in, source, "benchmark", head)
    else:
        raise InputError(
            f"The encoder {encoder!r} is not here, so nothing can be measured: `comp train` downloads it first, or put "
            "the path of its folder into [overrides] of competition.toml as `encoder`."
        )
    return stand_in


def _rows_per_step(recipe: EncoderRecipe, sample: "Sample") -> float:
    """Return the mean number of rows of an optimizer batch: the recipe's, unless it holds longer lists."""
    from competition.training.batches import steps_per_epoch

    rows = len(sample.rows)
    steps = steps_per_epoch(rows, recipe.batch_size, sample.lists)
    return max(float(recipe.batch_size), rows / steps)


def encoder_config_folder(pipeline: Pipeline, recipe: EncoderRecipe) -> Path:
    """Return a folder with the configuration of a recipe's encoder.

    Raises:
        InputError: the encoder would have to be made or downloaded first.
    """
    made = pipeline.artifacts.encoder_folder(recipe.encoder, recipe.head)
    source = pipeline.artifacts.encoder_source(recipe.encoder)
    for folder in (made, Path(source)):
        if (folder / "config.json").is_file():
            return folder
    raise InputError(
        f"The encoder {recipe.encoder!r} is not here, so its memory cannot be counted: `comp train` makes or downloads "
        "it first, or put the path of its folder into [overrides] of competition.toml as `encoder`."
    )


def _tokens_per_step(recipe: EncoderRecipe, sample: "Sample") -> float:
    """Return the mean number of tokens of an optimizer batch, with padding, over all views."""
    from competition.training.batches import PAD_TO, epoch_batches, micro_batches

    rows, pairs = sample.rows, sample.pairs
    lengths = pairs.lengths()  # (rows,) tokens
    budget = recipe.token_budget // len(pairs.views)
    total = batches = 0
    for batch in epoch_batches(len(rows), recipe.batch_size, 0, 0, sample.lists):
        batches += 1
        for micro_batch in micro_batches(rows[batch], lengths, budget):
            longest = int(lengths[micro_batch].max())
            total += len(micro_batch) * math.ceil(longest / PAD_TO) * PAD_TO
    return len(pairs.views) * total / batches


def _size(part: object) -> int:
    """Return the bytes of the arrays in a value; arrays mapped from a file are not in memory."""
    if isinstance(part, np.ndarray):
        return 0 if isinstance(part, np.memmap) else part.nbytes
    if isinstance(part, dict):
        return sum(map(_size, part.values()))
    if isinstance(part, tuple):
        return sum(map(_size, part))
    if is_dataclass(part):
        return sum(_size(getattr(part, field.name)) for field in fields(part))
    return 0


def _synchronize() -> None:
    """Wait until a GPU has finished its queue, so that the time is that of the work."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()
