"""The one training loop: Accelerate owns devices, precision and gradient sync; order and schedule are the recipe's."""

import json
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from competition.data.tokens import Pairs
from competition.model.losses import LOSSES, Loss
from competition.progress import Progress
from competition.settings import EncoderRecipe
from competition.training.batches import Rows, collate, epoch_batches, micro_batches, shard

LOG_EVERY = 50  # optimiser steps


def make_accelerator() -> Accelerator:
    """An Accelerator with bf16 where the device has it; the CPU computes in fp32."""
    bf16 = torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    return Accelerator(mixed_precision="bf16" if bf16 else "no")


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


@dataclass(frozen=True)
class Sample:
    """What is trained on: rows of `pairs` with a target and a weight each."""

    pairs: Pairs
    rows: np.ndarray  # (n,) into `pairs`
    target: np.ndarray  # (n,) class index or gain
    weight: np.ndarray  # (n,) at least 0


class Log:
    """Appends lines to a run's `log.jsonl`. Clocks live here and nowhere else."""

    def __init__(self, path: Path, **always: Any) -> None:
        self._path, self._always = path, always
        path.parent.mkdir(parents=True, exist_ok=True)

    def write(self, **values: Any) -> None:
        """One line: the time, what every line says, and `values`."""
        line = {"time": datetime.now(UTC).isoformat(timespec="seconds"), **self._always, **values}
        with self._path.open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(line) + "\n")


@dataclass(frozen=True)
class _Step:
    """The gradient of one optimiser batch, in as many pieces as memory wants."""

    accelerator: Accelerator
    model: nn.Module
    loss_of: Loss
    sample: Sample
    lengths: np.ndarray
    pad_id: int
    token_budget: int

    def backward(self, chosen: Rows) -> Tensor:
        """Add the gradient of sum(w * loss) / sum(w) over `chosen`; returns that loss, on the device."""
        rank, ranks = self.accelerator.process_index, self.accelerator.num_processes
        whole = float(self.sample.weight[chosen].sum())
        mine = shard(chosen, rank, ranks)
        # Every process takes part in every gradient sync; one without rows sends a row that weighs nothing.
        factor = ranks / whole if len(mine) else 0.0
        groups = micro_batches(mine if len(mine) else chosen[:1], self.lengths, self.token_budget)
        total = torch.zeros((), device=self.accelerator.device)
        for group in groups:
            # Gradients are exchanged once per optimiser batch, with its last piece.
            sync = nullcontext() if group is groups[-1] else self.accelerator.no_sync(self.model)
            with sync, self.accelerator.autocast():
                # DDP averages gradients over processes, hence the factor `ranks`: the batch's loss is a sum of pieces.
                loss = self._weighted_sum(group) * factor
                self.accelerator.backward(loss)
            total += loss.detach() / ranks
        return self.accelerator.reduce(total)

    def _weighted_sum(self, group: Rows) -> Tensor:
        device = self.accelerator.device
        batch = collate(self.sample.pairs, self.sample.rows[group], self.pad_id)
        target = torch.from_numpy(self.sample.target[group]).to(device, torch.float32)
        weight = torch.from_numpy(self.sample.weight[group]).to(device, torch.float32)
        logits = self.model(batch.ids.to(device), batch.mask.to(device), batch.types.to(device))
        return (weight * self.loss_of(logits.float(), target)).sum()


def fit(
    accelerator: Accelerator,
    model: nn.Module,
    kind: str,
    sample: Sample,
    recipe: EncoderRecipe,
    pad_id: int,
    seed: int,
    work: Progress,
    log: Log,
    after_epoch: Callable[[int], None],
) -> None:
    """Train `model` in place.

    Each optimiser batch holds `recipe.batch_size` rows in an order that is a function of (seed, epoch). The token
    budget and the number of processes only split it, see `_Step`.

    Args:
        accelerator: made by `make_accelerator`.
        model: from `(ids, mask, types)` to logits.
        kind: whose loss is used, a key of LOSSES.
        sample: the training rows.
        recipe: epochs, batch size, learning rate and so on.
        pad_id: the token id of padding.
        seed: of the order of rows and of dropout.
        work: counts the rows seen.
        log: gets a line every LOG_EVERY steps.
        after_epoch: called with the epoch's number, from 0.
    """
    optimizer = make_optimizer(model, recipe.learning_rate, recipe.weight_decay)
    wrapped, optimizer = accelerator.prepare(model, optimizer)
    steps = recipe.epochs * -(-len(sample.rows) // recipe.batch_size)
    # Not prepared: Accelerate would step it once per process.
    scheduler = LambdaLR(optimizer.optimizer, lambda step: schedule(step, steps, recipe.warmup))
    lengths = sample.pairs.lengths()[sample.rows]
    step_of = _Step(accelerator, wrapped, LOSSES[kind], sample, lengths, pad_id, recipe.token_budget)
    torch.manual_seed(seed + accelerator.process_index)
    step, began, seen = 0, time.monotonic(), 0
    for epoch in range(recipe.epochs):
        wrapped.train()
        for chosen in epoch_batches(len(sample.rows), recipe.batch_size, seed, epoch):
            loss = step_of.backward(chosen)
            accelerator.clip_grad_norm_(wrapped.parameters(), recipe.clip_norm)
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
            step, seen = step + 1, seen + len(chosen)
            work.advance(len(chosen))
            if step % LOG_EVERY == 0 or step == steps:
                rate = seen / (time.monotonic() - began)
                log.write(epoch=epoch, step=step, loss=float(loss), rows_per_second=round(rate, 1))
        after_epoch(epoch)
