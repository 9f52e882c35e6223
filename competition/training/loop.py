"""The one training loop: Accelerate owns devices, precision and gradient sync; order and schedule are the recipe's."""

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from torch import Tensor, nn

from competition.config.base_recipe import TrainingKeys
from competition.core import distributed
from competition.core.console import Progress, console
from competition.core.signals import (
    Interrupted,
    critical_section,
    defer_signals,
    pending,
    raise_pending,
)
from competition.training.batches import Rows
from competition.training.checkpoints import Checkpoints
from competition.training.device import PreciseAccelerator, peak_memory
from competition.training.optimizer import Gradients, Model, TrainingState

LOG_EVERY = 50  # optimiser steps


class StopTraining(Exception):
    """Raised by an evaluation to end the training behind this epoch."""


def make_accelerator(precision: str = "auto", deterministic: bool = False) -> Accelerator:
    """Return an Accelerator that computes in the `precision` of a recipe; a CPU always repeats its bytes."""
    if deterministic:
        # Read when a GPU first multiplies.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(deterministic)

    # No buffer of a model changes in training; an exchange of them in every forward would wait for
    # processes that have fewer micro-batches.
    kwargs = DistributedDataParallelKwargs(broadcast_buffers=False)
    return PreciseAccelerator(precision, kwargs_handlers=[kwargs])


class Log:
    """Appends lines to a run's `log.jsonl`. Clocks live here and nowhere else."""

    def __init__(self, path: Path, **always: Any) -> None:
        self._path = path
        self._always = always
        path.parent.mkdir(parents=True, exist_ok=True)

    def write(self, **values: Any) -> None:
        """Write one line, by the first of several processes alone.

        It holds the time, the most memory held until then in bytes, what every line says, and `values`.
        """
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
    rows: int,
    make_gradients: Callable[[nn.Module], Gradients],
    seed: int,
    bar: Progress,
    log: Log,
    after_epoch: Callable[[int, Model], None],
    checkpoints: Checkpoints | None = None,
    lists: Rows | None = None,
) -> None:
    """Train `model` in place, from a checkpoint where there is one.

    Each optimiser batch holds `recipe.batch_size` rows, or whole lists of about as many, in an order
    that is a function of (seed, epoch). The token budget and the number of processes only split it.

    Args:
        accelerator: made by `make_accelerator`.
        model: starts from its weights.
        recipe: epochs, batch size, learning rate and so on.
        rows: how many an epoch has.
        make_gradients: from the model as Accelerate has wrapped it to what computes its gradients.
        seed: of the order of rows.
        bar: counts the rows seen.
        log: gets a line every LOG_EVERY steps.
        after_epoch: called with the epoch's number, from 0, and the model to evaluate and keep: the
            one with averaged weights where the recipe asks for them. It may be interrupted, and is
            then called again; it may raise StopTraining.
        checkpoints: where the state goes from time to time, and when training is interrupted or
            done.
        lists: the number of each row's list, `(rows,)`, where a batch holds whole ones.

    Raises:
        CompError: memory runs out however a batch is split, or the disk has no room for the
            checkpoints.
        Diverged: a loss is not finite.
        Interrupted: SIGTERM or Ctrl-C; what is done is in a checkpoint.
    """
    training = TrainingState(
        accelerator, model, recipe, rows, make_gradients, seed, bar.name, lists
    )
    budget = training.gradients.budget

    with _resumable(training, model, checkpoints, bar):
        # Speed is that of this launch, whatever a checkpoint brought.
        began = time.monotonic()
        rows_before = training.rows_seen
        while training.epochs < recipe.epochs:
            with _whole_steps():
                for batch in training.remaining_batches():
                    # Where memory runs out, once more with half the budget.
                    for attempt in budget.attempts(
                        recipe.max_length, undo=training.forget_gradient
                    ):
                        with attempt:
                            loss = training.gradients.compute(batch, training.step)
                    training.losses.record(training.step + 1, loss, training.learning_rate)
                    training.take_step()

                    # Another process may have heard a signal: all end behind the same step.
                    training.ending = distributed.any_process(pending())
                    bar.advance(len(batch))
                    if training.step % LOG_EVERY == 0 or training.step == training.steps:
                        trained = training.rows_seen - rows_before
                        _log_step(log, training, loss, trained / (time.monotonic() - began))
                    if training.ending:
                        raise_pending()
                    if checkpoints is not None and checkpoints.due(training.step):
                        checkpoints.save(training.step)
                training.losses.check()

            with _interruptible_evaluation():
                try:
                    after_epoch(training.epochs, training.evaluation_model())
                    training.epochs += 1
                except StopTraining:
                    training.epochs = recipe.epochs
                done = training.epochs == recipe.epochs
                if checkpoints is not None and (done or checkpoints.due(training.step)):
                    checkpoints.save(training.step)
    training.end()


def _log_step(log: Log, training: TrainingState[Any], loss: Tensor, speed: float) -> None:
    # A loss that is not finite is no line of the log.
    training.losses.check()
    log.write(
        epoch=training.epochs,
        step=training.step,
        rows=training.rows_seen,
        loss=float(loss),
        learning_rate=training.learning_rate,
        rows_per_second=round(speed, 1),
    )


# --- signals ---


def _whole_steps() -> AbstractContextManager[None]:
    """Hold signals back, since an interrupted step is half a step.

    A process that left between two steps would leave the others in the next one: `fit` ends all of
    them behind the same step.
    """
    return critical_section() if distributed.is_main_process() else defer_signals()


def _interruptible_evaluation() -> AbstractContextManager[None]:
    """Let the first process be interrupted, since it can save alone; the others have nothing to save and stay."""
    return nullcontext() if distributed.is_main_process() else defer_signals()


@contextmanager
def _resumable(
    training: TrainingState[Any], model: nn.Module, checkpoints: Checkpoints | None, bar: Progress
) -> Iterator[None]:
    """Go on from a checkpoint where there is one, and leave one where a signal ends the training."""
    if checkpoints is None:
        yield
        return

    recipe = training.recipe
    checkpoints.check_room(model, bool(recipe.ema))
    checkpoints.add("loop", training)
    if checkpoints.restore():
        console.print(f"{bar.name}: resumes from step {training.step:,} of {training.steps:,}")
        finished = training.epochs == recipe.epochs
        bar.reach(bar.total if finished and bar.total is not None else training.rows_seen)

    try:
        with _ending_together(training) if training.is_sharded else nullcontext():
            yield
    except Interrupted as interruption:
        # A launcher repeats the Ctrl-C that all of a terminal's processes hear.
        with defer_signals():
            checkpoints.save(training.step)
            if training.ending:
                # A launcher ends the first process soon after another has left.
                distributed.barrier()
        where = f"step {training.step:,} of {training.steps:,} of {bar.name}"
        raise Interrupted(
            interruption.number, f"{where} is saved, and the same command resumes from there"
        ) from None


@contextmanager
def _ending_together(training: TrainingState[Any]) -> Iterator[None]:
    """Hold signals back until all processes have agreed to end: alone, none can save a state that is sharded."""
    with defer_signals():
        yield
        # Since the last step, behind which they would have.
        if distributed.any_process(pending()):
            training.ending = True
            raise_pending()
