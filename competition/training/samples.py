"""The rows that are trained on, and how an optimiser batch of them becomes micro-batches on a device."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from competition.config.encoder_recipe import EncoderRecipe
from competition.core.fingerprint import derive_seed
from competition.data.pairs import Pairs
from competition.models.encoder.inputs import Inputs, Mixup
from competition.models.encoder.losses import one_hot, smooth
from competition.training.batches import Rows, collate, micro_batches, shard
from competition.training.regularization import draw_mix


@dataclass(frozen=True)
class Sample:
    """The rows that are trained on: rows of `pairs` with a target and a weight each.

    Where losses are of whole lists, `lists` is the number of each row's list, from 0, `(n,)`.
    """

    pairs: Pairs
    rows: Rows  # (n,) into `pairs`
    target: np.ndarray  # (n,) class index or number, or (n, outputs) a distribution or a number
    weight: np.ndarray  # (n,) at least 0
    lists: Rows | None = None

    def mean_target(self, outputs: int) -> Tensor:
        """Return the weighted mean of the targets as distributions, or of the numbers: `(outputs,)` in float64."""
        target = one_hot(torch.tensor(self.target), outputs).double()
        weight = torch.from_numpy(self.weight).double()[:, None]
        return (weight * target).sum(0) / weight.sum().clamp_min(torch.finfo(torch.float64).tiny)


@dataclass(frozen=True)
class MicroBatch:
    """A micro-batch on the device; targets and weights are mixed already where `mix` is there."""

    number: int  # among those of this process
    rows: Rows  # of the sample; none where it only keeps other processes company
    inputs: Inputs
    target: Tensor  # (batch, outputs)
    weight: Tensor  # (batch,)
    mix: Mixup | None
    seed: int  # of dropout, the same whenever a pass is repeated


class Splitter:
    """Splits optimiser batches into this process's micro-batches."""

    def __init__(
        self,
        accelerator: Accelerator,
        recipe: EncoderRecipe,
        sample: Sample,
        outputs: int,
        dtype: torch.dtype,
        seed: int,
    ) -> None:
        """`outputs` are those of a target, `dtype` is that of targets and weights, `seed` of dropout and mixup."""
        self._accelerator = accelerator
        self._recipe = recipe
        self._sample = sample
        self._outputs = outputs
        self._dtype = dtype
        self._seed = seed
        self._lengths = sample.pairs.lengths()[sample.rows]  # (rows,) tokens

    def split(self, batch: Rows, step: int, token_budget: int) -> list[MicroBatch]:
        """Return this process's micro-batches, on all processes as many.

        A pass may be an exchange: a process that has fewer passes a row that weighs nothing.
        """
        rank = self._accelerator.process_index
        world_size = self._accelerator.num_processes
        sample = self._sample
        tokens = token_budget // len(sample.pairs.views)
        groups = [
            micro_batches(shard(batch, process, world_size, sample.lists), self._lengths, tokens)
            for process in range(world_size)
        ]

        # Micro-batches of all processes add up to sum(w * loss) / sum(w) of the optimiser batch.
        total_weight = float(sample.weight[batch].sum())
        share = 1 / total_weight if total_weight else 0.0
        own = [self.micro_batch(rows, share, step, i) for i, rows in enumerate(groups[rank])]
        for number in range(len(own), max(map(len, groups))):
            weightless = self.micro_batch(batch[:1], 0.0, step, number)
            own.append(replace(weightless, rows=batch[:0]))
        return own

    def micro_batch(self, rows: Rows, share: float, step: int, number: int) -> MicroBatch:
        """Return the rows of a micro-batch on the device.

        `share` scales the weights to the optimiser batch: one over its sum of weights, or 0 for rows
        that weigh nothing.
        """
        device = self._accelerator.device
        recipe = self._recipe
        sample = self._sample
        seed = derive_seed(self._seed, step, self._accelerator.process_index, number)

        target = torch.from_numpy(sample.target[rows]).to(device, self._dtype)
        target = one_hot(target, self._outputs)  # (batch, outputs)
        if recipe.label_smoothing:
            target = smooth(target, recipe.label_smoothing)
        weight = torch.from_numpy(sample.weight[rows] * share).to(device, self._dtype)  # (batch,)

        mix = None
        if recipe.mixup:
            mix = draw_mix(len(rows), recipe.mixup, seed, device=device)
            target = mix.apply(target)
            weight = mix.apply(weight)
        inputs = collate(sample.pairs, sample.rows[rows], device)
        return MicroBatch(number, rows, inputs, target, weight, mix, seed)
