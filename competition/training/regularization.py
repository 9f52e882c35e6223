"""Averaged weights and mixed rows, which make fine-tuning steadier without an attack (for those, see adversary.py)."""

import copy
from collections.abc import Container, Sequence
from itertools import compress

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.optim.swa_utils import AveragedModel

from competition.core.fingerprint import derive_seed
from competition.models.encoder.inputs import Mixup


def ema_decay(step: int, decay: float) -> float:
    """Return the decay after optimiser step `step` (from 1): min(decay, (1 + step) / (10 + step)).

    The warm start lets the initial weights fade at once: after 10 steps the decay is 0.55, after
    100 it is 0.918, and only from step 8,990 on it is 0.999. A run of 100 steps with a constant
    0.999 would be nine tenths initial weights.
    """
    return min(decay, (1 + step) / (10 + step))


def make_average(
    model: nn.Module, decay: float, device: torch.device, apart: Container[int] = ()
) -> AveragedModel:
    """Return a copy of `model` that follows it: after each optimiser step, a = d a + (1 - d) w for all parameters.

    Weights that are not trained are not copied: model and average share them. Those whose addresses
    are in `apart` are copied once, and someone else updates their average. Call
    `update_parameters(model)` after each step. Make it before Accelerate wraps the model's forward,
    which a copy would share.
    """

    # One fused call for all parameters.
    def update(averages: Sequence[Tensor], weights: Sequence[Tensor], step: Tensor | int) -> None:
        own = [
            _address(w) not in apart and _address(each) != _address(w)
            for each, w in zip(averages, weights, strict=True)
        ]
        lerped, towards = list(compress(averages, own)), list(compress(weights, own))
        # A process may hold no row of any.
        if lerped:
            torch._foreach_lerp_(lerped, towards, 1 - ema_decay(int(step), decay))

    shared = {id(weight): weight for weight in model.parameters() if not weight.requires_grad}
    average = AveragedModel(nn.Identity(), device=device, multi_avg_fn=update)
    average.module = copy.deepcopy(model, shared).to(device)
    # The first call only copies; from here on it counts the steps.
    average.update_parameters(model)
    average.requires_grad_(False)
    return average.eval()


def _address(tensor: Tensor) -> int:
    # A sharded tensor itself has none, this process's part of it has.
    return (tensor.to_local() if isinstance(tensor, DTensor) else tensor).data_ptr()


def draw_mix(batch: int, beta: float, seed: int, device: torch.device) -> Mixup:
    """Draw partners and one share ~ Beta(beta, beta) for the rows of a batch (Zhang et al. 2018), by `seed` alone.

    Partners are a permutation, so that the mixed weights sum to what the rows' weights sum to.
    """
    # Drawn on the CPU, so that every device mixes alike.
    rng = np.random.default_rng(derive_seed(seed, "mixup"))
    return Mixup(torch.from_numpy(rng.permutation(batch)).to(device), float(rng.beta(beta, beta)))
