"""Losses per sample: `(batch, outputs)` logits and `(batch,)` targets -> `(batch,)`."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

Loss = Callable[[Tensor, Tensor], Tensor]


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Cross entropy with class indices as targets."""
    return functional.cross_entropy(logits, target.long(), reduction="none")


def mse_on_gain(logits: Tensor, target: Tensor) -> Tensor:
    """Squared difference between sigmoid(logit) and the gain; one logit per row."""
    return (torch.sigmoid(logits[:, 0]) - target).square()


LOSSES: dict[str, Loss] = {"classes": cross_entropy, "substitute": cross_entropy, "gain": mse_on_gain}
