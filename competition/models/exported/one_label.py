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
from torch.nn import functional

from competition.models.exported.runner import Pair, TorchRunner, tokenised
from competition.models.exported.writing import output_name

RIDGE = 1e-5  # of the squared weights, which rows that are few leave undecided
STEPS = 200


def features_of(runner: TorchRunner, pairs: list[Pair]) -> Tensor:
    """Return what the last layer of a classifier reads of pairs, `(pairs, H)`, in float64."""
    layer = runner.model.get_submodule(output_name(runner.model))
    seen: list[Tensor] = []
    handle = layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    features = None
    try:
        with torch.inference_mode():
            for places, batch in tokenised(runner.tokenizer, pairs):
                runner.model(**batch)
                own = seen.pop().double()
                if features is None:
                    features = own.new_empty(len(pairs), own.shape[1])
                features[places] = own
    finally:
        handle.remove()
    assert features is not None  # there is a pair
    return features.clone()


def fit(features: Tensor, gain: NDArray[np.float64]) -> tuple[Tensor, Tensor]:
    """Return weight `(H,)` and bias `(1,)` of the logit whose sigmoid is nearest to a gain in 0..1.

    Args:
        features: `(rows, H)`.
        gain: expected by the model, `(rows,)`.
    """
    target = torch.from_numpy(gain)
    mean = target.mean().clamp(1e-4, 1 - 1e-4)
    weight = torch.zeros(features.shape[1], dtype=torch.float64, requires_grad=True)
    bias = torch.logit(mean)[None].clone().requires_grad_()
    optimizer = torch.optim.LBFGS(
        [weight, bias], max_iter=STEPS, tolerance_change=1e-12, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        optimizer.zero_grad()
        logits = features @ weight + bias
        value = functional.binary_cross_entropy_with_logits(logits, target)
        value = value + RIDGE * weight.square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    return weight.detach().float(), bias.detach().float()
