"""Momentum contrast: a copy that moves by its own rule alone, and a queue of its newest keys."""

import copy

import pytest
import torch
from torch import nn

from competition.training.momentum import Momentum, Queue


def layer(weight: float) -> nn.Linear:
    """One weight."""
    module = nn.Linear(1, 1, bias=False).double()
    nn.init.constant_(module.weight, weight)
    return module


def test_the_copy_moves_by_the_rule() -> None:
    module = layer(1.0)
    momentum = Momentum(module, 0.9)
    expected = [0.9 * 1.0 + 0.1 * 3.0, 0.9 * 1.2 + 0.1 * -2.0, 0.9 * 0.88 + 0.1 * 0.5]
    for weight, slow in zip((3.0, -2.0, 0.5), expected, strict=True):
        nn.init.constant_(module.weight, weight)
        momentum.update(module)
        assert momentum.copy.weight.item() == pytest.approx(slow, abs=1e-12)
        assert module.weight.item() == weight
    assert expected == pytest.approx([1.2, 0.88, 0.842])


def test_without_momentum_the_copy_is_the_module() -> None:
    module = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4))
    momentum = Momentum(module, 0.0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(1.0)
    momentum.update(module)
    for slow, fast in zip(momentum.copy.parameters(), module.parameters(), strict=True):
        torch.testing.assert_close(slow, fast)


def test_neither_optimiser_nor_gradient_moves_the_copy() -> None:
    module = layer(2.0)
    momentum = Momentum(module, 0.5)
    optimizer = torch.optim.SGD(module.parameters(), lr=1.0)
    (
        module(torch.ones(1, 1, dtype=torch.float64))
        + momentum.copy(torch.ones(1, 1, dtype=torch.float64))
    ).backward()
    optimizer.step()
    assert module.weight.item() == 2.0 - 1.0  # the gradient of w * 1 is 1
    assert momentum.copy.weight.item() == 2.0
    assert momentum.copy.weight.grad is None
    assert not any(parameter.requires_grad for parameter in momentum.copy.parameters())
    assert all(parameter.requires_grad for parameter in module.parameters())


def test_the_copy_never_drops_out() -> None:
    module = nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.5)).train()
    momentum = Momentum(module, 0.999)
    module.train()
    momentum.update(module)
    assert module.training
    assert not any(part.training for part in momentum.copy.modules())
    given = torch.randn(4, 8)
    assert torch.equal(momentum.copy(given), copy.deepcopy(module).eval()(given))


# --- queue
# -------------------------------------------------------------------------------------------------------


def keys(*numbers: int) -> torch.Tensor:
    """A key per number, `(numbers, 2)`."""
    return torch.tensor([[float(number), -float(number)] for number in numbers]).reshape(-1, 2)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (0, [[], [], [], []]),
        (1, [[1], [3], [8], [9]]),
        (3, [[1], [1, 2, 3], [6, 7, 8], [7, 8, 9]]),
        (4, [[1], [1, 2, 3], [5, 6, 7, 8], [6, 7, 8, 9]]),
        (20, [[1], [1, 2, 3], [1, 2, 3, 4, 5, 6, 7, 8], [1, 2, 3, 4, 5, 6, 7, 8, 9]]),
    ],
)
def test_the_queue_holds_the_newest_keys_in_order(size: int, expected: list[list[int]]) -> None:
    queue = Queue(size, 2, torch.device("cpu"))
    assert queue.keys.shape == (0, 2)
    assert queue.same.shape == (0,)
    for pushed, held in zip(([1], [2, 3], [4, 5, 6, 7, 8], [9]), expected, strict=True):
        queue.push(keys(*pushed), torch.tensor(pushed) * 10)
        assert torch.equal(queue.keys, keys(*held))
        assert queue.same.tolist() == [10 * number for number in held]
        assert queue.same.dtype == torch.long


def test_keys_in_the_queue_have_no_gradient() -> None:
    queue = Queue(3, 2, torch.device("cpu"))
    queue.push(keys(1, 2).requires_grad_(), torch.tensor([1, 2]))
    assert not queue.keys.requires_grad
