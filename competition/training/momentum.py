"""Momentum contrast: a slow copy of the encoder and the keys that it made last.

He et al. 2020 (MoCo), for texts Wu et al. 2022 (ESimCSE).
"""

import copy

import torch
from torch import Tensor, nn


class Momentum:
    """A copy of a module that moves by m = momentum * m + (1 - momentum) * w alone, and never drops out."""

    def __init__(self, module: nn.Module, momentum: float) -> None:
        self.copy = copy.deepcopy(module).requires_grad_(False).eval()
        self._momentum = momentum

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Move towards `module` by one step of the rule."""
        for slow, fast in zip(self.copy.parameters(), module.parameters(), strict=True):
            slow.lerp_(fast, 1 - self._momentum)


class Queue:
    """The newest keys, the oldest first."""

    def __init__(self, size: int, hidden: int, device: torch.device) -> None:
        self.size = size
        self.keys = torch.zeros(0, hidden, device=device)  # (keys, H), each of length 1
        self.same = torch.zeros(0, dtype=torch.long, device=device)  # (keys,) which text each is of

    def push(self, keys: Tensor, same: Tensor) -> None:
        """Append keys; the oldest leave when there are more than `size`."""
        # The oldest keys leave first.
        first = max(0, len(self.keys) + len(keys) - self.size)
        self.keys = torch.cat([self.keys, keys.detach()])[first:]
        self.same = torch.cat([self.same, same])[first:]
