"""Links of ordered classes: probabilities by hand, shares at the start, gradients, and an order that is learned."""

import math

import pytest
import torch
from torch import Tensor

from competition.models.encoder.losses import LOSSES, cross_entropy, one_hot
from competition.models.encoder.ordered import LINKS, ContinuationRatio, CumulativeLink

LINK_NAMES = list(LINKS)


def test_corn_multiplies_conditional_probabilities() -> None:
    # P(y > 0) = 3/4, P(y > 1 | y > 0) = 1/3
    logits = torch.tensor([[math.log(3), math.log(1 / 2)]], dtype=torch.float64)
    found = ContinuationRatio(3)(logits).exp()
    assert found.tolist()[0] == pytest.approx([1 / 4, 3 / 4 * 2 / 3, 3 / 4 * 1 / 3])


def test_corn_loses_the_sum_of_the_tasks_that_a_row_takes_part_in() -> None:
    logits = torch.tensor([[0.3, -1.2, 0.8]] * 4, dtype=torch.float64)
    found = LOSSES["corn"].loss(ContinuationRatio(4)(logits), torch.eye(4, dtype=torch.float64))

    passes = torch.sigmoid(logits[0])
    expected = [
        -math.log(1 - passes[0]),
        -math.log(passes[0]) - math.log(1 - passes[1]),
        -math.log(passes[0]) - math.log(passes[1]) - math.log(1 - passes[2]),
        -math.log(passes[0]) - math.log(passes[1]) - math.log(passes[2]),
    ]
    assert found.tolist() == pytest.approx(expected)


def test_cumulative_probabilities_are_differences_of_sigmoids() -> None:
    link = CumulativeLink(3).double()
    with torch.no_grad():
        link.raw.copy_(torch.tensor([-1.0, math.log(math.e**2 - 1)]))  # softplus of the second: 2
    assert link.cuts.tolist() == pytest.approx([-1.0, 1.0])

    def sigmoid(x: float) -> float:
        return 1 / (1 + math.exp(-x))

    found = link(torch.tensor([[0.5]], dtype=torch.float64)).exp()
    over = [sigmoid(0.5 + 1), sigmoid(0.5 - 1)]
    assert found.tolist()[0] == pytest.approx([1 - over[0], over[0] - over[1], over[1]])


@pytest.mark.parametrize("name", LINK_NAMES)
@pytest.mark.parametrize("classes", [2, 3, 5])
def test_probabilities_sum_to_1_and_gradients_are_finite(name: str, classes: int) -> None:
    link = LINKS[name](classes)
    logits = torch.linspace(-60, 60, 13)[:, None].repeat(1, link.logits).requires_grad_()
    found = link(logits)
    assert found.shape == (13, classes)
    torch.testing.assert_close(found.exp().sum(1), torch.ones(13))

    loss = cross_entropy(found, torch.full((13, classes), 1 / classes)).sum()
    loss.backward()
    for tensor in (logits, *link.parameters()):
        assert tensor.grad is not None
        assert bool(torch.isfinite(tensor.grad).all())


@pytest.mark.parametrize("name", LINK_NAMES)
@pytest.mark.parametrize("share", [[0.9, 0.1], [0.5, 0.2, 0.3], [0.05, 0.6, 0.05, 0.1, 0.2]])
def test_training_starts_from_the_shares(name: str, share: list[float]) -> None:
    link = LINKS[name](len(share)).double()
    logits = link.start(torch.tensor(share, dtype=torch.float64))
    assert link(logits[None]).exp().tolist()[0] == pytest.approx(share)


@pytest.mark.parametrize("name", LINK_NAMES)
def test_more_of_the_logit_is_a_later_class(name: str) -> None:
    link = LINKS[name](4)
    logits = torch.linspace(-3, 3, 9)[:, None].repeat(1, link.logits)
    expected = link(logits).exp() @ torch.arange(4.0)
    assert bool((expected.diff() > 0).all())


@pytest.mark.parametrize("name", LINK_NAMES)
def test_an_order_is_learned(name: str) -> None:
    torch.manual_seed(0)
    x = torch.randn(400, 3)
    score = x @ torch.tensor([1.0, -0.5, 0.0]) + 0.3 * torch.randn(400)
    y = torch.bucketize(score, torch.tensor([-1.0, 0.2, 1.3]))  # four classes

    link = LINKS[name](4)
    dense = torch.nn.Linear(3, link.logits)
    optimizer = torch.optim.Adam([*dense.parameters(), *link.parameters()], lr=0.05)
    target = one_hot(y.float(), 4)

    def predicted() -> Tensor:
        found: Tensor = link(dense(x))
        return found

    for _ in range(200):
        optimizer.zero_grad()
        cross_entropy(predicted(), target).mean().backward()
        optimizer.step()

    right = float((predicted().argmax(1) == y).float().mean())
    most = float(target.mean(0).max())
    assert right > most + 0.2
    rating = predicted().detach().exp() @ torch.arange(4.0)
    assert float(torch.corrcoef(torch.stack([rating, score]))[0, 1]) > 0.9
