"""Averaged weights against a plain loop, and mixup's draws."""

import numpy as np
import pytest
import torch
from torch import nn

from competition.training.adversary import Attack, TableAttack, WeightAttack, attack_rows
from competition.training.regularization import draw_mix, ema_decay, make_average
from tests.training.conftest import Bench, make_recipe


def test_the_decay_warms_up() -> None:
    assert ema_decay(1, 0.999) == 2 / 11
    assert ema_decay(10, 0.999) == 11 / 20
    assert ema_decay(8_990, 0.999) == pytest.approx(0.999)
    assert ema_decay(8_989, 0.999) < 0.999 == ema_decay(100_000, 0.999)


def test_averaged_weights_are_those_of_a_plain_loop() -> None:
    model = nn.Linear(3, 2).double()
    average = make_average(model, 0.6, torch.device("cpu"))
    expected = {name: p.detach().numpy().copy() for name, p in model.named_parameters()}
    rng = np.random.default_rng(0)
    for step in range(1, 30):
        decay = min(0.6, (1 + step) / (10 + step))
        with torch.no_grad():
            for name, p in model.named_parameters():
                p += torch.from_numpy(rng.normal(size=p.shape))
                expected[name] = decay * expected[name] + (1 - decay) * p.numpy()
        average.update_parameters(model)
    for name, p in average.module.named_parameters():
        np.testing.assert_allclose(p.numpy(), expected[name], rtol=0, atol=1e-12)
        assert not p.requires_grad


def test_the_average_is_a_copy_in_evaluation_mode() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5))
    average = make_average(model, 0.999, torch.device("cpu"))
    average.update_parameters(model)
    assert not average.module.training
    assert model.training
    assert average.module[0].weight.data_ptr() != model[0].weight.data_ptr()


def test_mixup_pairs_are_a_function_of_their_seed() -> None:
    one, same, other = (draw_mix(50, 0.2, seed, device=torch.device("cpu")) for seed in (1, 1, 2))
    assert one.partner.tolist() == same.partner.tolist() != other.partner.tolist()
    assert one.share == same.share != other.share
    assert sorted(one.partner.tolist()) == list(range(50))


def test_shares_follow_a_beta_distribution() -> None:
    shares = [draw_mix(1, 0.2, seed, device=torch.device("cpu")).share for seed in range(2_000)]
    # Beta(b, b): mean 1/2, variance 1 / (4 (2 b + 1)) = 1 / 5.6
    assert np.mean(shares) == pytest.approx(0.5, abs=0.04)
    assert np.var(shares) == pytest.approx(1 / 5.6, abs=0.02)


def test_row_attacks_have_their_own_length_over_all_views() -> None:
    gradient = torch.randn(2 * 3, 4, 5, dtype=torch.float64)  # two views of three examples
    gradient[[1, 4]] = 0  # the second example has no gradient
    delta = attack_rows(gradient, views=2, epsilon=0.7).delta
    assert delta is not None
    lengths = [delta[[i, i + 3]].norm().item() for i in range(3)]
    assert lengths == pytest.approx([0.7, 0.0, 0.7])


def test_a_table_attack_adds_up_repeated_tokens() -> None:
    attack = TableAttack(torch.tensor([2, 5, 9]), hidden=2, dtype=torch.float64, epsilon=1.0)
    attack.add(
        torch.tensor([[5, 9, 5]]), torch.tensor([[[1.0, 0.0], [0.0, 2.0], [2.0, 0.0]]]).double()
    )
    attack.finish(lambda tensor: tensor)
    # Token 5 has (3, 0), token 9 has (0, 2), token 2 nothing; the length of the whole is sqrt(13).
    expected = torch.tensor([[0.0, 2.0], [0.0, 0.0], [3.0, 0.0]]).double() / 13**0.5
    delta = attack.at(torch.tensor([[9, 2, 5]])).delta
    assert delta is not None
    torch.testing.assert_close(delta[0], expected)


def test_a_weight_attack_moves_each_matrix_by_a_share_of_its_norm() -> None:
    model = nn.Linear(2, 3).double()
    attack = WeightAttack(model, epsilon=0.1)
    gradient = torch.tensor([[3.0, 0.0], [0.0, 0.0], [0.0, 4.0]]).double()
    attack.add((gradient,))  # the bias is no matrix
    attack.finish(lambda tensor: tensor)
    moved: Attack = attack.attack()
    assert moved.weights is not None
    assert list(moved.weights) == ["weight"]
    expected = model.weight + 0.1 * model.weight[[0, 2]].norm() * gradient / 5
    torch.testing.assert_close(moved.weights["weight"], expected)


def test_an_average_shares_what_is_not_trained(bench: Bench) -> None:
    """Of adapters, the base is there once."""
    model = bench.model(make_recipe(features=(), lora={"rank": 2})).float()
    average = make_average(model, 0.9, torch.device("cpu"))
    pairs = list(zip(average.module.parameters(), model.parameters(), strict=True))
    assert [a is w for a, w in pairs] == [not w.requires_grad for _, w in pairs]
    with torch.no_grad():
        for _, weight in pairs:
            if weight.requires_grad:
                weight.add_(1.0)
    before = [a.clone() for a, _ in pairs]
    average.update_parameters(model)
    for old, (a, w) in zip(before, pairs, strict=True):
        # After the first step, the decay is 2 / 11.
        torch.testing.assert_close(a, old.lerp(w, 9 / 11))
