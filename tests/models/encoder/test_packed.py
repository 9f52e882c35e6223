"""Packed weights give what the weights give, and no others."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import AutoConfig, AutoModel

from competition.models.encoder.packed import PackedPass, can_pack
from competition.models.encoder.unpadded import LayerPass, layer_pass, pooled_states
from tests.models.encoder.test_unpadded import SIZE, texts

pytestmark = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="torch has no oneDNN"
)
POOLINGS = ("first", "mean")
LENGTHS = [[9, 4, 7, 7, 7], [6, 6]]


def encoder(model_type: str, **keys: Any) -> Any:
    """A small one of random weights in fp32, whose outputs depend on all of them."""
    config = AutoConfig.for_model(
        model_type, vocab_size=50, pad_token_id=1, max_position_embeddings=20, **SIZE | keys
    )
    torch.manual_seed(0)
    model = AutoModel.from_config(config, add_pooling_layer=False).eval()
    for name, weight in model.named_parameters():
        torch.nn.init.normal_(weight, 1.0 if "LayerNorm.weight" in name else 0.0, 0.3)
    return model


@torch.inference_mode()
def pooled(model: Any, run: LayerPass, lengths: list[int], pooling: str) -> Tensor:
    """The pooled texts, `(texts, H)`."""
    return pooled_states(model, texts(lengths), None, pooling, run, False)


@pytest.mark.parametrize("lengths", LENGTHS, ids=["padded", "of one length"])
@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize(
    ("model_type", "activation"),
    [("bert", "gelu"), ("roberta", "relu"), ("xlm-roberta", "gelu_new"), ("camembert", "gelu")],
)
def test_in_fp32_the_texts_are_those_of_plain_layers(
    model_type: str, activation: str, pooling: str, lengths: list[int]
) -> None:
    model = encoder(model_type, hidden_act=activation)
    assert can_pack(model)
    expected = pooled(model, layer_pass, lengths, pooling)
    actual = pooled(model, PackedPass(model), lengths, pooling)
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-5)
    assert expected.std() > 0.1


def test_in_bf16_the_texts_are_as_near_to_fp32_as_those_of_plain_layers() -> None:
    model = encoder("bert")
    exact = pooled(model, layer_pass, LENGTHS[0], "first")
    with torch.autocast("cpu", torch.bfloat16):
        if not can_pack(model):
            pytest.skip("this CPU does not multiply in bf16")
        plain = pooled(model, layer_pass, LENGTHS[0], "first")
        packed = pooled(model, PackedPass(model), LENGTHS[0], "first")
    errors = [(each.float() - exact).square().mean().sqrt().item() for each in (plain, packed)]
    assert 0 < errors[1] < 1.5 * errors[0]


def test_packed_weights_are_those_at_the_time_of_packing() -> None:
    model = encoder("bert")
    before = pooled(model, PackedPass(model), LENGTHS[0], "first")
    with torch.no_grad():
        model.encoder.layer[0].output.dense.weight.mul_(2)
    after = pooled(model, PackedPass(model), LENGTHS[0], "first")
    assert not np.allclose(before, after)
    torch.testing.assert_close(
        after, pooled(model, layer_pass, LENGTHS[0], "first"), rtol=0, atol=1e-5
    )


def test_adapters_and_other_types_are_left_alone() -> None:
    model = encoder("bert")
    assert not can_pack(encoder("bert").double())
    model.encoder.layer[1].attention.self.query = torch.nn.Sequential(torch.nn.Linear(16, 16))
    assert not can_pack(model)
