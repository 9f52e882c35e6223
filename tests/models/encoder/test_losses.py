"""Losses of three rows by hand."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from competition.models.encoder.losses import (
    BINS,
    LOSSES,
    cross_entropy,
    focal,
    ghm_weights,
    gradient_norm_bins,
    mse_on_number,
    one_hot,
    poly1,
    smooth,
    symmetric_kl,
    target_probability,
)

# Probabilities of the first class: 1/2, 3/4, 1/10.
LOGITS = torch.tensor([[0.0, 0.0], [math.log(3), 0.0], [0.0, math.log(9)]], dtype=torch.float64)
P = [1 / 2, 3 / 4, 1 / 10]
FIRST = one_hot(torch.tensor([0.0, 0.0, 0.0], dtype=torch.float64), 2)


def test_cross_entropy_by_hand() -> None:
    assert cross_entropy(LOGITS, FIRST).tolist() == pytest.approx(
        [-math.log(p) for p in P], abs=1e-12
    )


def test_soft_label_cross_entropy_by_hand() -> None:
    target = torch.tensor([[0.7, 0.3], [0.5, 0.5], [0.0, 1.0]], dtype=torch.float64)
    expected = [
        -0.7 * math.log(1 / 2) - 0.3 * math.log(1 / 2),
        -0.5 * math.log(3 / 4) - 0.5 * math.log(1 / 4),
        -math.log(9 / 10),
    ]
    assert cross_entropy(LOGITS, target).tolist() == pytest.approx(expected, abs=1e-12)


def test_poly1_by_hand() -> None:
    expected = [-math.log(p) + 1 * (1 - p) for p in P]
    assert poly1(LOGITS, FIRST).tolist() == pytest.approx(expected, abs=1e-12)


def test_focal_by_hand() -> None:
    expected = [-((1 - p) ** 2) * math.log(p) for p in P]
    assert focal(LOGITS, FIRST).tolist() == pytest.approx(expected, abs=1e-12)


def test_mse_on_number_by_hand() -> None:
    logits = torch.tensor([[0.0], [math.log(3)], [-math.log(3)]], dtype=torch.float64)
    losses = mse_on_number(logits, torch.tensor([[1.0], [0.1], [0.0]], dtype=torch.float64))
    assert losses.tolist() == pytest.approx(
        [(0.5 - 1) ** 2, (0.75 - 0.1) ** 2, (0.25 - 0) ** 2], abs=1e-12
    )


def test_label_smoothing_by_hand() -> None:
    target = smooth(one_hot(torch.tensor([2.0]), 4), 0.2)
    assert target[0].tolist() == pytest.approx([0.2 / 4, 0.2 / 4, 0.8 + 0.2 / 4, 0.2 / 4])


def test_ghm_factors_by_hand() -> None:
    bins = gradient_norm_bins(target_probability(LOGITS, FIRST))
    assert bins.tolist() == [5, 2, 9]  # g = 1 - p: 0.5, 0.25, 0.9
    density = torch.zeros(BINS, dtype=torch.float64)
    density[5], density[2], density[9] = 6.0, 3.0, 1.0  # sum 10, three bins are not empty
    factors = ghm_weights(density)
    assert factors[bins].tolist() == pytest.approx(
        [10 / (3 * 6), 10 / (3 * 3), 10 / (3 * 1)], abs=1e-12
    )
    assert factors[0] == 0.0
    assert (factors * density).sum().item() == pytest.approx(10)


def test_the_ends_of_the_bins() -> None:
    assert gradient_norm_bins(torch.tensor([1.0, 0.0, 1.0 + 1e-7, -1e-7])).tolist() == [0, 9, 0, 9]


def kl(p: list[float], q: list[float]) -> float:
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


def test_divergence_of_categories_by_hand() -> None:
    other = LOGITS[[1, 2, 0]]
    expected = []
    for a, b in ((0.5, 0.75), (0.75, 0.1), (0.1, 0.5)):
        p, q = [a, 1 - a], [b, 1 - b]
        expected.append((kl(p, q) + kl(q, p)) / 2)
    assert symmetric_kl(LOGITS, other).tolist() == pytest.approx(expected, abs=1e-12)


def test_divergence_of_one_output_is_that_of_a_coin() -> None:
    """Softmax over one logit, as in the released code, would make it 0 for every row."""
    one, other = (torch.tensor([[x]], dtype=torch.float64) for x in (0.0, math.log(3)))
    expected = (kl([1 / 2, 1 / 2], [3 / 4, 1 / 4]) + kl([3 / 4, 1 / 4], [1 / 2, 1 / 2])) / 2
    assert symmetric_kl(one, other).item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_is_per_sample(name: str) -> None:
    """Each row's loss is its own: the released focal loss gathered a (batch, batch) matrix."""
    outputs = 1 if name == "mse" else 4
    logits = torch.randn(
        6, outputs, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    target = one_hot(
        torch.tensor([0.0, 1, 2, 3, 0, 1], dtype=torch.float64) / (3 if outputs == 1 else 1),
        outputs,
    )
    losses = LOSSES[name].loss(logits, target)
    assert losses.shape == (6,)
    alone = [LOSSES[name].loss(logits[i : i + 1], target[i : i + 1]).item() for i in range(6)]
    assert losses.tolist() == pytest.approx(alone, abs=1e-12)


@given(
    st.lists(st.floats(-30, 30), min_size=4, max_size=4),
    st.lists(st.floats(-30, 30), min_size=4, max_size=4),
)
def test_divergence_is_symmetric_finite_and_not_negative(
    one: list[float], other: list[float]
) -> None:
    a, b = (torch.tensor([x], dtype=torch.float64) for x in (one, other))
    value = symmetric_kl(a, b).item()
    assert math.isfinite(value)
    assert value >= -1e-12
    assert value == pytest.approx(symmetric_kl(b, a).item(), abs=1e-12)
    assert symmetric_kl(a, a).item() == pytest.approx(0, abs=1e-12)
