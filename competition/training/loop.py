"""The one training loop: Accelerate owns devices, precision and gradient sync; order and schedule are the recipe's."""

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from torch import nn

from competition.config.recipe import TrainingKeys
from competition.core import distributed
from competition.core.console import Progress, console
from competition.core.signals import (
    Interrupted,
    critical_section,
    defer_signals,
    pending,
    raise_pending,
)
from competition.training.checkpoints import Checkpoints
from competition.training.device import PreciseAccelerator, peak_memory
from competition.training.optimizer import Gradients, Model, TrainingState

LOG_EVERY = 50  # optimiser steps


class StopTraining(Exception):
    """What an evaluation raises to end a training behind this epoch."""


def make_accelerator(precision: str = "auto", deterministic: bool = False) -> Accelerator:
    """An Accelerator that computes in the `precision` of a recipe; a CPU always repeats its bytes."""
    if deterministic:
        os.environ.setdefault(
            "CUBLAS_WORKSPACE_CONFIG", ":4096:8"
        )  # read when a GPU first multiplies
    torch.use_deterministic_algorithms(deterministic)
    # No buffer of a model changes in training; an exchange of them in every forward would wait for
    # processes that have fewer pieces of a batch.
    kwargs = DistributedDataParallelKwargs(broadcast_buffers=False)
    return PreciseAccelerator(precision, kwargs_handlers=[kwargs])


class Log:
    """Appends lines to a run's `log.jsonl`. Clocks live here and nowhere else."""

    def __init__(self, path: Path, **always: Any) -> None:
        self._path, self._always = path, always
        path.parent.mkdir(parents=True, exist_ok=True)

    def write(self, **values: Any) -> None:
        """One line by the first of several processes: the time, the most memory held until then in bytes, what every
        line says, and `values`."""
        if not distributed.is_main_process():
            return
        now = datetime.now(UTC).isoformat(timespec="seconds")
        line = {"time": now, "memory": peak_memory(), **self._always, **values}
        with self._path.open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(line) + "\n")


def fit(
    accelerator: Accelerator,
    model: Model,
    recipe: TrainingKeys,
    count: int,
    make_gradients: Callable[[nn.Module], Gradients],
    seed: int,
    work: Progress,
    log: Log,
    after_epoch: Callable[[int, Model], None],
    checkpoints: Checkpoints | None = None,
) -> None:
    """Train `model` in place, from a checkpoint where there is one.

    Each optimiser batch holds `recipe.batch_size` rows in an order that is a function of (seed,
    epoch). The token budget and the number of processes only split it.

    Args:
        accelerator: made by `make_accelerator`.
        model: starts from its weights.
        recipe: epochs, batch size, learning rate and so on.
        count: how many rows an epoch has.
        make_gradients: from the model as Accelerate has wrapped it to what counts its gradients.
        seed: of the order of rows.
        work: counts the rows seen.
        log: gets a line every LOG_EVERY steps.
        after_epoch: called with the epoch's number, from 0, and the model to evaluate and keep: the
            one with averaged weights where the recipe asks for them. It may be interrupted, and is
            then called again; it may raise Enough.
        checkpoints: where the state goes from time to time, and when training is interrupted or
            done.

    Raises:
        CompError: memory runs out however a batch is split, or the disk has no room for the
            checkpoints.
        Diverged: a loss is not finite.
        Interrupted: SIGTERM or Ctrl-C; what is done is in a checkpoint.
    """
    loop = TrainingState(accelerator, model, recipe, count, make_gradients, seed, work.name)
    if checkpoints is None:
        return _train(loop, work, log, after_epoch, lambda done: None)
    checkpoints.check_room(model, bool(recipe.ema))
    checkpoints.add("loop", loop)
    if checkpoints.restore():
        console.print(f"{work.name}: goes on from step {loop.step:,} of {loop.steps:,}")
        work.reach(loop.rows if work.total is None or loop.epochs < recipe.epochs else work.total)

    def keep(done: bool) -> None:
        if done or checkpoints.due(loop.step):
            checkpoints.save(loop.step)

    try:
        with _ending_together(loop) if loop.is_sharded else nullcontext():
            _train(loop, work, log, after_epoch, keep)
    except Interrupted as asked:
        with (
            defer_signals()
        ):  # a launcher repeats the Ctrl-C that all of a terminal's processes hear
            checkpoints.save(loop.step)
            if loop.ending:
                distributed.barrier()  # a launcher ends the first process soon after another has left
        where = f"step {loop.step:,} of {loop.steps:,} of {work.name}"
        raise Interrupted(
            asked.number, f"{where} is kept, and the same command goes on from there"
        ) from None


@contextmanager
def _ending_together(loop: TrainingState[Model]) -> Iterator[None]:
    """Who would leave alone can save nothing of a state that is split: the end waits until all have agreed on it."""
    with defer_signals():
        yield
        if distributed.any_process(pending()):  # since the last step, behind which they would have
            loop.ending = True
            raise_pending()


def _train(
    loop: TrainingState[Model],
    work: Progress,
    log: Log,
    after_epoch: Callable[[int, Model], None],
    keep: Callable[[bool], None],
) -> None:
    """What is left of the epochs; `keep` is called after each step and each epoch, with whether that is all."""
    began, seen = time.monotonic(), 0
    while loop.epochs < loop.recipe.epochs:
        # Who left between two steps would leave the others in the next one: all end behind the same
        # step.
        with critical_section() if distributed.is_main_process() else defer_signals():
            for chosen, loss in loop.epoch():
                seen += len(chosen)
                work.advance(len(chosen))
                if loop.step % LOG_EVERY == 0 or loop.step == loop.steps:
                    loop.losses.settle()  # before a line of the log says it
                    rate = seen / (time.monotonic() - began)
                    log.write(
                        epoch=loop.epochs,
                        step=loop.step,
                        loss=float(loss),
                        learning_rate=loop.learning_rate,
                        rows_per_second=round(rate, 1),
                    )
                if loop.ending:
                    raise_pending()
                keep(False)
        # In an evaluation, the first process can save alone, if the others stay; those have nothing
        # to save.
        with nullcontext() if distributed.is_main_process() else defer_signals():
            try:
                after_epoch(loop.epochs, loop.evaluated())
                loop.epochs += 1
            except StopTraining:
                loop.epochs = loop.recipe.epochs
            keep(loop.epochs == loop.recipe.epochs)
