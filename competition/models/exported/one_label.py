"""One logit for several: what servers of rerankers take.

The expected gain of a softmax is no linear function of the features before it, so no class of the
library computes it. The logit here is the linear function of these features whose sigmoid is
nearest to it, by cross entropy, over real rows; no label is read. Where the outputs are one
probability, the difference of the two logits is exact.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from competition.models.encoder.heads import pool
from competition.models.encoder.pooling import LAST
from competition.models.exported.runner import Pair, TorchRunner
from competition.models.exported.writing import output_name

RIDGE = 1e-4  # which decides what few rows leave open
STEPS = 5
EDGE = 1e-6  # of gains, whose logits are finite
FARTHEST = 15.0  # of logits, where a weight of theirs is more than nothing


def features_of(runner: TorchRunner, pairs: list[Pair]) -> Tensor:
    """Return what the last layer of a classifier reads of pairs, `(pairs, H)`, in float64."""
    layer = runner.model.get_submodule(output_name(runner.model))
    seen: list[Tensor] = []
    handle = layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    features = None
    try:
        with torch.inference_mode():
            for places, batch in runner.reader.batches(pairs):
                tensors = {name: torch.from_numpy(array) for name, array in batch.items()}
                runner.model(**tensors)
                own = seen.pop().double()
                if own.ndim == 3:  # decoders' classes give logits of every token, and take the last
                    own = pool(own, tensors["attention_mask"], LAST)
                if features is None:
                    features = own.new_empty(len(pairs), own.shape[1])
                features[places] = own
    finally:
        handle.remove()
    assert features is not None  # there is a pair
    return features.clone()


def fit(
    features: Tensor, gain: NDArray[np.float64], constant: bool = True
) -> tuple[Tensor, Tensor | None]:
    """Return weight `(H,)` and bias `(1,)` of the logit whose sigmoid is nearest to a gain in 0..1.

    A logistic regression on soft targets by Newton's method, which begins at the logits of the gain
    (iteratively reweighted least squares, McCullagh and Nelder 1989).

    Args:
        features: `(rows, H)`, float64.
        gain: expected by the model, `(rows,)`.
        constant: whether there is a bias; else it is None.
    """
    target = torch.from_numpy(gain).clamp(EDGE, 1 - EDGE)
    width = features.shape[1]
    design = features
    if constant:
        design = torch.cat([features, torch.ones_like(features[:, :1])], 1)  # (rows, H + 1)
    logits = torch.logit(target)
    solution = logits.new_zeros(design.shape[1])
    for _ in range(STEPS):
        share = torch.sigmoid(logits)
        weight = share * (1 - share)  # (rows,)
        working = logits + (target - share) / weight
        weighted = design * weight[:, None]
        curvature = weighted.T @ design  # (H + 1, H + 1)

        # As a share of the curvature, so that the scale of features does not matter; the bias is free.
        ridge = RIDGE * curvature.diagonal()[:width].mean() * torch.ones_like(solution)
        ridge[width:] = 0
        solution = torch.linalg.solve(curvature + ridge.diag(), weighted.T @ working)
        logits = (design @ solution).clamp(-FARTHEST, FARTHEST)
    return solution[:width].float(), solution[width:].float() if constant else None
