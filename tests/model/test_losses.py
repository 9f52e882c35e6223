"""Losses of three rows by hand."""

import math

import pytest
import torch

from competition.model.losses import cross_entropy, mse_on_gain


def test_cross_entropy_by_hand() -> None:
    logits = torch.tensor([[0.0, 0.0], [math.log(3), 0.0], [0.0, math.log(9)]], dtype=torch.float64)
    losses = cross_entropy(logits, torch.tensor([0.0, 0.0, 0.0]))
    expected = [-math.log(1 / 2), -math.log(3 / 4), -math.log(1 / 10)]
    assert losses.tolist() == pytest.approx(expected)


def test_mse_on_gain_by_hand() -> None:
    logits = torch.tensor([[0.0], [math.log(3)], [-math.log(3)]], dtype=torch.float64)
    losses = mse_on_gain(logits, torch.tensor([1.0, 0.1, 0.0], dtype=torch.float64))
    assert losses.tolist() == pytest.approx([(0.5 - 1) ** 2, (0.75 - 0.1) ** 2, (0.25 - 0) ** 2])
