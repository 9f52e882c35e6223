"""The lean way gives what the library's own pass gives, and drops as much."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel

from competition.models.encoder.dropout import FastDropout, fast_dropout, use_fast_dropout
from competition.models.encoder.families import hidden_states
from competition.models.encoder.heads import pool
from competition.models.encoder.inputs import Inputs
from competition.models.encoder.pooling import POOLINGS
from competition.models.encoder.unpadded import layer_pass, pooled_states, runs_unpadded

SIZE = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}


def encoder(model_type: str) -> Any:
    """A small one of random weights in float64."""
    config = AutoConfig.for_model(
        model_type, vocab_size=50, pad_token_id=1, max_position_embeddings=20, **SIZE
    )
    torch.manual_seed(0)
    return AutoModel.from_config(config, add_pooling_layer=False).double().eval()


def texts(lengths: list[int]) -> Inputs:
    """Random tokens, padded to the longest."""
    width = max(lengths)
    mask = (torch.arange(width) < torch.tensor(lengths)[:, None]).long()
    torch.manual_seed(1)
    ids = torch.where(mask.bool(), torch.randint(2, 50, mask.shape), 1)
    types = mask * (torch.arange(width) >= 3)
    present = torch.ones(len(lengths), 1, dtype=torch.bool)
    return Inputs(ids, mask, types, present, mask.flatten().nonzero()[:, 0], None)


def results(
    model: Any, inputs: Inputs, lean: bool, pooling: str = "first", save_memory: bool = False
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Pooled texts, and the gradients of a function of them on an attack and on all parameters."""
    torch.manual_seed(2)
    delta = (0.1 * torch.randn(*inputs.ids.shape, 16, dtype=torch.float64)).requires_grad_()
    if lean:
        pooled = pooled_states(model, inputs, delta, pooling, layer_pass, save_memory)
    else:
        pooled = pool(
            hidden_states(model, inputs.ids, inputs.mask, inputs.types, delta), inputs.mask, pooling
        )
    loss = pooled.sin().sum()
    (of_delta,) = torch.autograd.grad(
        loss, delta, retain_graph=True
    )  # as an attack does before the backward pass
    model.zero_grad()
    loss.backward()
    return pooled, of_delta, [p.grad.clone() for p in model.parameters()]


@pytest.mark.parametrize("save_memory", [False, True])
@pytest.mark.parametrize("lengths", [[9, 4, 7], [6, 6]], ids=["padded", "of one length"])
@pytest.mark.parametrize("model_type", ["bert", "roberta", "xlm-roberta", "camembert"])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_pooled_texts_are_those_of_the_library(
    pooling: str, model_type: str, lengths: list[int], save_memory: bool
) -> None:
    model, inputs = encoder(model_type), texts(lengths)
    assert runs_unpadded(model)
    expected, actual = (
        results(model, inputs, False, pooling),
        results(model, inputs, True, pooling, save_memory),
    )
    for one, other in zip([*expected[:2], *expected[2]], [*actual[:2], *actual[2]], strict=True):
        torch.testing.assert_close(other, one, rtol=0, atol=1e-12)
    assert bool(expected[1].abs().max() > 1e-4)


def test_in_training_attention_is_the_librarys_without_dropout() -> None:
    model, inputs = encoder("bert"), texts([9, 4, 7])
    expected = results(model, inputs, False)[0]
    for module in model.train().modules():
        if isinstance(module, nn.Dropout):
            module.p = 1e-9  # less than one of 65,536, so nothing is dropped on the way of training
    torch.testing.assert_close(results(model, inputs, True)[0], expected, rtol=0, atol=1e-7)


def test_other_architectures_are_left_to_the_library() -> None:
    config = AutoConfig.for_model(
        "distilbert", vocab_size=50, dim=16, n_layers=1, n_heads=2, hidden_dim=32
    )
    assert not runs_unpadded(AutoModel.from_config(config))


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_dropout_drops_its_share_and_keeps_the_mean(share: float) -> None:
    x = torch.ones(1_000_003, dtype=torch.float64, requires_grad=True)  # no multiple of four
    torch.manual_seed(3)
    y = fast_dropout(x, share)
    kept = y.detach() != 0
    # Five deviations of a mean of a million draws.
    assert kept.double().mean().item() == pytest.approx(
        1 - share, abs=5 * np.sqrt(share * (1 - share) / 1e6)
    )
    assert y.detach()[kept].unique().tolist() == pytest.approx([1 / (1 - share)], rel=1e-4)
    y.sum().backward()
    assert torch.equal(x.grad, y.detach())
    neighbours = (kept[:-1] & kept[1:]).double().mean().item()
    assert neighbours == pytest.approx(
        (1 - share) ** 2, abs=0.003
    )  # drawn together, yet independent


def test_the_same_seed_draws_the_same_dropout(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5))
    use_fast_dropout(model)
    assert type(model[1]) is FastDropout
    assert model[1].p == 0.5
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn.append(model[1](torch.ones(1000)))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert torch.equal(model.eval()[1](torch.ones(3)), torch.ones(3))
