"""Losses per sample: `(batch, outputs)` logits and `(batch, outputs)` targets -> `(batch,)`.

A target is a distribution over the classes, so that hard, smoothed, mixed and soft labels go
through the same lines; one-output models have a gain in 0..1 as target. Weights are the caller's
business: sum(weight * loss) / sum(weight).
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

Loss = Callable[[Tensor, Tensor], Tensor]

EPSILON = 1.0  # of Poly1
GAMMA = 2.0  # of the focal loss
BINS = 10  # of GHM-C


def one_hot(target: Tensor, classes: int) -> Tensor:
    """Class indices `(batch,)` as distributions `(batch, classes)`; with one class, gains `(batch, 1)` as they are.

    Targets that are `(batch, classes)` already stay as they are.
    """
    if target.ndim == 2:
        return target
    return (
        target[:, None]
        if classes == 1
        else functional.one_hot(target.long(), classes).to(target.dtype)
    )


def smooth(target: Tensor, share: float) -> Tensor:
    """Label smoothing (Szegedy et al. 2016): `share` of each distribution is spread evenly over all classes."""
    return (1 - share) * target + share / target.shape[1]


def target_probability(logits: Tensor, target: Tensor) -> Tensor:
    """p_t, the probability that a model gives to the truth, `(batch,)`; its mean under a soft target."""
    return (torch.softmax(logits, 1) * target).sum(1)


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """-sum_c t_c log p_c: cross entropy for a hard target, soft-label cross entropy for a soft one."""
    return -(target * torch.log_softmax(logits, 1)).sum(1)


def poly1(logits: Tensor, target: Tensor) -> Tensor:
    """Cross entropy + EPSILON (1 - p_t) (Leng et al. 2022, PolyLoss)."""
    return cross_entropy(logits, target) + EPSILON * (1 - target_probability(logits, target))


def focal(logits: Tensor, target: Tensor) -> Tensor:
    """-sum_c t_c (1 - p_c)^GAMMA log p_c (Lin et al. 2017)."""
    log_p = torch.log_softmax(logits, 1)
    return -(target * (1 - log_p.exp()) ** GAMMA * log_p).sum(1)


def mse_on_gain(logits: Tensor, target: Tensor) -> Tensor:
    """Squared difference between sigmoid(logit) and the gain; one logit per row."""
    return (torch.sigmoid(logits) - target).square()[:, 0]


def gradient_norm_bins(truth: Tensor) -> Tensor:
    """The bin of each row's gradient norm g = 1 - p_t, ten equal ones over 0..1, `(batch,)`."""
    return ((1 - truth) * BINS).long().clamp(0, BINS - 1)


def ghm_weights(density: Tensor) -> Tensor:
    """GHM-C (Li et al. 2019): the factor of each bin's rows, sum(w) / (M n_b), `(BINS,)`.

    `density` holds n_b, the sum of weights in each bin over the whole optimiser batch, M counts the
    bins that are not empty. The factors leave the batch's sum of weights as it is.
    """
    filled = density > 0
    return torch.where(
        filled, density.sum() / (filled.sum() * density.clamp_min(1e-12)), torch.zeros_like(density)
    )


def symmetric_kl(logits: Tensor, other: Tensor) -> Tensor:
    """[KL(p || q) + KL(q || p)] / 2 of two passes over the same rows, `(batch,)` (Liang et al. 2021, R-Drop).

    Of categorical distributions, or of Bernoulli ones where there is one logit: a softmax over one
    logit is always 1.
    """
    if logits.shape[1] == 1:
        logits, other = (torch.cat([x, torch.zeros_like(x)], 1) for x in (logits, other))
    log_p, log_q = torch.log_softmax(logits, 1), torch.log_softmax(other, 1)
    # KL(p || q) + KL(q || p) = sum_c (p_c - q_c) (log p_c - log q_c)
    return ((log_p.exp() - log_q.exp()) * (log_p - log_q)).sum(1) / 2


@dataclass(frozen=True)
class LossSpec:
    """A loss by name, and whether rows are weighed by gradient density (`harmony`)."""

    loss: Loss
    density_weighted: bool = False


LOSSES: dict[str, LossSpec] = {
    "ce": LossSpec(cross_entropy),
    "poly1": LossSpec(poly1),
    "focal": LossSpec(focal),
    "ghm": LossSpec(cross_entropy, density_weighted=True),
    "mse": LossSpec(mse_on_gain),
}
