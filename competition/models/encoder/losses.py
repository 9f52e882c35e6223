"""Losses per sample: `(batch, outputs)` logits and `(batch, outputs)` targets -> `(batch,)`.

A target is a distribution over the classes, so that hard, smoothed, mixed and soft labels go
through the same lines; one-output models have a gain or a rating in 0..1 as target. Weights are the caller's
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
    """Return class indices `(batch,)` as distributions `(batch, classes)`.

    With one class, they are numbers and become `(batch, 1)`. Targets that are `(batch, classes)`
    already stay as they are.
    """
    if target.ndim == 2:
        return target
    if classes == 1:
        return target[:, None]
    return functional.one_hot(target.long(), classes).to(target.dtype)


def smooth(target: Tensor, share: float) -> Tensor:
    """Spread a `share` of each target over all classes: label smoothing (Szegedy et al. 2016)."""
    return (1 - share) * target + share / target.shape[1]


def target_probability(logits: Tensor, target: Tensor) -> Tensor:
    """Return p_t, the probability that a model gives to the truth, `(batch,)`.

    Under a soft target it is the mean.
    """
    probabilities = torch.softmax(logits, 1)  # (batch, classes)
    return (probabilities * target).sum(1)


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Return the cross entropy -sum_c t_c log p_c, for hard and for soft targets."""
    return -(target * torch.log_softmax(logits, 1)).sum(1)


def poly1(logits: Tensor, target: Tensor) -> Tensor:
    """Return cross entropy + EPSILON (1 - p_t) (Leng et al. 2022, PolyLoss)."""
    return cross_entropy(logits, target) + EPSILON * (1 - target_probability(logits, target))


def focal(logits: Tensor, target: Tensor) -> Tensor:
    """Return -sum_c t_c (1 - p_c)^GAMMA log p_c (Lin et al. 2017)."""
    log_p = torch.log_softmax(logits, 1)  # (batch, classes)
    return -(target * (1 - log_p.exp()) ** GAMMA * log_p).sum(1)


def mse_on_number(logits: Tensor, target: Tensor) -> Tensor:
    """Return the squared difference between sigmoid(logit) and the number; one logit per row."""
    return (torch.sigmoid(logits) - target).square()[:, 0]


def gradient_norm_bins(truth: Tensor) -> Tensor:
    """Return the bin of each row's gradient norm g = 1 - p_t, one of BINS over 0..1, `(batch,)`."""
    return ((1 - truth) * BINS).long().clamp(0, BINS - 1)


def ghm_weights(density: Tensor) -> Tensor:
    """Return the factor of each bin's rows, sum(w) / (M n_b), `(BINS,)`: GHM-C (Li et al. 2019).

    `density` holds n_b, the sum of weights in each bin over the whole optimiser batch, M counts the
    bins that are not empty. The factors leave the batch's sum of weights as it is.
    """
    filled = density > 0
    factor = density.sum() / (filled.sum() * density.clamp_min(1e-12))
    return torch.where(filled, factor, torch.zeros_like(density))


def symmetric_kl(logits: Tensor, other: Tensor) -> Tensor:
    """Return [KL(p || q) + KL(q || p)] / 2 of two passes, `(batch,)` (Liang et al. 2021, R-Drop).

    Of categorical distributions, or of Bernoulli ones where there is one logit: a softmax over one
    logit is always 1.
    """
    if logits.shape[1] == 1:
        logits, other = (torch.cat([x, torch.zeros_like(x)], 1) for x in (logits, other))

    log_p = torch.log_softmax(logits, 1)
    log_q = torch.log_softmax(other, 1)
    # KL(p || q) + KL(q || p) = sum_c (p_c - q_c) (log p_c - log q_c)
    return ((log_p.exp() - log_q.exp()) * (log_p - log_q)).sum(1) / 2


@dataclass(frozen=True)
class LossSpec:
    """A loss by name, and whether rows are weighed by gradient density (`ghm_weights`)."""

    loss: Loss
    density_weighted: bool = False


LOSSES: dict[str, LossSpec] = {
    "ce": LossSpec(cross_entropy),
    "poly1": LossSpec(poly1),
    "focal": LossSpec(focal),
    "ghm": LossSpec(cross_entropy, density_weighted=True),
    "mse": LossSpec(mse_on_number),
    # Behind the links of ordered classes, see `ordered.py`, the cross entropy is their likelihood.
    "corn": LossSpec(cross_entropy),
    "cumulative": LossSpec(cross_entropy),
}
