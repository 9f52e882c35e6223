"""What the steps of a workspace will take: seconds by the benchmark of each recipe, bytes by arithmetic."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pyarrow.parquet as pq

from competition.analysis.memory import activation_memory, memory_of_adapters, trained_memory
from competition.config.base_recipe import SCHEMES
from competition.config.encoder_recipe import EncoderRecipe
from competition.core.console import warn
from competition.core.errors import InputError
from competition.pipeline.execute import Step
from competition.pipeline.keys import PAIRED
from competition.pipeline.steps import Pipeline

_PROCESS = 510 << 20  # bytes of a process that has imported all libraries and read no row, measured


def forecast_memory(pipeline: Pipeline, steps: Iterable[Step], gpus: int) -> dict[str, int]:
    """Return the bytes of main memory of each step, by its name.

    Each takes the libraries and the texts; where there are no `gpus`, the training of an encoder
    also takes its weights with gradients and moments, and what a micro-batch keeps. Nothing is
    counted for the weights of an encoder that is not here yet.
    """
    files = (pipeline.workspace.examples, pipeline.workspace.products)
    read = _PROCESS + sum(_decoded_size(file) for file in files)

    memory = {}
    trained: dict[str, int] = {"": 0}
    for step in steps:
        if gpus or step.trains is None:
            memory[step.name] = read
            continue
        if step.trains not in trained:
            trained[step.trains] = _training_memory(pipeline, step.trains)
        memory[step.name] = read + trained[step.trains]
    return memory


def _decoded_size(file: Path) -> int:
    """Return the bytes of a parquet file's pages before they were packed."""
    metadata = pq.read_metadata(file)
    return sum(metadata.row_group(k).total_byte_size for k in range(metadata.num_row_groups))


def _training_memory(pipeline: Pipeline, name: str) -> int:
    """Return the bytes that the training of a recipe takes beside the rows; 0 where nothing is known of it."""
    from competition.analysis.cost import encoder_config_folder

    recipe = pipeline.recipes.member(name)
    if not isinstance(recipe, EncoderRecipe):
        return 0
    with suppress(InputError, OSError):
        folder = encoder_config_folder(pipeline, recipe)
        if recipe.lora is not None:
            return memory_of_adapters(recipe, folder).total
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        weights = sum(map(_weights, folder.glob("*.safetensors")))
        return trained_memory(recipe, weights) + activation_memory(
            recipe, SimpleNamespace(**config)
        )
    return 0


def _weights(file: Path) -> int:
    """Return the number of weights in a safetensors file."""
    from safetensors import safe_open

    with safe_open(file, framework="numpy") as tensors:
        return sum(math.prod(tensors.get_slice(name).get_shape()) for name in tensors.keys())  # noqa: SIM118


def seconds_so_far() -> float:
    """Return how long this process has run: to start a command, and to read the settings, takes so long."""
    import psutil

    return float(time.time() - psutil.Process().create_time())


def forecast_seconds(pipeline: Pipeline, steps: Iterable[Step], threads: int) -> dict[str, float]:
    """Return the seconds of each training and prediction by an encoder, by its name, from a few real optimizer steps.

    What is read first by a recipe, such as its tokens, counts for its first fold. A nested model, which
    leaves out two folds of five, takes its share of the rows of a fold.

    Args:
        pipeline: of the workspace.
        steps: that are to be built; others are not measured.
        threads: with which they are to be built.
    """
    import torch

    from competition.analysis.cost import estimate_cost

    torch.set_num_threads(threads)
    of_recipes: dict[str, list[str]] = {}
    for step in steps:
        trained = step.trains if step.along is None else step.along.trains
        if step.shared and trained is not None:
            of_recipes.setdefault(trained, []).append(step.name)

    seconds: dict[str, float] = {}
    for name, names in of_recipes.items():
        recipe = pipeline.recipes.member(name)
        assert isinstance(recipe, EncoderRecipe)
        try:
            estimate = estimate_cost(pipeline, recipe, recipe.folds)
        except InputError as error:
            warn(f"{name} is not measured: {error}")
            continue

        tests = int((pipeline.tables.examples["split"] == "test").sum())
        predict = len(recipe.all_seeds) * tests * estimate.benchmark.predict_seconds
        by_name = {f"train {name} fold {cost.fold}": cost.seconds for cost in estimate.folds}
        by_name |= {f"predict {name} fold {cost.fold}": predict for cost in estimate.folds}
        # Of a nested model; test rows are not predicted.
        of_fold = sum(cost.seconds for cost in estimate.folds) / len(estimate.folds) - predict
        share = (1 - 2 / SCHEMES[PAIRED]) / (1 - 1 / len(estimate.folds))
        seconds |= {each: by_name.get(each, share * of_fold) for each in names}
        seconds[names[0]] += estimate.tokenizing
    return seconds
