"""The one training loop: Accelerate owns devices, precision and gradient sync; order and schedule are the recipe's."""

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from competition.progress import Progress
from competition.recipe import Optimised
from competition.training.batches import Rows, epoch_batches
from competition.training.footprint import peak_memory
from competition.training.regularization import averaged

LOG_EVERY = 50  # optimiser steps


def make_accelerator() -> Accelerator:
    """An Accelerator with bf16 where the device has it; the CPU computes in fp32."""
    bf16 = torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    # No buffer of a model changes in training; an exchange of them in every forward would wait for processes that have
    # fewer pieces of a batch.
    kwargs = DistributedDataParallelKwargs(broadcast_buffers=False)
    return Accelerator(mixed_precision="bf16" if bf16 else "no", kwargs_handlers=[kwargs])


def make_optimizer(model: nn.Module, learning_rate: float, weight_decay: float) -> AdamW:
    """AdamW; biases and norms (parameters of one dimension) do not decay."""
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return AdamW(groups, lr=learning_rate)


def schedule(step: int, steps: int, warmup: float) -> float:
    """The learning rate's factor at `step` (from 0): a linear rise over the share `warmup`, then a linear fall to 0."""
    rise = round(steps * warmup)
    if step < rise:
        return (step + 1) / rise
    return max(0.0, (steps - step) / max(1, steps - rise))


class Log:
    """Appends lines to a run's `log.jsonl`. Clocks, and what a machine held, live here and nowhere else."""

    def __init__(self, path: Path, **always: Any) -> None:
        self._path, self._always = path, always
        path.parent.mkdir(parents=True, exist_ok=True)

    def write(self, **values: Any) -> None:
        """One line: the time, the most memory held until then in bytes, what every line says, and `values`."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        line = {"time": now, "memory": peak_memory(), **self._always, **values}
        with self._path.open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(line) + "\n")


Model = TypeVar("Model", bound=nn.Module)


class Gradients(Protocol):
    """What counts the gradient of an optimiser batch; how, is the matter of what is trained."""

    def backward(self, chosen: Rows, step: int) -> Tensor:
        """Add the gradient of the rows `chosen` at optimiser step `step`; returns the batch's loss, on the device."""


def fit(
    accelerator: Accelerator,
    model: Model,
    recipe: Optimised,
    count: int,
    make_gradients: Callable[[nn.Module], Gradients],
    seed: int,
    work: Progress,
    log: Log,
    after_epoch: Callable[[int, Model], None],
) -> None:
    """Train `model` in place.

    Each optimiser batch holds `recipe.batch_size` rows in an order that is a function of (seed, epoch). The token
    budget and the number of processes only split it.

    Args:
        accelerator: made by `make_accelerator`.
        model: starts from its weights.
        recipe: epochs, batch size, learning rate and so on.
        count: how many rows an epoch has.
        make_gradients: from the model as Accelerate has wrapped it to what counts its gradients.
        seed: of the order of rows.
        work: counts the rows seen.
        log: gets a line every LOG_EVERY steps.
        after_epoch: called with the epoch's number, from 0, and the model to evaluate and keep: the one with averaged
            weights where the recipe asks for them.
    """
    model.to(accelerator.device)
    average = averaged(model, recipe.ema, accelerator.device) if recipe.ema else None
    optimizer = make_optimizer(model, recipe.learning_rate, recipe.weight_decay)
    wrapped, optimizer = accelerator.prepare(model, optimizer)
    steps = recipe.epochs * -(-count // recipe.batch_size)
    # Not prepared: Accelerate would step it once per process.
    scheduler = LambdaLR(optimizer.optimizer, lambda step: schedule(step, steps, recipe.warmup))
    gradients = make_gradients(wrapped)
    step, began, seen = 0, time.monotonic(), 0
    for epoch in range(recipe.epochs):
        wrapped.train()
        for chosen in epoch_batches(count, recipe.batch_size, seed, epoch):
            loss = gradients.backward(chosen, step)
            accelerator.clip_grad_norm_(wrapped.parameters(), recipe.clip_norm)
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
            if average is not None:
                average.update_parameters(model)
            step, seen = step + 1, seen + len(chosen)
            work.advance(len(chosen))
            if step % LOG_EVERY == 0 or step == steps:
                rate = seen / (time.monotonic() - began)
                log.write(
                    epoch=epoch,
                    step=step,
                    loss=float(loss),
                    learning_rate=scheduler.get_last_lr()[0],
                    rows_per_second=round(rate, 1),
                )
        after_epoch(epoch, model if average is None else cast(Model, average.module))
